import pytest
import torch
from saying import says
from torch import nn

from steadytune.errors import UserError
from steadytune.testing.models import batch, rows, tiny_classifier
from steadytune.training.soup import greedy_soup, uniform_soup


def at(*values):
    return {"w": torch.tensor(values)}


def test_the_uniform_soup_is_the_mean_of_each_weight():
    soup = uniform_soup([at(1.0, 2.0), at(3.0, 8.0), at(2.0, 5.0)])

    assert soup["w"].tolist() == [2.0, 5.0]


def test_half_precision_is_averaged_without_loss_and_kept():
    # In bfloat16 itself, 256 + 1 is 256.
    states = [{"w": torch.tensor([value], dtype=torch.bfloat16)} for value in (256.0, 1.0, 1.0, 6.0)]

    soup = uniform_soup(states)

    assert soup["w"].dtype == torch.bfloat16
    assert soup["w"].item() == 66


def test_the_soup_of_one_is_a_copy():
    state = {**at(1.0), "ids": torch.tensor([0, 1])}

    soup = uniform_soup([state])
    soup["w"] += 1
    soup["ids"] += 1

    assert state["w"].item() == 1
    assert state["ids"].tolist() == [0, 1]


def test_the_soup_of_linear_layers_gives_the_mean_of_their_outputs():
    layers = [nn.Linear(3, 2) for _ in range(4)]
    features = torch.randn(5, 3)
    mixed = nn.Linear(3, 2)

    mixed.load_state_dict(uniform_soup([layer.state_dict() for layer in layers]))

    assert torch.allclose(mixed(features), torch.stack([layer(features) for layer in layers]).mean(0), atol=1e-6)


@pytest.mark.parametrize("name", ["bert", "t5"])
def test_a_model_loads_the_soup_of_models(name):
    models = [tiny_classifier(name, seed=seed) for seed in (0, 1)]

    models[0].load_state_dict(uniform_soup([model.state_dict() for model in models]))

    inputs = {key: value for key, value in batch(rows(2)).items() if key != "labels"}
    assert torch.isfinite(models[0].eval()(**inputs).logits).all()


def test_the_greedy_soup_starts_from_the_best_and_keeps_what_improves_it():
    # The score is the closeness to 0: -2 is taken first, 3 improves the mean, 10 does not.
    tried = []

    def score(state):
        tried.append(state["w"].item())
        return -abs(state["w"].item())

    soup = greedy_soup([at(10.0), at(3.0), at(-2.0)], score)

    assert soup.members == (2, 1)
    assert soup.weights["w"].item() == 0.5
    assert soup.score == -0.5
    assert tried == pytest.approx([10, 3, -2, 0.5, 11 / 3])


def test_a_model_that_changes_nothing_is_left_out_and_of_equals_the_first_is_taken():
    soup = greedy_soup([at(1.0), at(5.0)], lambda state: 0.75)

    assert soup.members == (0,)
    assert soup.weights["w"].item() == 1


def test_a_model_without_score_comes_last():
    soup = greedy_soup([at(float("nan")), at(1.0)], lambda state: state["w"].item())

    assert soup.members == (1,)
    assert soup.score == 1


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"v": torch.zeros(2)}, says("model 1", "model 0", "v")),
        ({"w": torch.zeros(3)}, says("model 1", "w", "model 0", "(3,)", "(2,)")),
    ],
)
def test_models_that_do_not_fit_together_are_refused(other, message):
    for make in (uniform_soup, lambda states: greedy_soup(states, lambda state: 0.0)):
        with pytest.raises(UserError, match=message):
            make([at(1.0, 2.0), other])


def test_integers_must_be_equal_and_no_models_are_refused():
    with pytest.raises(UserError, match=says("model 1", "ids", "model 0", "averaged")):
        uniform_soup([{"ids": torch.tensor([0])}, {"ids": torch.tensor([1])}])
    with pytest.raises(UserError, match=says("soup", "at least one")):
        uniform_soup([])
    with pytest.raises(UserError, match=says("soup", "at least one")):
        greedy_soup([], lambda state: 0.0)
