import numpy as np
import pytest
import torch

from steadytune.errors import UserError
from steadytune.linear.fit import fit_heads


def _fit(**changes):
    features = changes.pop("features", np.arange(12.0).reshape(6, 2))
    labels = changes.pop("labels", [0, 1, 0, 1, 0, 1])
    return fit_heads(features, torch.as_tensor(labels), **{"learning_rate": 1e-3, "epochs": 1, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": np.array([[1.0, np.nan]] * 6)}, r"6 of 6 examples .* not finite: example 0"),
        ({"features": np.array([[1.0]] * 5 + [[np.inf]])}, r"1 of 6 examples .* not finite: example 5"),
        ({"features": np.ones((6, 2), dtype=np.int64)}, "float32 or float64"),
        ({"features": np.ones((6, 2), dtype=np.float16)}, "float32 or float64"),
        ({"features": np.ones(6)}, r"\(6,\): \(n, d\)"),
        ({"features": np.ones((0, 2)), "labels": np.ones(0, dtype=int)}, "at least one example"),
        ({"labels": [0, 1]}, r"labels are \(2,\): \(6,\)"),
        ({"labels": [0.0, 1, 0, 1, 0, 1]}, "whole numbers"),
        ({"labels": [0, 1, -1, 1, 0, 1]}, "from -1 to 1: they must be 0 to 1"),
        ({"labels": [0, 1, 2, 1, 0, 1], "num_outputs": 2}, "from 0 to 2: they must be 0 to 1"),
        ({"labels": [0, 1, 2, 1, 0, 1], "num_outputs": 1, "loss": "logistic"}, "they must be 0 to 1"),
        ({"num_outputs": 1}, "num_outputs is 1"),
        ({"learning_rate": 0.0}, "learning rate of problem 0 is 0: it must be above 0"),
        ({"learning_rate": [1e-3, np.nan]}, "learning rate of problem 1 is nan"),
        ({"l2": [0.0, 0.0, -0.5]}, "l2 of problem 2 is -0.5: it must be at least 0"),
        ({"init_seeds": [0, 1], "left_out": [1, 2, 3]}, r"init_seeds 2, left_out 3"),
        ({"init_seeds": []}, "init_seeds is empty"),
        ({"init": np.zeros((2, 2)), "init_seeds": [0]}, "leave out one"),
        ({"init": np.zeros((2, 2)), "heads": 2}, "heads is 2.*init_seeds"),
        ({"init": np.zeros((3, 2))}, r"init is \(3, 2\): \(problems, 2, 2\)"),
        ({"init": np.full((2, 2), np.nan)}, "must be finite"),
        ({"init": np.zeros((1, 1, 2, 2))}, "init has 4 dimensions: 2 or 3"),
        ({"init_seeds": [0], "scale": np.inf}, "must be finite"),
        ({"heads": 3}, "heads is 3.*init_seeds"),
        ({"heads": 0, "init_seeds": [0]}, "heads is 0"),
        ({"sample_weights": np.ones(5)}, r"\(B, 6\) or \(6,\)"),
        ({"sample_weights": -np.ones(6)}, "at least 0"),
        ({"sample_weights": [[1.0] * 6, [0.0] * 6]}, "problem 1 has no example"),
        ({"left_out": [6]}, "0 to 5, or -1"),
        ({"left_out": 3}, "left_out has 0 dimensions: 1 is right"),
        ({"left_out": [0.7]}, "indices of examples"),
        ({"left_out": np.array([True, False])}, "indices of examples"),
        ({"l2": np.zeros((2, 2))}, "l2 has 2 dimensions"),
        ({"learning_rate": ["fast"]}, "learning_rate holds what is no number"),
        ({"sample_weights": np.ones((1, 1, 6))}, "sample_weights has 3 dimensions"),
        ({"tolerance": np.nan}, "tolerance is nan"),
        ({"features": np.full((6, 2), 1e30, dtype=np.float32)}, "beyond the stability limit"),
        ({"batch_size": 2, "order_seeds": [0], "warmup": 1.5}, "warmup is 1.5"),
        ({"batch_size": 2, "order_seeds": [0], "clip": -1.0}, "clip -1.0"),
        ({"left_out": [1], "sample_weights": [0.0, 1, 0, 0, 0, 0]}, "problem 0 has no example"),
        ({"epochs": -1}, "epochs is -1"),
        ({"epochs": 0, "batch_size": 2, "order_seeds": [0]}, "epochs is 0"),
        ({"loss": "hinge"}, "unknown loss 'hinge'.*logistic, softmax"),
        ({"reduction": "max"}, "unknown reduction 'max'.*mean, sum"),
        ({"kind": "ranking"}, "unknown kind 'ranking'"),
        ({"batch_size": 2, "order_seeds": [0], "optimizer": "adam"}, "unknown optimizer 'adam'.*adamw, sgd"),
        ({"features": np.ones((6, 3, 2))}, r"\(6, 3, 2\).*classification"),
        ({"kind": "choice", "batch_size": 2, "order_seeds": [0]}, r"\(6, 2\).*choice"),
        ({"batch_size": 0, "order_seeds": [0]}, "batch_size 0"),
        ({"order_seeds": [0]}, "order_seeds need mini-batches"),
        ({"clip": 1.0, "warmup": 0.1}, "clip, warmup need mini-batches"),
        ({"batch_size": 2}, "mini-batches need order_seeds"),
        ({"batch_size": 2, "order_seeds": [0], "at": [1]}, "neither"),
        ({"kind": "regression", "labels": [0.5] * 6}, "full-batch .* not regression"),
    ],
)
def test_a_mistake_is_named_with_what_would_be_right(changes, message):
    with pytest.raises(UserError, match=message) as error:
        _fit(**changes)

    assert str(error.value).count("\n") <= 1


def test_what_is_given_once_holds_for_all_problems():
    head = np.array([[0.1, 0.2], [0.3, 0.4]])
    weights = np.array([1.0, 2, 0, 1, 0.5, 1])

    once = _fit(init=head, sample_weights=weights, l2=0.1, left_out=[-1, 3, 0])
    each = _fit(init=np.stack([head] * 3), sample_weights=np.stack([weights] * 3), l2=[0.1] * 3, left_out=[-1, 3, 0])

    assert once.weight.shape == (3, 2, 2)
    assert torch.equal(once.weight, each.weight)
    assert torch.equal(once.losses, each.losses)


@pytest.mark.parametrize(
    ("labels", "options", "outputs"),
    [
        ([0, 1, 0, 1, 0, 1], {}, 2),
        ([0, 0, 0, 0, 0, 0], {}, 2),
        ([0, 1, 2, 1, 0, 1], {}, 3),
        ([0, 1, 0, 1, 0, 1], {"num_outputs": 4}, 4),
        ([0, 1, 0, 1, 0, 1], {"loss": "logistic"}, 1),
        ([0, 1, 0, 1, 0, 1], {"loss": "logistic", "num_outputs": 1}, 1),
        ([0, 1, 0, 1, 0, 1], {"loss": "logistic", "num_outputs": 2}, 2),
        ([0, 1, 2, 1, 0, 1], {"loss": "logistic"}, 3),
    ],
)
def test_outputs_are_as_many_as_the_labels_show_unless_told(labels, options, outputs):
    assert _fit(labels=labels, **options).weight.shape == (1, outputs, 2)


def test_a_class_that_no_example_has_is_only_pushed_away():
    fitted = _fit(labels=[0, 1, 0, 1, 0, 1], num_outputs=3, epochs=5, bias=True)

    assert fitted.bias[0, 2] < 0
    assert fitted.weight[0].sum(0).abs().max() < 1e-12
