"""What the arrays of a run must be: one check for cohorts made from arrays and for files of runs trained elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from steadytune.errors import UserError
from steadytune.measures.inputs import to_array

Kind = Literal["classification", "regression", "choice", "generation"]

# Probabilities stored as bfloat16 are off by up to 2^-8 = .0039 in their sum.
_SUM_TOLERANCE = 0.005


def read_array(values: Any, name: str) -> NDArray[Any]:
    """Turn anything array-like into a NumPy array of real numbers, without a copy where none is needed.

    Raises:
        UserError: It is ragged or holds no real numbers; `name` says what it is.
    """
    try:
        return to_array(values, name)
    except ValueError as error:
        raise UserError(str(error)) from None


def check_run(
    origin: str,
    kind: Kind,
    *,
    logits: NDArray[Any] | None = None,
    probabilities: NDArray[Any] | None = None,
    labels: NDArray[Any] | None = None,
    representations: NDArray[Any] | None = None,
    generations: Sequence[str] | None = None,
    references: Sequence[str] | None = None,
) -> None:
    """Refuse arrays of one run that do not fit together; those that are None are not there.

    Args:
        origin: The run or file, as an error names it.
        kind: Task kind.
        logits: (N, C), for a regression (N, 1).
        probabilities: (N, C).
        labels: (N,), class numbers or for a regression targets.
        representations: (L, N, D) or (N, D); for "choice" a multiple of N rows.
        generations: N texts.
        references: N texts.

    Raises:
        UserError: Naming the origin, the array and the axis.
    """
    try:
        for name, outputs in (("logits", logits), ("probabilities", probabilities)):
            if outputs is not None:
                _check_outputs(name, outputs, kind)
                _check_labels(name, outputs, labels, kind)
                _check_rows(name, outputs, representations, kind)
        if probabilities is not None:
            _check_probabilities(probabilities)
        if representations is not None and (representations.ndim not in (2, 3) or not representations.size):
            raise ValueError(f"representations must be (layers, examples, width), not {representations.shape}")
        if generations is not None:
            _check_texts(generations, references)
    except ValueError as error:
        raise UserError(f"{origin}: {error}") from None


def check_finite(origin: str, representations: NDArray[Any]) -> None:
    """Refuse representations (L, rows, D) that are not finite, one layer at a time so that a mapped file stays on disk.

    Raises:
        UserError: Naming the origin and the layer, counted from 1.
    """
    for layer, states in enumerate(representations, start=1):
        if not np.isfinite(states).all():
            raise UserError(
                f"{origin}: representations hold NaN or infinity at layer {layer}. Half precision ends at 65504: "
                "store them in single precision, or leave out a run that diverged"
            )


def _check_outputs(name: str, outputs: NDArray[Any], kind: Kind) -> None:
    if kind == "regression":
        if name == "probabilities":
            raise ValueError("a regression has no probabilities: give its predictions as logits (examples, 1)")
        if outputs.ndim != 2 or not len(outputs) or outputs.shape[1] != 1:
            raise ValueError(f"logits of a regression must be (examples, 1), not {outputs.shape}")
    elif outputs.ndim != 2 or not len(outputs) or outputs.shape[1] < 2:
        raise ValueError(f"{name} must be (examples, two or more classes), not {outputs.shape}")
    if not np.isfinite(outputs).all():
        row = np.argwhere(~np.isfinite(outputs))[0][0]
        raise ValueError(f"{name} hold NaN or infinity, first in row {row}: a diverged run cannot be measured")


def _check_labels(name: str, outputs: NDArray[Any], labels: NDArray[Any] | None, kind: Kind) -> None:
    if labels is None:
        return
    rows, classes = outputs.shape
    if labels.shape != (rows,):
        raise ValueError(f"labels must be ({rows},), one for each row of {name}, not {labels.shape}")
    if not np.isfinite(labels).all():
        raise ValueError(f"labels hold NaN or infinity, first in row {np.flatnonzero(~np.isfinite(labels))[0]}")
    wrong = np.flatnonzero((labels != np.floor(labels)) | (labels < 0) | (labels >= classes))
    if kind != "regression" and len(wrong):
        raise ValueError(
            f"labels must be 0 to {classes - 1}, the columns of {name}, but row {wrong[0]} holds {labels[wrong[0]]:g}"
        )


def _check_rows(name: str, outputs: NDArray[Any], representations: NDArray[Any] | None, kind: Kind) -> None:
    if representations is None or representations.ndim not in (2, 3):
        return
    rows, examples = representations.shape[-2], len(outputs)
    if rows != examples * (outputs.shape[1] if kind == "choice" else 1):
        raise ValueError(
            f"representations must be (layers, {examples}, width), with a row for each row of {name}, "
            f"not {representations.shape}"
        )


def _check_probabilities(probabilities: NDArray[Any]) -> None:
    if (negative := np.argwhere(probabilities < 0)).size:
        row, column = negative[0]
        raise ValueError(
            f"probabilities must be at least 0, but row {row}, class {column} holds {probabilities[row, column]:g}: "
            "are they logits?"
        )
    sums = probabilities.sum(axis=1, dtype=np.float64)
    if (wrong := np.flatnonzero(np.abs(sums - 1) > _SUM_TOLERANCE)).size:
        raise ValueError(
            f"probabilities must sum to 1 over the classes (axis 1), but row {wrong[0]} sums to {sums[wrong[0]]:.4g}: "
            "are they logits?"
        )


def _check_texts(generations: Sequence[str], references: Sequence[str] | None) -> None:
    if not len(generations):
        raise ValueError("generations must be one text per example, and there are none")
    for name, texts in (("generations", generations), ("references", references or ())):
        wrong = [row for row, text in enumerate(texts) if not isinstance(text, str)]
        if wrong:
            raise ValueError(f"{name} must be texts, but row {wrong[0]} holds {texts[wrong[0]]!r}")
    if references is not None and len(references) != len(generations):
        raise ValueError(f"{len(generations)} generations but {len(references)} references: one per example is needed")
