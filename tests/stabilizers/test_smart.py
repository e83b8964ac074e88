import math

import pytest
import torch
from torch import nn
from transformers.modeling_outputs import SequenceClassifierOutput

from steadytune.stabilizers.adversary import Shift
from steadytune.stabilizers.divergence import symmetric_divergence
from steadytune.stabilizers.smart import SMART, difference
from steadytune.stabilizers.surgery import replaced_weights
from steadytune.testing.models import batch, rows, tiny_classifier
from steadytune.training.stabilization import Stabilization


def test_the_start_is_normal_and_spares_padding():
    shift = Shift(0.5, torch.tensor([[1, 0]]), seed=0)

    shifted = shift(torch.zeros(1, 2, 50_000))

    assert shifted[0, 0].mean().item() == pytest.approx(0, abs=0.01)
    assert shifted[0, 0].std().item() == pytest.approx(0.5, rel=0.02)
    assert (shifted[0, 1] == 0).all()


def test_it_climbs_to_the_corner_where_the_slope_points_and_leaves_padding():
    shift = Shift(0.1, torch.tensor([[1, 0], [1, 1]]), seed=0)
    vectors = shift(torch.zeros(2, 2, 2))
    slope = torch.tensor([[[5.0, -1e-20], [7.0, 7.0]], [[0.0, 2.0], [-3.0, 1.0]]])

    shift.climb((vectors * slope).sum(), radius=0.25)

    corner = [[[0.25, -0.25], [0.0, 0.0]], [[0.0, 0.25], [-0.25, 0.25]]]
    assert torch.equal(shift(torch.zeros(2, 2, 2)), torch.tensor(corner))


def test_the_difference_of_regressions_is_squared_and_that_of_classes_a_divergence():
    first, second = torch.tensor([[1.0], [2.0]]), torch.tensor([[4.0], [2.0]])
    assert difference(first, second, "regression").item() == 4.5

    # p = (1/2, 1/2), q = (3/4, 1/4): the sum of (p - q) (log p - log q) is 1/4 log 3.
    even, odd = torch.zeros(1, 2), torch.tensor([[math.log(3.0), 0.0]])
    assert difference(even, odd, "classification").item() == pytest.approx(math.log(3) / 4)


def test_the_first_term_is_the_largest_divergence_in_the_cube():
    model, inputs = tiny_classifier("bert", dropout=False).double(), batch(rows(4))
    kit = Stabilization(model, [SMART(weight=2.0, mu=0.0, radius=1e-4)])
    value = kit.loss(model.train(), inputs)[0].item()
    embeddings = model.get_input_embeddings()(inputs["input_ids"]).detach().requires_grad_()
    clean = model(inputs_embeds=embeddings, attention_mask=inputs["attention_mask"]).logits
    task = nn.functional.cross_entropy(clean, inputs["labels"]).item()

    # Of two classes whose logits differ by s it is p (1 - p) ds^2, and ds at most radius times the sum of |ds/dx|.
    (slopes,) = torch.autograd.grad((clean[:, 0] - clean[:, 1]).sum(), embeddings)
    spread = clean.softmax(-1).prod(-1)
    largest = (spread * (1e-4 * slopes.abs().sum((1, 2))).square()).mean().item()

    assert value - task == pytest.approx(2 * largest, rel=0.02)


def test_the_second_term_is_the_divergence_from_weights_that_follow():
    model, inputs = tiny_classifier("bert", dropout=False).double(), batch(rows(4))
    kit = Stabilization(model, [SMART(weight=0.0, mu=3.0, beta=0.75)])
    bias = model.classifier.bias
    optimizer = torch.optim.SGD([bias], lr=1.0)

    def penalty():
        loss, outputs = kit.loss(model.train(), inputs)
        return loss.item() - nn.functional.cross_entropy(outputs.logits, inputs["labels"]).item(), outputs.logits

    assert penalty()[0] == pytest.approx(0, abs=1e-12)
    with torch.no_grad():
        bias += torch.tensor([4.0, 0.0])
    kit.after_step(optimizer)
    found, logits = penalty()

    # The first bias moved by 4, and its follower by a quarter of that.
    follower = logits - torch.tensor([3.0, 0.0])
    assert found == pytest.approx(3 * symmetric_divergence(logits, follower).item(), rel=1e-9)
    assert not kit.runs["smart"].state["classifier.bias"].requires_grad


def test_equal_weights_have_no_second_term_also_under_dropout():
    model, inputs = tiny_classifier("bert"), batch(rows(4))
    kit = Stabilization(model, [SMART(weight=0.0, mu=1e6)])
    torch.manual_seed(3)
    loss, outputs = kit.loss(model.train(), inputs)

    assert loss.item() == nn.functional.cross_entropy(outputs.logits, inputs["labels"]).item()


def test_the_weights_get_no_gradient_from_the_ascent():
    model, inputs = tiny_classifier("bert", dropout=False), batch(rows(4))
    kit = Stabilization(model, [SMART(mu=0.0)])

    kit.loss(model.train(), inputs)

    assert all(weight.grad is None for weight in model.parameters())


def test_replaced_weights_stand_wherever_they_are_shared_and_leave_the_graph_valid():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    model[1].weight = model[0].weight
    weight, inputs = model[0].weight, torch.ones(1, 2)
    before = model(inputs)

    with torch.no_grad(), replaced_weights(model, {weight: torch.full((2, 2), 2.0)}):
        assert model(inputs).tolist() == [[16.0, 16.0]]

    assert model[0].weight is model[1].weight is weight
    assert torch.equal(model(inputs), before)
    before.sum().backward()
    assert weight.grad is not None


def test_a_regression_is_smoothed_by_squares():
    model, inputs = tiny_classifier("bert", num_labels=1, dropout=False), batch(rows(4))
    inputs["labels"] = inputs["labels"].float()

    loss, outputs = Stabilization(model, [SMART(radius=0.1)]).loss(model.train(), inputs)

    assert loss.item() > nn.functional.mse_loss(outputs.logits.squeeze(-1), inputs["labels"]).item()


def _corners(model, inputs, monkeypatch, precision):
    """The perturbations of a batch, in a pass that computes in half precision, and gives its logits in it or not."""
    corners, climb = [], Shift.climb
    monkeypatch.setattr(Shift, "climb", lambda self, *given: (climb(self, *given), corners.append(self.delta)))
    kit = Stabilization(model, [SMART(mu=0.0)])
    torch.manual_seed(0)
    half = torch.float16 if precision == "float16" else torch.bfloat16
    with torch.autocast("cpu", half, enabled=precision in ("float16", "bfloat16")):
        kit.loss(_Prepared(model) if precision == "accelerate" else model, inputs)
    kit.finish()
    return corners[0].float()


class _Prepared(nn.Module):
    """Computes in half precision and gives its results in float32, as Accelerate has a model do."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, **inputs):
        with torch.autocast("cpu", torch.bfloat16):
            outputs = self.model(**inputs)
        return SequenceClassifierOutput(logits=outputs.logits.float())


@pytest.mark.parametrize("precision", ["float16", "bfloat16", "accelerate", "weights"])
def test_in_half_precision_every_example_is_perturbed_and_where_float32_would(precision, monkeypatch):
    model, inputs = tiny_classifier("roberta", dropout=False).train(), batch(rows(32))
    wide = _corners(model, inputs, monkeypatch, "float32")
    model = model.bfloat16() if precision == "weights" else model

    half = _corners(model, inputs, monkeypatch, precision)

    assert (half != 0).flatten(1).any(1).all()
    # Of two classes both ends of a direction are as good.
    same = (half * wide).sign().mean((1, 2)).abs()
    assert same.mean() > 0.95
