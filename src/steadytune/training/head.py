"""Head tuning: linear heads on frozen features, all seeds' heads trained together as one batched problem."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from steadytune.files import Arrays
from steadytune.records import RunRecord
from steadytune.stabilizers.mhloss import MHLoss
from steadytune.study import RunSpec
from steadytune.tasks.base import Examples, Kind
from steadytune.tasks.metrics import evaluate
from steadytune.training.data import run_data
from steadytune.training.features import frozen_features
from steadytune.training.outcome import Diverged, finished, lost
from steadytune.training.seeds import spread

_BLOCK = 64


@dataclass(frozen=True)
class Heads:
    """B trained linear heads.

    Attributes:
        weight: (B, outputs, d).
        bias: (B, outputs).
        losses: (steps, B) training loss of each head's batch, before its step.
    """

    weight: Tensor
    bias: Tensor
    losses: Tensor

    def logits(self, features: Tensor) -> Tensor:
        """Return (B, n, outputs), or (B, n, c) for features (n, c, d) of c candidates."""
        # One product per head, of a copy that lies in memory as any other does: else the last bits would depend on the
        # heads beside it.
        rows = features.flatten(0, -2)
        heads = zip(self.weight, self.bias, strict=True)
        logits = torch.stack([rows @ weight.clone().T + bias.clone() for weight, bias in heads])
        return logits.view(len(logits), *features.shape[:2]) if features.dim() == 3 else logits


def fit_heads(
    features: Tensor,
    labels: Tensor,
    *,
    kind: str,
    num_outputs: int,
    init_seeds: Sequence[int],
    order_seeds: Sequence[int],
    learning_rate: float,
    epochs: int,
    batch_size: int,
    heads: int = 1,
    scale: float = 0.02,
    warmup: float = 0.1,
    weight_decay: float = 0.01,
    clip: float = 1.0,
    each_epoch: Callable[[int, Heads], None] | None = None,
) -> Heads:
    """Train B = len(init_seeds) x heads linear heads on shared features, as one batched problem.

    AdamW with bias correction, linear warm-up and decay, decay on the weights alone, the gradient of each head clipped
    by itself. Every head sees the batches of its own order seed. There is no dropout: the features are frozen.

    Args:
        features: (n, d), or (n, c, d) for choice tasks with c candidates.
        labels: (n,) class or choice index, or target.
        kind: "classification", "regression" or "choice".
        num_outputs: Classes; 1 for a regression or choice.
        init_seeds: One per problem.
        order_seeds: One per problem.
        learning_rate: Peak rate.
        epochs: Passes.
        batch_size: Examples per step.
        heads: Independently initialised heads per problem, which share their batches; they are averaged at the end.
        scale: Standard deviation of the initial weights; biases start at 0.
        warmup: Share of the steps.
        weight_decay: Decoupled decay.
        clip: Norm limit, 0 for none.
        each_epoch: Called with the number of epochs done and the heads as they stand, averaged.

    Returns:
        One head per problem.
    """
    n, width = len(features), features.shape[-1]
    asked = len(init_seeds)
    # Kernels round differently in a batch of one and at the end of an array. So that a head has the same bits whoever
    # is trained beside it, none is trained alone, and each fills whole blocks of every array with its own numbers.
    init_seeds, order_seeds = ([*seeds, *seeds] if asked == 1 else seeds for seeds in (init_seeds, order_seeds))
    problems = len(init_seeds)
    device, dtype = features.device, features.dtype
    features = nn.functional.pad(features, (0, -width % _BLOCK))
    drawn = torch.stack(
        [torch.randn(heads, num_outputs, width, dtype=dtype, generator=_generator("init", seed)) for seed in init_seeds]
    )
    weight = nn.functional.pad(drawn * scale, (0, -width % _BLOCK)).to(device).requires_grad_(True)
    padded = -(-heads * num_outputs // _BLOCK) * _BLOCK
    biases = torch.zeros(problems, padded, device=device, dtype=dtype, requires_grad=True)
    optimizer = torch.optim.AdamW(
        [{"params": [weight], "weight_decay": weight_decay}, {"params": [biases], "weight_decay": 0.0}],
        lr=learning_rate,
    )
    steps = epochs * math.ceil(n / batch_size)
    rising = math.ceil(warmup * steps)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: step / max(1, rising) if step < rising else (steps - step) / max(1, steps - rising)
    )
    orders = [_generator("order", seed) for seed in order_seeds]
    losses: list[Tensor] = []

    def folded() -> Heads:
        bias = biases.detach()[:asked, : heads * num_outputs].view(asked, heads, num_outputs)
        return Heads(weight.detach()[:asked, ..., :width].mean(1), bias.mean(1), torch.stack(losses)[:, :asked].cpu())

    for epoch in range(epochs):
        order = torch.stack([torch.randperm(n, generator=generator) for generator in orders]).to(device)
        for index in order.split(batch_size, dim=1):
            inputs, targets = features[index], labels[index]
            rows = inputs.flatten(1, -2)
            logits = torch.bmm(rows, weight.flatten(1, 2).mT) + biases[:, None, : heads * num_outputs]
            each = _losses(logits.view(*rows.shape[:2], heads, num_outputs), targets, kind)
            weight_gradient, bias_gradient = torch.autograd.grad(each.sum(), (weight, biases))
            if clip:
                own = bias_gradient[:, : heads * num_outputs].view(problems, heads, num_outputs)
                norm = (weight_gradient.square().sum((2, 3)) + own.square().sum(2)).sqrt()
                shrink = (clip / (norm + 1e-6)).clamp(max=1)
                weight_gradient = weight_gradient * shrink[..., None, None]
                spread_out = shrink.repeat_interleave(num_outputs, dim=1)
                bias_gradient = bias_gradient * nn.functional.pad(spread_out, (0, padded - heads * num_outputs))
            weight.grad, biases.grad = weight_gradient, bias_gradient
            optimizer.step()
            schedule.step()
            losses.append(each.detach().mean(1))
        if each_epoch is not None:
            each_epoch(epoch + 1, folded())
    return folded()


def _generator(stream: str, seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(spread(stream, seed))


def _losses(logits: Tensor, targets: Tensor, kind: str) -> Tensor:
    """Return the mean task loss of each head.

    Args:
        logits: (B, rows, H, outputs); rows are candidates for choice tasks.
        targets: (B, b).
        kind: Task kind.

    Returns:
        (B, H).
    """
    problems, rows, heads, _ = logits.shape
    batch = targets.shape[1]
    if kind == "regression":
        return (logits.squeeze(-1) - targets[..., None]).square().mean(1)
    if kind == "choice":
        logits = logits.view(problems, batch, rows // batch, heads).permute(0, 1, 3, 2)
    log_probabilities = logits.log_softmax(-1)
    chosen = targets[:, :, None, None].expand(-1, -1, heads, 1)
    return -log_probabilities.gather(-1, chosen).squeeze(-1).mean(1)


def train_heads(
    specs: Sequence[RunSpec], cache: Path, progress: Callable[[float], None]
) -> list[tuple[RunRecord, Arrays]]:
    """Train the runs of one cohort together and measure each.

    Args:
        specs: Runs that differ in their seeds alone, and not in the data seed.
        cache: Folder of the cached features.
        progress: Called with the share that is done, 0 to 1.
    """
    started = time.perf_counter()
    spec, training = specs[0], specs[0].training
    torch.set_num_threads(training.threads)
    data = run_data(spec)
    task = data.task
    features = frozen_features(spec, data, cache, lambda share: progress(0.5 * share))
    ready = time.perf_counter()
    assert training.learning_rate is not None
    labels = torch.from_numpy(data.splits.train.labels)
    picker = _EpochPicker(features.select, data.splits.select, task.kind, task.metric)

    def each_epoch(epoch: int, current: Heads) -> None:
        progress(0.5 + 0.5 * epoch / training.epochs)
        picker(epoch, current)

    trained = fit_heads(
        features.train,
        labels.float() if task.kind == "regression" else labels,
        kind=task.kind,
        num_outputs=task.num_outputs,
        init_seeds=[one.seeds.init for one in specs],
        order_seeds=[one.seeds.order for one in specs],
        learning_rate=training.learning_rate,
        epochs=training.epochs,
        batch_size=training.batch_size,
        heads=next((method.heads for method in spec.stabilizers if isinstance(method, MHLoss)), 1),
        scale=features.scale,
        warmup=training.warmup,
        weight_decay=training.weight_decay,
        clip=training.clip,
        each_epoch=each_epoch,
    )
    chosen = picker.best or trained
    logits = chosen.logits(features.measure).numpy()
    seconds = time.perf_counter() - started
    results: list[tuple[RunRecord, Arrays]] = []
    for k, one in enumerate(specs):
        share = {"setup": (ready - started) / len(specs), "total": seconds / len(specs)}
        try:
            if not bool(torch.isfinite(trained.losses[:, k]).all()):
                step = int((~torch.isfinite(trained.losses[:, k])).nonzero()[0]) + 1
                raise Diverged(f"the training loss was not finite at step {step} of {len(trained.losses)}")
            record = finished(
                one,
                task,
                data.splits.measure,
                logits[k],
                device="cpu",
                curves={"step": list(range(1, len(trained.losses) + 1)), "loss": trained.losses[:, k].tolist()},
                measurements={**features.measurements, **picker.measurements(k)},
                timings=share,
            )
        except Diverged as error:
            results.append((lost(one, error, share["total"]), {}))
        else:
            results.append((record, {"logits": logits[k], "labels": data.splits.measure.labels}))
    return results


class _EpochPicker:
    """Keeps, for each head, the weights of the epoch that scores best on the half that picks it."""

    def __init__(self, features: Tensor | None, examples: Examples | None, kind: Kind, metric: str) -> None:
        self.features, self.examples, self.kind, self.metric = features, examples, kind, metric
        self.best: Heads | None = None
        self.scores: list[NDArray[np.float64]] = []

    def __call__(self, epoch: int, heads: Heads) -> None:
        if self.features is None or self.examples is None:
            return
        logits = heads.logits(self.features).numpy()
        scores = np.array([evaluate([self.metric], self.kind, one, self.examples)[self.metric] for one in logits])
        if self.best is None:
            self.best = heads
        else:
            better = torch.from_numpy(scores > np.max(self.scores, axis=0))
            self.best = Heads(
                torch.where(better[:, None, None], heads.weight, self.best.weight),
                torch.where(better[:, None], heads.bias, self.best.bias),
                heads.losses,
            )
        self.scores.append(scores)

    def measurements(self, k: int) -> dict[str, float]:
        """Return what to record about head k."""
        return {"selected_epoch": float(np.argmax([scores[k] for scores in self.scores]) + 1)} if self.scores else {}
