"""What one training left behind, and its spelling on disk."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from steadytune.config import Config
from steadytune.files import CorruptFile, canonical_json, sha256
from steadytune.study import RunSpec

Status = Literal["done", "failed", "diverged"]
FORMAT = 1


class RunRecord(Config):
    """One training: what determined it and what came of it. The arrays lie beside it, see `RunStore`.

    Attributes:
        spec: Everything that determines the run.
        status: "done"; "diverged" if the loss became NaN or infinite; "failed" if it raised.
        reason: Why it is not done, in one line.
        metric: What `score` means.
        score: Task metric on the measured examples, a fraction; None unless done.
        scores: All metrics of the task.
        majority_score: What always answering the most frequent label scores.
        curves: Values over training, each a list; "step" (or "epoch") holds their place.
        measurements: Single numbers about the training, such as the distance travelled from the pre-trained weights.
        timings: Seconds, by phase, and their "total".
        arrays: What is stored, name -> shape.
        checksums: File name -> SHA-256.
        versions: Libraries, device and threads that computed it.
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
    def failed(self) -> bool:
        """Whether the run did not finish, or scores no better than always answering the most frequent label."""
        if self.score is None or self.majority_score is None:
            return True
        return self.score <= self.majority_score

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of the whole run."""
        return self.timings.get("total", 0.0)

    def to_json(self) -> str:
        """Return the text of run.json, which carries a checksum of itself."""
        content = {"format": FORMAT, "id": self.spec.id, **self.model_dump(mode="json")}
        return json.dumps({**content, "sha256": sha256(canonical_json(content))}, indent=1, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> RunRecord:
        """Read run.json.

        Raises:
            CorruptFile: It is not what was written.
        """
        try:
            content: dict[str, Any] = json.loads(text)
            checksum = content.pop("sha256")
            intact = checksum == sha256(canonical_json(content))
            run_id = content.pop("id")
            version = content.pop("format")
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise CorruptFile("run.json cannot be read") from error
        if not intact:
            raise CorruptFile("run.json does not match its checksum")
        if version != FORMAT:
            raise CorruptFile(f"run.json has format {version}, this version reads {FORMAT}")
        try:
            record = cls.model_validate(content)
        except ValidationError:
            record = None
        if record is None or record.spec.id != run_id:
            raise CorruptFile("run.json was written by a version of steadytune that this one does not understand")
        return record
