"""The record of one training."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Field

from steadytune.metrics import recorded
from steadytune.records.sealed import Sealed
from steadytune.study import RunSpec

Status = Literal["done", "diverged", "crashed", "stopped"]


class RunRecord(Sealed):
    """One training: its specification and results. The arrays are stored beside it, see `RunStore`.

    Attributes:
        spec: Everything that determines the run.
        status: "done"; "diverged" if the loss became NaN or infinite; "crashed" if it raised; "stopped" if it was given
            up for an external reason.
        reason: Why it did not finish, in one line.
        metric: Metric of `score`.
        score: Task metric on the measured examples, see `metrics.recorded`; None unless done.
        scores: All metrics of the task.
        majority_score: Score of the best constant answer.
        curves: Values over training, each a list; "step" (or "epoch") is their axis.
        measurements: Single numbers about the training, such as the distance travelled from the pre-trained weights.
        timings: Seconds, by phase, and their "total".
        arrays: Stored arrays, name -> shape.
        checksums: File name -> SHA-256.
        versions: Libraries, device and number of threads used.
        notes: What a reader should know, such as a half-precision checkpoint loaded in float32.
    """

    spec: RunSpec
    status: Status
    reason: str | None = None
    metric: str = ""
    score: float | None = None
    scores: dict[str, float | None] = Field(default_factory=dict)
    majority_score: float | None = None
    curves: dict[str, list[float | None]] = Field(default_factory=dict)
    measurements: dict[str, float | None] = Field(default_factory=dict)
    timings: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    arrays: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    checksums: dict[str, str] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The id of the spec."""
        return self.spec.id

    def row(self) -> dict[str, Any]:
        """Return a row of runs.csv: column -> value, None if unknown."""
        spec = self.spec
        return {
            "run": spec.id,
            "model": spec.model,
            "task": spec.task.name,
            "recipe": spec.recipe,
            "seed": spec.seeds.label,
            "init_seed": spec.seeds.init,
            "order_seed": spec.seeds.order,
            "dropout_seed": spec.seeds.dropout,
            "data_seed": spec.seeds.data,
            "decoding_seed": spec.seeds.decoding,
            "replicate": spec.seeds.replicate,
            "status": self.status,
            "failed": self.failed,
            "metric": self.metric,
            "score": self.score,
            "majority_score": self.majority_score,
            "seconds": self.seconds,
            "reason": self.reason,
            **{f"scores.{name}": value for name, value in self.scores.items() if name != self.metric},
            **{f"measurements.{name}": value for name, value in self.measurements.items()},
            **{f"timings.{name}": value for name, value in self.timings.items() if name != "total"},
        }

    @property
    def failed(self) -> bool | None:
        """Whether the run did not finish, or scores no better than a constant answer; None if that is not recorded.

        Older versions did not record it for texts: a cohort computes it of the answers.
        """
        if self.score is None or self.majority_score is None:
            return True if self.score is None else None
        return bool(recorded(self.metric).no_better(self.score, self.majority_score))

    @property
    def at_chance(self) -> bool:
        """Whether the run finished and scores no better than a constant answer."""
        return self.status == "done" and self.failed is True

    @property
    def task_loss(self) -> list[float | None]:
        """The plain task loss at each logged step; empty if it was not recorded and is not the loss itself."""
        methods = self.spec.stabilizers
        other = any(method.has(hook) for method in methods for hook in ("task_loss", "penalty", "train_step"))
        return self.curves.get("task_loss", [] if other else self.curves.get("loss", []))

    @property
    def loss_ends(self) -> tuple[float, float]:
        """Mean plain task loss over the first and the last tenth of the logged values; NaN if unknown."""
        known = [loss for loss in self.task_loss if loss is not None]
        if not known:
            return math.nan, math.nan
        tenth = max(1, math.ceil(len(known) / 10))
        return math.fsum(known[:tenth]) / tenth, math.fsum(known[-tenth:]) / tenth

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of the whole run."""
        return self.timings.get("total", 0.0)

    @classmethod
    def _renamed(cls, content: dict[str, Any]) -> dict[str, Any]:
        return {**content, "status": "crashed"} if content.get("status") == "failed" else content
