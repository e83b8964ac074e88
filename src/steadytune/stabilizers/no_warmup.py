"""Baseline that provokes failures: no warm-up of the learning rate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from steadytune.stabilizers.base import Stabilizer


class NoWarmup(Stabilizer):
    """Start at the peak learning rate.

    It makes training worse on purpose: Adam's first steps are then its largest.

    Source: Mosbach, Andriushchenko & Klakow, arXiv 2006.04884, who count warm-up and bias correction among what keeps
    large models from failing (cited from memory).

    In a study it is the same as `training: {warmup: 0}`; as a stabilizer it can be added to another by `+`.

    Cost: nothing.
    """

    name: ClassVar[str] = "no_warmup"
    whole_embeddings: ClassVar[bool] = False
    wrong_mode: ClassVar[str] = "no_warmup is for mode 'full': in mode 'head' set warmup to 0"

    def arguments(self) -> Mapping[str, Any]:
        """Return a warm-up of 0 steps."""
        return {"warmup_steps": 0}
