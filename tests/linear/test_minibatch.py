import itertools

import pytest
import torch
from torch import nn

from steadytune.linear.fit import fit_heads
from steadytune.linear.posing import generator


def _data(classes=2):
    draw = torch.Generator().manual_seed(classes)
    features = torch.randn(50, 7, generator=draw, dtype=torch.float64)
    return features, torch.randint(0, classes, (50,), generator=draw)


def _loop(features, labels, rows, optimizer, rate, *, loss, reduction, bias, l2, sample_weights):
    """One head by a torch optimizer on batches of 16, seed 3, with a constant order of operations of its own."""
    layer = nn.Linear(7, rows, dtype=torch.float64)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    layer.bias.requires_grad_(bias)
    stepper = optimizer(
        [{"params": [layer.weight]}, {"params": [layer.bias] if bias else [], "weight_decay": 0.0}],
        lr=rate,
        weight_decay=0.05,
    )
    order = generator("order", 3)
    step, steps = 0, 8
    for _ in range(2):
        for index in torch.randperm(50, generator=order).split(16):
            for group in stepper.param_groups:
                group["lr"] = rate * (steps - step) / steps
            logits, targets, own = layer(features[index]), labels[index], sample_weights[index]
            if loss == "softmax":
                each = nn.functional.cross_entropy(logits, targets, reduction="none")
            else:
                wanted = targets[:, None] == (torch.arange(rows) if rows > 1 else 1)
                each = nn.functional.binary_cross_entropy_with_logits(logits, wanted.double(), reduction="none").sum(1)
            total = (each * own).sum() / (own.sum() if reduction == "mean" else 1)
            stepper.zero_grad()
            (total + l2 / 2 * layer.weight.square().sum()).backward()
            stepper.step()
            step += 1
    return layer


@pytest.mark.parametrize(
    ("name", "loss", "classes", "reduction", "bias"),
    list(itertools.product(["adamw", "sgd"], ["softmax", "logistic"], [2, 3], ["mean", "sum"], [True, False])),
)
def test_every_problem_follows_a_plain_loop_of_its_own(name, loss, classes, reduction, bias):
    features, labels = _data(classes)
    weights = torch.rand(5, 50, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    # Rates neither in order nor all different; the last problem has no example in some of its batches.
    rates, l2, left_out = [0.03, 0.001, 0.03, 0.2, 0.001], [0.0, 0.1, 0.2, 0.0, 0.3], [-1, 0, 49, 7, 7]
    options = {"loss": loss, "reduction": reduction, "bias": bias}

    fitted = fit_heads(
        features,
        labels,
        learning_rate=rates,
        epochs=2,
        batch_size=16,
        l2=l2,
        sample_weights=weights,
        left_out=left_out,
        order_seeds=[3] * 5,
        optimizer=name,
        warmup=0.0,
        weight_decay=0.05,
        clip=0.0,
        **options,
    )

    optimizer = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[name]
    for b in range(5):
        own = weights[b].clone()
        if left_out[b] >= 0:
            own[left_out[b]] = 0
        layer = _loop(
            features, labels, fitted.weight.shape[1], optimizer, rates[b], l2=l2[b], sample_weights=own, **options
        )
        assert torch.allclose(fitted.weight[b], layer.weight, rtol=0, atol=1e-12)
        assert torch.allclose(fitted.bias[b], layer.bias, rtol=0, atol=1e-12)


def test_a_batch_in_which_nothing_weighs_anything_moves_nothing():
    features, labels = _data()
    weights = torch.zeros(50)
    weights[11] = 1.0

    fitted = fit_heads(
        features,
        labels,
        learning_rate=0.1,
        epochs=1,
        batch_size=1,
        sample_weights=weights,
        order_seeds=[3],
        optimizer="sgd",
        warmup=0.0,
        weight_decay=0.0,
        bias=False,
    )

    place = torch.randperm(50, generator=generator("order", 3)).tolist().index(11)
    assert fitted.losses.nonzero()[:, 0].tolist() == [place]
    # One step from zero: both rows by half the example, in opposite directions, at the rate of that step.
    row = features[11] / features[11].norm().mul(2**0.5 / 2).clamp(min=1) * (2 * labels[11] - 1) / 2
    assert torch.allclose(fitted.weight[0], torch.stack([-row, row]) * 0.1 * (50 - place) / 50, atol=1e-6)


def test_a_head_has_the_same_bits_whatever_rates_are_trained_beside_it():
    features, labels = _data()
    rates = [0.03, 0.001, 0.03, 0.2]

    def fit(chosen):
        return fit_heads(
            features.float(),
            labels,
            learning_rate=[rates[b] for b in chosen],
            epochs=3,
            batch_size=8,
            init_seeds=chosen,
            order_seeds=chosen,
            left_out=chosen,
            heads=3,
        )

    together = fit([0, 1, 2, 3])

    for chosen in ([0], [3, 0], [2, 1, 0]):
        apart = fit(chosen)
        assert torch.equal(apart.weight, together.weight[chosen])
        assert torch.equal(apart.bias, together.bias[chosen])
        assert torch.equal(apart.losses, together.losses[:, chosen])


def test_progress_is_told_after_every_epoch():
    features, labels = _data()
    shares, epochs = [], []

    fit_heads(
        features,
        labels,
        learning_rate=0.1,
        epochs=4,
        batch_size=20,
        order_seeds=[0],
        progress=shares.append,
        each_epoch=lambda epoch, heads: epochs.append((epoch, len(heads.losses))),
    )

    assert shares == [0.25, 0.5, 0.75, 1.0]
    assert epochs == [(1, 3), (2, 6), (3, 9), (4, 12)]
