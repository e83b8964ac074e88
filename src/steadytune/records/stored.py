"""The arrays that runs of a study left, as fields of their cohort."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from steadytune.files import Arrays, unpacked_texts
from steadytune.records.arrays import check_same_words
from steadytune.study import RunSpec

_OF_RUNS = ("representations", "token_log_probabilities", "token_choices", "target_log_probabilities")
_SHARED = ("labels", "groups", "questions", "credit", "token_counts", "token_weights")


def cohort_fields(arrays: Sequence[Arrays]) -> dict[str, Any]:
    """Return the fields of a cohort that the arrays of its finished runs, one or more, determine.

    Raises:
        UserError: The runs know next-token distributions at different candidate words.
    """
    first = arrays[0]
    words = [(int(run["token_exact"]), run["token_weights"]) for run in arrays if "token_exact" in run]
    if words:
        check_same_words([f"run {number} of the cohort" for number in range(1, len(words) + 1)], words)
    fields: dict[str, Any] = {name: [run[name] for run in arrays if name in run] or None for name in _OF_RUNS}
    fields |= {name: next((run[name] for run in arrays if name in run), None) for name in _SHARED}
    if "logits" in first:
        fields["logits"] = np.stack([run["logits"] for run in arrays])
    if "generations" in first:
        fields["generations"] = [unpacked_texts(run["generations"]) for run in arrays]
    if "token_exact" in first:
        fields["token_exact"] = int(first["token_exact"])
    return {name: value for name, value in fields.items() if value is not None}


def rows_of(arrays: Arrays) -> int:
    """Return the number of examples that a run answers."""
    return len(arrays["labels"] if "labels" in arrays else arrays["token_counts"])


def one_encoder(specs: Sequence[RunSpec]) -> bool:
    """Return whether runs share one frozen encoder; a retrained one depends on the training subset."""
    retrained = any(stabilizer.has("before_training") for stabilizer in specs[0].stabilizers)
    subsets = {spec.seeds.data for spec in specs}
    return specs[0].training.mode == "head" and not (retrained and len(subsets) > 1)
