import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_runs import made_specs, made_study
from saying import says
from torch import nn

from steadytune.errors import UserError
from steadytune.linear.fit import fit_heads
from steadytune.linear.problems import Heads
from steadytune.models.random_state import spread
from steadytune.study import Study
from steadytune.sweep.plan import plan
from steadytune.tasks.base import Examples
from steadytune.training import features as features_module
from steadytune.training.head import _EpochPicker, train_heads


def _problem(kind="classification", n=50, width=7, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    shape = (n, 3, width) if kind == "choice" else (n, width)
    features = torch.randn(shape, generator=generator, dtype=dtype)
    if kind == "regression":
        return features, features[:, 0] * 2 - 1
    if kind == "choice":
        return features, features[..., 0].argmax(1)
    return features, (features[:, 0] + features[:, -1] > 0).long()


def _fit(features, labels, seeds, kind="classification", **changes):
    options = {"learning_rate": 0.05, "epochs": 3, "batch_size": 16}
    outputs = 2 if kind == "classification" else 1
    return fit_heads(
        features, labels, kind=kind, num_outputs=outputs, init_seeds=seeds, order_seeds=seeds, **{**options, **changes}
    )


@settings(max_examples=25, deadline=None)
@given(
    kind=st.sampled_from(["classification", "regression", "choice"]),
    n=st.integers(5, 120),
    width=st.sampled_from([1, 7, 17, 64, 384]),
    heads=st.sampled_from([1, 3, 10]),
    company=st.lists(st.integers(0, 6), min_size=1, max_size=6, unique=True),
)
def test_a_head_has_the_same_bits_whoever_is_trained_beside_it(kind, n, width, heads, company):
    features, labels = _problem(kind, n=n, width=width)

    together = _fit(features, labels, list(range(7)), kind, heads=heads)
    apart = _fit(features, labels, company, kind, heads=heads)

    assert torch.equal(apart.weight, together.weight[company])
    assert torch.equal(apart.bias, together.bias[company])
    assert torch.equal(apart.logits(features), together.logits(features)[company])


@pytest.mark.parametrize("kind", ["classification", "regression", "choice"])
def test_it_follows_a_plain_loop_over_one_linear_layer(kind):
    features, labels = _problem(kind, dtype=torch.float64)
    outputs = 2 if kind == "classification" else 1
    layer = nn.Linear(7, outputs, dtype=torch.float64)
    with torch.no_grad():
        draw = torch.Generator().manual_seed(spread("init", 5))
        layer.weight.copy_(torch.randn(1, outputs, 7, generator=draw, dtype=torch.float64)[0] * 0.02)
        layer.bias.zero_()
    optimizer = torch.optim.AdamW(
        [{"params": [layer.weight], "weight_decay": 0.01}, {"params": [layer.bias], "weight_decay": 0.0}], lr=0.05
    )
    steps, warm = 12, 2
    order = torch.Generator().manual_seed(spread("order", 5))
    step = 0
    for _ in range(3):
        for index in torch.randperm(50, generator=order).split(16):
            for group in optimizer.param_groups:
                group["lr"] = 0.05 * (step / warm if step < warm else (steps - step) / (steps - warm))
            logits = layer(features[index]).squeeze(-1)
            if kind == "regression":
                loss = nn.functional.mse_loss(logits, labels[index])
            else:
                loss = nn.functional.cross_entropy(logits, labels[index])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(layer.parameters(), 1.0)
            optimizer.step()
            step += 1

    fitted = _fit(features, labels, [5], kind)

    assert torch.allclose(fitted.weight[0], layer.weight, atol=1e-9)
    assert torch.allclose(fitted.bias[0], layer.bias, atol=1e-9)


def test_many_heads_are_the_average_of_heads_trained_each_by_itself():
    features, labels = _problem()
    three = _fit(features, labels, [2], heads=3)

    draws = torch.randn(3, 2, 7, generator=torch.Generator().manual_seed(spread("init", 2)))
    singles = []
    for draw in draws:
        # The other way round: one head at a time, from the same drawn weights.
        original = torch.randn
        torch.randn = lambda *shape, draw=draw, **_: draw.view(*shape)
        try:
            singles.append(_fit(features, labels, [2]).weight[0])
        finally:
            torch.randn = original

    assert torch.allclose(three.weight[0], torch.stack(singles).mean(0), atol=1e-6)


def test_it_learns_what_a_linear_head_can_learn():
    features, labels = _problem(n=400)

    heads = _fit(features, labels, [0, 1], epochs=20)

    accuracy = (heads.logits(features).argmax(-1) == labels).float().mean(1)
    assert accuracy.min() > 0.95


@pytest.fixture
def head_specs(tiny_model, tiny_task):
    def make(**changes):
        study = Study.parse(
            {
                "model": str(tiny_model),
                "task": str(tiny_task),
                "seeds": 3,
                "training": {"mode": "head", "epochs": 5, **changes.pop("training", {})},
                "recipes": ["standard"],
                **changes,
            }
        )
        return plan(study)

    return make


def test_the_features_are_computed_once_and_shared(head_specs, tmp_path, monkeypatch):
    first = train_heads(head_specs(), tmp_path, lambda share: None)
    monkeypatch.setattr(features_module, "_compute", lambda *_: pytest.fail("computed twice"))

    second = train_heads(head_specs(), tmp_path, lambda share: None)

    for (_, one), (_, other) in zip(first, second, strict=True):
        assert np.array_equal(one["logits"], other["logits"])
    assert len({one["logits"].tobytes() for _, one in first}) == 3


def test_heads_of_another_data_seed_read_the_features_of_their_own_subset(head_specs, tmp_path):
    specs = head_specs(seeds={"vary": ["init", "data"], "values": 2}, training={"train_size": 24})
    subsets = [[spec for spec in specs if spec.seeds.data == data] for data in (0, 1)]

    logits = [np.stack([arrays["logits"] for _, arrays in train_heads(group, tmp_path, print)]) for group in subsets]

    assert len(list(tmp_path.glob("features-*.safetensors"))) == 2
    assert (logits[0] != logits[1]).any(axis=(1, 2)).all()
    # The cache of one must not serve the other: trained anew, each is as it was.
    again = [arrays["logits"] for _, arrays in train_heads(subsets[0], tmp_path / "fresh", print)]
    assert np.array_equal(np.stack(again), logits[0])


@pytest.mark.parametrize(("recipe", "differ"), [("surt", True), ("mmr", False)])
def test_features_of_an_encoder_decoder_name_the_objective_that_surt_trained(monkeypatch, recipe, differ):
    spec = made_specs(made_study(recipes=[recipe]))[0]
    keys = []
    for both in (False, True):
        monkeypatch.setattr(features_module, "is_encoder_decoder", lambda _, both=both: both)
        keys.append(features_module.features_key(spec))

    assert (keys[0] != keys[1]) == differ


def test_damaged_features_are_computed_again(head_specs, tmp_path):
    first = train_heads(head_specs(), tmp_path, lambda share: None)
    (file,) = tmp_path.glob("features-*.safetensors")
    file.write_bytes(file.read_bytes()[:-3])

    second = train_heads(head_specs(), tmp_path, lambda share: None)

    assert np.array_equal(first[0][1]["logits"], second[0][1]["logits"])


@pytest.mark.parametrize("pooling", ["cls", "mean", "last"])
def test_every_pooling_gives_heads_of_its_own(head_specs, tmp_path, pooling):
    record, arrays = train_heads(head_specs(training={"pooling": pooling}), tmp_path, lambda share: None)[0]

    assert record.status == "done"
    assert arrays["logits"].shape == (24, 2)
    assert "representations" not in arrays


def test_mhloss_and_surt_work_on_frozen_features(head_specs, tmp_path):
    specs = head_specs(recipes=["standard", "mhloss", "surt"])
    by_recipe = {name: [spec for spec in specs if spec.recipe == name] for name in ("standard", "mhloss", "surt")}

    results = {name: train_heads(group, tmp_path, lambda share: None) for name, group in by_recipe.items()}

    spread_of = {
        name: np.std([arrays["logits"] for _, arrays in runs], axis=0).mean() for name, runs in results.items()
    }
    assert spread_of["mhloss"] < spread_of["standard"]
    assert results["surt"][0][0].measurements["surt_distance"] > 0


def test_the_epoch_is_picked_for_each_head_by_itself(head_specs, tmp_path):
    specs = head_specs(training={"select_checkpoint": True, "learning_rate": 0.5, "epochs": 8})

    results = train_heads(specs, tmp_path, lambda share: None)

    assert all(1 <= record.measurements["selected_epoch"] <= 8 for record, _ in results)
    assert results[0][1]["logits"].shape == (12, 2)


def test_features_that_are_not_finite_are_refused(head_specs, tmp_path, monkeypatch):
    monkeypatch.setattr(features_module, "pool", lambda states, mask, how: states[:, 0] * float("nan"))

    with pytest.raises(UserError, match=says("tiny-bert", "finite")):
        train_heads(head_specs(), tmp_path, lambda share: None)


def test_of_several_epochs_that_score_best_each_head_keeps_its_first():
    # Two heads, three epochs: scores .5, 1, 1 and 1, .5, 1; the bias says which epoch a head is of.
    examples = Examples(tuple((("", None),) for _ in range(2)), np.array([0, 1]))
    picker = _EpochPicker(torch.eye(2), examples, "classification", "accuracy")
    right, wrong = torch.eye(2), torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    for epoch, pair in enumerate([(wrong, right), (right, wrong), (right, right)], start=1):
        picker(epoch, Heads(torch.stack(pair), torch.full((2, 2), float(epoch)), torch.zeros(1, 2)))
    assert picker.best is not None
    assert picker.best.bias[:, 0].tolist() == [2, 1]
    assert [picker.measurements(k)["selected_epoch"] for k in range(2)] == [2, 1]


@pytest.mark.parametrize(("metric", "kept"), [("pearson", 0), ("rmse", 1)])
def test_the_best_epoch_of_a_head_is_the_one_with_the_least_error_where_less_is_better(metric, kept):
    examples = Examples(((("a", None),), (("b", None),)), np.array([0.0, 1.0]))
    pick = _EpochPicker(torch.eye(2), examples, "regression", metric)
    # The first epoch has the right order, far away; the second the wrong order, close by.
    for epoch, outputs in enumerate(([[10.0, 20.0]], [[0.6, 0.5]])):
        pick(epoch, Heads(torch.tensor([outputs]), torch.zeros(1, 1), torch.zeros(1, 1)))
    assert pick.measurements(0) == {"selected_epoch": kept + 1.0}
