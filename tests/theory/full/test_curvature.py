import copy
import math

import numpy as np
import pytest
import torch
from saying import says
from torch import nn

from steadytune.errors import UserError
from steadytune.kinds import KINDS
from steadytune.study import Study
from steadytune.sweep.plan import plan
from steadytune.theory import MeanLoss, run_loss
from steadytune.theory.full.curvature import hessian_vector_product

CROSS_ENTROPY = KINDS["classification"].criterion()


def network(*layers, seed=0):
    torch.manual_seed(seed)
    parts = [nn.Linear(4, 5), nn.Tanh(), *layers, nn.Linear(5, 3)]
    return nn.Sequential(*parts).double()


def data(n=11, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 4, generator=generator, dtype=torch.float64), torch.arange(n) % 3


def split_loss(model, at=7):
    inputs, labels = data()
    return MeanLoss(model, [(inputs[:at], labels[:at]), (inputs[at:], labels[at:])], CROSS_ENTROPY)


def loss_at(model, inputs, labels):
    """The mean loss as a function of a flat vector, through torch.func."""
    shapes = {name: weight.shape for name, weight in model.named_parameters()}

    def value(vector):
        parts = vector.split([math.prod(shape) for shape in shapes.values()])
        weights = {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
        return nn.functional.cross_entropy(torch.func.functional_call(model, weights, (inputs,)), labels)

    return value


def hessian_of(loss):
    """(P, P), column by column."""
    return torch.stack([loss.hessian_vector(unit) for unit in torch.eye(loss.size, dtype=torch.float64)], dim=1)


def test_value_gradient_and_hessian_are_those_of_the_mean_over_batches_of_unequal_size():
    model = network()
    loss = split_loss(model)
    reference = loss_at(model, *data())

    value, gradient = loss.value_and_gradient()

    assert len(loss) == 11
    assert loss.size == 43
    assert value == loss.value() == pytest.approx(float(reference(loss.weights)))
    assert torch.allclose(gradient, torch.func.grad(reference)(loss.weights), atol=1e-14)
    assert torch.equal(gradient, loss.gradient())
    assert torch.allclose(hessian_of(loss), torch.func.hessian(reference)(loss.weights), atol=1e-14)


def test_the_hessian_of_least_squares_is_the_second_moment_of_the_features():
    inputs, _ = data()
    model = nn.Linear(4, 1, bias=False).double()
    loss = MeanLoss(model, [(inputs, torch.zeros(11))], KINDS["regression"].criterion())

    assert torch.allclose(hessian_of(loss), 2 * inputs.T @ inputs / 11)


def test_a_loss_that_is_linear_in_the_weights_does_not_curve():
    inputs, labels = data()
    loss = MeanLoss(nn.Linear(4, 1).double(), [(inputs, labels)], lambda outputs, _: outputs.mean())

    assert not loss.hessian_vector(torch.ones(5, dtype=torch.float64)).any()


def test_weights_that_the_loss_does_not_use_have_rows_of_zeros():
    used, unused = torch.ones(2, requires_grad=True), torch.ones(1, requires_grad=True)

    def cubes():
        return (used**3).sum()

    product = hessian_vector_product(cubes, [used, unused], torch.tensor([1.0, 2.0, 5.0]))

    assert product.tolist() == [6, 12, 0]


def test_frozen_weights_are_no_part_of_the_function():
    model = network()
    model[0].requires_grad_(False)
    whole = torch.func.hessian(loss_at(network(), *data()))(nn.utils.parameters_to_vector(network().parameters()))

    loss = split_loss(model)

    assert loss.size == 18
    assert torch.allclose(hessian_of(loss), whole[-18:, -18:], atol=1e-14)


def test_dropout_is_off_while_measuring_and_back_on_after():
    plain, dropped = split_loss(network()), split_loss(network(nn.Dropout(0.5)))
    v = torch.ones(plain.size, dtype=torch.float64)

    assert dropped.value() == plain.value()
    assert torch.equal(dropped.hessian_vector(v), plain.hessian_vector(v))
    assert dropped.example_terms()[0].tolist() == plain.example_terms()[0].tolist()
    assert all(module.training for module in dropped.model.modules())


def test_terms_of_the_examples_are_their_own_losses_and_gradients_in_order():
    model = network()
    loss = split_loss(model)
    inputs, labels = data()

    values, norms = loss.example_terms()

    for row in range(11):
        one = loss_at(model, inputs[row : row + 1], labels[row : row + 1])
        assert values[row] == pytest.approx(float(one(loss.weights)))
        assert norms[row] == pytest.approx(float(torch.func.grad(one)(loss.weights).norm()))
    assert values.mean() == pytest.approx(loss.value())
    assert torch.allclose(torch.stack([one.gradient() for one in loss.examples()]).mean(0), loss.gradient())


@pytest.mark.parametrize("place", [0, 6, 7, 10])
def test_an_example_is_left_out_by_the_weight_zero(place):
    loss = split_loss(network())
    own = list(loss.examples())[place]
    v = torch.ones(loss.size, dtype=torch.float64)

    rest = loss.without(place)

    assert len(rest) == 10
    assert rest.value() == pytest.approx(loss.value() - own.value() / 11)
    assert torch.allclose(rest.gradient(), loss.gradient() - own.gradient() / 11, atol=1e-15)
    assert torch.allclose(rest.hessian_vector(v), loss.hessian_vector(v) - own.hessian_vector(v) / 11, atol=1e-14)


def test_a_batch_of_one_example_goes_with_it():
    loss = split_loss(network(), at=10)

    rest = loss.without(10)

    assert [len(labels) for _, labels in rest.batches] == [10]
    assert rest.value() == pytest.approx(loss.value() - list(loss.examples())[10].value() / 11)


def test_the_weights_can_be_others_for_a_while():
    loss = split_loss(network())
    before, value = loss.weights, loss.value()
    elsewhere = before + 1

    def fail_there():
        with loss.at(elsewhere):
            assert torch.equal(loss.weights, elsewhere)
            assert loss.value() != value
            raise KeyError

    with pytest.raises(KeyError):
        fail_there()

    assert torch.equal(loss.weights, before)
    with torch.no_grad():
        loss.parameters[0] += 1
    assert torch.equal(elsewhere, before + 1)


def test_a_loss_without_trained_weights_or_examples_is_refused():
    with pytest.raises(UserError, match="no trainable weight"):
        MeanLoss(network().requires_grad_(False), [data()], CROSS_ENTROPY)
    with pytest.raises(UserError, match="no example"):
        MeanLoss(network(), [], CROSS_ENTROPY)


class _Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, inputs):
        ctx.save_for_backward(inputs)
        return inputs.exp()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        return gradient * ctx.saved_tensors[0].exp()


def test_an_operation_without_a_second_derivative_is_named():
    w = torch.ones(2, requires_grad=True)

    with pytest.raises(UserError, match=says("second derivative", "attn_implementation='eager'")):
        hessian_vector_product(lambda: _Once.apply(w).square().sum(), [w], torch.ones(2))


def test_other_errors_of_the_model_stay_what_they_are():
    w = torch.ones(2, requires_grad=True)

    with pytest.raises(RuntimeError, match=r"size mismatch|shape"):
        hessian_vector_product(lambda: (w.view(1, 2) @ torch.ones(3, 1)).sum() + 1, [w], torch.ones(2))


@pytest.fixture
def spec(tiny_model, tiny_task):
    study = {"model": str(tiny_model), "task": str(tiny_task), "seeds": 1, "training": {"pooling": "mean"}}
    return plan(Study.parse(study))[0]


def test_the_hessian_of_a_transformer_with_fused_attention_is_the_slope_of_its_gradient(spec):
    loss = run_loss(spec, batch_size=16)
    loss.model.double()
    assert loss.model.config._attn_implementation == "sdpa"
    torch.manual_seed(0)
    v = torch.randn(loss.size, dtype=torch.float64)
    v /= v.norm()

    product = loss.hessian_vector(v)

    start, step = loss.weights, 1e-4
    sides = []
    for sign in (1, -1):
        with loss.at(start + sign * step * v):
            sides.append(loss.gradient())
    assert torch.allclose(product, (sides[0] - sides[1]) / (2 * step), atol=1e-6, rtol=0)
    assert product.abs().max() > 1e-2


def test_fused_and_eager_attention_have_the_same_hessian(spec):
    fused = run_loss(spec)
    fused.model.double()
    eager = copy.deepcopy(fused.model)
    eager.encoder.set_attn_implementation("eager")
    v = torch.ones(fused.size, dtype=torch.float64)

    other = MeanLoss(eager, fused.batches, fused.criterion)

    assert torch.allclose(fused.hessian_vector(v), other.hessian_vector(v), atol=1e-10)


def test_the_loss_of_a_run_is_that_of_its_task_at_its_initial_weights_and_leaves_the_random_state(spec):
    torch.manual_seed(5)
    first = run_loss(spec)
    drawn = torch.rand(1)
    torch.manual_seed(5)

    again = run_loss(spec, batch_size=7)

    assert torch.rand(1) == drawn
    assert len(first) == len(again) == 40
    assert torch.equal(first.weights, again.weights)
    assert first.value() == pytest.approx(again.value())
    assert first.value() == pytest.approx(np.log(2), abs=0.3)
