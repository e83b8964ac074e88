"""Metrics of generated texts against references. Of several valid references the closest counts.

Exact match is one metric for texts and questions: each is right as a whole or not at all.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from steadytune.kinds import KINDS
from steadytune.metrics.base import (
    CLASSES,
    PREDICTED,
    Answers,
    Scores,
    mean_of,
    share,
)
from steadytune.metrics.questions import all_right

OTHER_TEXTS = "(a text that was counted as right)"
"""Stands among the accepted texts of an example for those that only the harness which judged it knows."""

_TRIED = 10


def _equal_texts(answers: Answers) -> Scores:
    """Share of the texts that equal a reference, ignoring white space at both ends."""
    allowed = [{one.strip() for one in alternatives} for alternatives in references_of(answers)]
    texts: Any = answers.texts
    return mean_of([[text.strip() in right for text, right in zip(run, allowed, strict=True)] for run in texts])


def chrf(answers: Answers) -> Scores:
    """Mean sentence chrF, a fraction."""
    texts: Any = answers.texts
    return mean_of([_closest(run, references_of(answers)) for run in texts])


def references_of(answers: Answers) -> list[tuple[str, ...]]:
    """Return the texts that are accepted for each example."""
    # No text is close to the one that stands for others.
    return [tuple(text for text in one if text != OTHER_TEXTS) or one for one in _given(answers)]


def _given(answers: Answers) -> list[tuple[str, ...]]:
    references: Any = answers.references
    return [(one,) if isinstance(one, str) else tuple(one) for one in references]


def _closest(texts: Any, references: list[tuple[str, ...]]) -> Any:
    # The measures need SciPy, which reading a study does not.
    from steadytune.measures.text import chrf as sentence_chrf

    most = max(map(len, references))
    # A row with fewer references repeats its last one.
    columns = [[one[min(place, len(one) - 1)] for one in references] for place in range(most)]
    return np.max([sentence_chrf(texts, column) for column in columns], axis=0)


def exact_match(answers: Answers) -> Scores:
    """Share of the texts that equal a reference; for classes, share of the questions answered entirely correctly."""
    return _equal_texts(answers) if KINDS[answers.kind].has_texts else all_right(answers)


def constant_texts(answers: Answers) -> list[str]:
    """Return the texts among which the best constant answer is looked for: the ten most frequent references.

    A reference counts in as many examples as accept it, and of equally frequent ones the first come first. By exact
    match the most frequent is the best. By a metric that counts what texts share, another text may score higher: what
    the ten reach is then a lower limit, at the cost of scoring ten runs. There are none where a harness judged texts by
    something else than the references.
    """
    if any(OTHER_TEXTS in one for one in _given(answers)):
        return []
    counts = Counter(text for one in references_of(answers) for text in dict.fromkeys(map(str.strip, one)))
    return [text for text, _ in counts.most_common(_TRIED)]


TEXTS = ("texts", "references")
EXACT_MATCH = share(
    "exact_match",
    exact_match,
    (*CLASSES, "generation"),
    needs={"classes": (*PREDICTED, "questions"), "texts": TEXTS},
)
CHRF = share("chrf", chrf, ("generation",), *TEXTS, title="chrF")
