import numpy as np
import pytest
import torch
from saying import says

from steadytune.errors import UserError
from steadytune.linear.fit import fit_heads


def _fit(**changes):
    features = changes.pop("features", np.arange(12.0).reshape(6, 2))
    labels = changes.pop("labels", [0, 1, 0, 1, 0, 1])
    return fit_heads(features, torch.as_tensor(labels), **{"learning_rate": 1e-3, "epochs": 1, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": np.array([[1.0, np.nan]] * 6)}, says("6 of 6", "example 0")),
        ({"features": np.array([[1.0]] * 5 + [[np.inf]])}, says("1 of 6", "example 5")),
        ({"features": np.ones((6, 2), dtype=np.int64)}, says("float32", "float64")),
        ({"features": np.ones((6, 2), dtype=np.float16)}, says("float32", "float64")),
        ({"features": np.ones(6)}, says("features", "(6,)", "(n, d)")),
        ({"features": np.ones((0, 2)), "labels": np.ones(0, dtype=int)}, "at least one example"),
        ({"labels": [0, 1]}, says("labels", "(2,)", "(6,)")),
        ({"labels": [0.0, 1, 0, 1, 0, 1]}, "labels"),
        ({"labels": [0, 1, -1, 1, 0, 1]}, says("labels", "-1 to 1", "0 to 1")),
        ({"labels": [0, 1, 2, 1, 0, 1], "num_outputs": 2}, says("labels", "0 to 2", "0 to 1")),
        ({"labels": [0, 1, 2, 1, 0, 1], "num_outputs": 1, "loss": "logistic"}, says("labels", "0 to 1")),
        ({"num_outputs": 1}, says("num_outputs", "1")),
        ({"learning_rate": 0.0}, says("learning rate", "problem 0", "0", "0")),
        ({"learning_rate": [1e-3, np.nan]}, says("learning rate", "problem 1", "nan")),
        ({"l2": [0.0, 0.0, -0.5]}, says("l2", "problem 2", "-0.5", "0")),
        ({"init_seeds": [0, 1], "left_out": [1, 2, 3]}, says("init_seeds 2", "left_out 3")),
        ({"init_seeds": []}, says("init_seeds", "empty")),
        ({"init": np.zeros((2, 2)), "init_seeds": [0]}, says("init", "init_seeds")),
        ({"init": np.zeros((2, 2)), "heads": 2}, says("heads", "2", "init_seeds")),
        ({"init": np.zeros((3, 2))}, says("init", "(3, 2)", "(problems, 2, 2)")),
        ({"init": np.full((2, 2), np.nan)}, says("init", "finite")),
        ({"init": np.zeros((1, 1, 2, 2))}, says("init", "4", "2 or 3")),
        ({"init_seeds": [0], "scale": np.inf}, says("scale", "finite")),
        ({"heads": 3}, says("heads", "3", "init_seeds")),
        ({"heads": 0, "init_seeds": [0]}, says("heads", "0")),
        ({"sample_weights": np.ones(5)}, says("sample_weights", "(B, 6)", "(6,)")),
        ({"sample_weights": -np.ones(6)}, says("sample", "0")),
        ({"sample_weights": [[1.0] * 6, [0.0] * 6]}, says("problem 1", "no example")),
        ({"left_out": [6]}, says("left_out", "0 to 5", "-1")),
        ({"left_out": 3}, says("left_out", "0", "1")),
        ({"left_out": [0.7]}, says("left_out", "indices")),
        ({"left_out": np.array([True, False])}, says("left_out", "indices")),
        ({"l2": np.zeros((2, 2))}, says("l2", "2 dimensions")),
        ({"learning_rate": ["fast"]}, says("learning_rate", "number")),
        ({"sample_weights": np.ones((1, 1, 6))}, says("sample_weights", "3 dimensions")),
        ({"tolerance": np.nan}, says("tolerance", "nan")),
        ({"features": np.full((6, 2), 1e30, dtype=np.float32)}, "stability limit"),
        ({"batch_size": 2, "order_seeds": [0], "warmup": 1.5}, says("warmup", "1.5")),
        ({"batch_size": 2, "order_seeds": [0], "clip": -1.0}, says("clip", "-1.0")),
        ({"left_out": [1], "sample_weights": [0.0, 1, 0, 0, 0, 0]}, says("problem 0", "no example")),
        ({"epochs": -1}, says("epochs", "-1")),
        ({"epochs": 0, "batch_size": 2, "order_seeds": [0]}, says("epochs", "0")),
        ({"loss": "hinge"}, says("loss", "'hinge'", "logistic", "softmax")),
        ({"reduction": "max"}, says("reduction", "'max'", "mean", "sum")),
        ({"kind": "ranking"}, says("kind", "'ranking'")),
        ({"batch_size": 2, "order_seeds": [0], "optimizer": "adam"}, says("optimizer", "'adam'", "adamw", "sgd")),
        ({"features": np.ones((6, 3, 2))}, says("(6, 3, 2)", "classification")),
        ({"kind": "choice", "batch_size": 2, "order_seeds": [0]}, says("(6, 2)", "choice")),
        ({"batch_size": 0, "order_seeds": [0]}, says("batch_size", "0")),
        ({"order_seeds": [0]}, says("order_seeds", "batch")),
        ({"clip": 1.0, "warmup": 0.1}, says("clip, warmup", "batch")),
        ({"batch_size": 2}, says("batches", "order_seeds")),
        ({"batch_size": 2, "order_seeds": [0], "at": [1]}, says("batches", "`at`", "`tolerance`")),
        ({"kind": "regression", "labels": [0.5] * 6}, says("full-batch", "regression")),
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
