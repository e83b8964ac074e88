"""Head tuning: linear heads on frozen features, all seeds' heads trained together as one batched problem."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from steadytune.files import Arrays
from steadytune.kinds import KINDS
from steadytune.linear.fit import fit_heads
from steadytune.linear.problems import Heads
from steadytune.records import RunRecord
from steadytune.stabilizers.mhloss import MHLoss
from steadytune.study import RunSpec
from steadytune.tasks.base import Examples
from steadytune.tasks.metrics import METRICS, evaluate
from steadytune.training.data import run_data
from steadytune.training.features import frozen_features
from steadytune.training.run_record import Diverged, finished, lost


def train_heads(
    specs: Sequence[RunSpec], cache: Path, progress: Callable[[float], None]
) -> list[tuple[RunRecord, Arrays]]:
    """Train the runs of one cohort together and measure each of them.

    Args:
        specs: Runs that differ only in their seeds, and not in the data seed.
        cache: Folder of the cached features.
        progress: Called with the share done, 0 to 1.
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

    trained = fit_heads(
        features.train,
        labels.float() if KINDS[task.kind].has_numbers else labels,
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
        each_epoch=picker,
        progress=lambda share: progress(0.5 + 0.5 * share),
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
                {"logits": logits[k]},
                device="cpu",
                curves={"step": list(range(1, len(trained.losses) + 1)), "loss": trained.losses[:, k].tolist()},
                measurements={**features.measurements, **picker.measurements(k)},
                timings=share,
                told=data.notes(one.training.max_length),
            )
        except Diverged as error:
            results.append((lost(one, error, share["total"]), {}))
        else:
            measured = KINDS[task.kind].measured(data.splits.measure)
            results.append((record, {"logits": logits[k], **measured}))
    return results


class _EpochPicker:
    """Keep, for each head, the weights of the epoch that scores best on the half that selects it."""

    def __init__(self, features: Tensor | None, examples: Examples | None, kind: str, metric: str) -> None:
        self.features, self.examples, self.kind, self.metric = features, examples, kind, metric
        self.best: Heads | None = None
        self.scores: list[NDArray[np.float64]] = []

    def __call__(self, epoch: int, heads: Heads) -> None:
        if self.features is None or self.examples is None:
            return
        logits = heads.logits(self.features).numpy()
        scores = np.array(
            [evaluate([self.metric], self.kind, {"logits": one}, self.examples)[self.metric] for one in logits]
        )
        if not METRICS[self.metric].higher_is_better:
            scores = -scores
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
        """Return the measurements of head k."""
        return {"selected_epoch": float(np.argmax([scores[k] for scores in self.scores]) + 1)} if self.scores else {}
