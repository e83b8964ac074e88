"""The positive class of F1, ROC AUC and average precision."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadytune.errors import unknown_name

_NEGATIVE = {
    "no",
    "none",
    "neg",
    "negative",
    "false",
    "0",
    "o",
    "off",
    "normal",
    "other",
    "ham",
    "absent",
    "n",
    "f",
    "0.0",
}
_POSITIVE = {"yes", "true", "pos", "positive", "1", "on", "spam", "present", "y", "t", "1.0"}
_DENIED = re.compile(r"(not|non|no|un)[ _-]")
_NUMBERED = re.compile(r"(label|class)?[ _-]?\d+(\.0)?", re.IGNORECASE)


def find_positive(asked: str | int, names: Sequence[str] | None, classes: int) -> int:
    """Return the class that was asked for by name or number.

    Raises:
        UserError: There is none.
    """
    text = str(asked)
    if names and text in names:
        return list(names).index(text)
    if text.isdecimal() and int(text) < classes:
        return int(text)
    raise unknown_name("positive class", text, names or map(str, range(classes)))


def default_positive(names: Sequence[str] | None, labels: NDArray[Any] | None) -> tuple[int, str]:
    """Return the default positive class of two, and why it was chosen.

    Classes without names, or with numbers as names: the second, 1. Otherwise a class with a negating name (no, none,
    negative, false, not_...) is the negative one, one with an affirmative name (yes, true, positive) the positive one,
    and if no name decides, the class that is rarer in the labels is the positive one.
    """
    if names is None or len(names) != 2 or all(_NUMBERED.fullmatch(name.strip()) for name in names):
        return 1, "the second class"
    plain = [name.strip().lower() for name in names]
    denied = [name in _NEGATIVE or _DENIED.match(name) is not None for name in plain]
    if sum(denied) == 1:
        return denied.index(False), f"'{names[denied.index(True)]}' denies"
    affirmed = [name in _POSITIVE for name in plain]
    if sum(affirmed) == 1:
        return affirmed.index(True), "its name is affirmative"
    if labels is not None and len(labels):
        counts = np.bincount(np.asarray(labels, dtype=np.int64), minlength=2)[:2]
        if counts[0] != counts[1]:
            return int(counts.argmin()), "the rarer class"
    return 1, "the second class"
