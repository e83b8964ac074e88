"""Examples that belong together: questions on one passage, tokens of one sentence, rows of one document.

They share what makes them hard, so that N of them say less than N that stand for themselves. Wherever examples are
drawn anew, whole groups are drawn, and the degrees of freedom are those of the groups.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from steadytune.analysis.scores import count_examples
from steadytune.records import Cohort


def example_groups(cohort: Cohort) -> NDArray[np.int64] | None:
    """Return the groups (N,) of the examples as 0 .. G - 1, in the order in which they first occur; None without any.

    Equal partitions come out equal, whatever numbers they were given, so that recipes share what is drawn.
    """
    if cohort.groups is None:
        return None
    _, firsts, places = np.unique(cohort.groups, return_index=True, return_inverse=True)
    ranks = np.empty(len(firsts), dtype=np.int64)
    ranks[np.argsort(firsts)] = np.arange(len(firsts))
    numbered: NDArray[np.int64] = ranks[places.reshape(-1)]
    return numbered


def count_groups(cohort: Cohort) -> int:
    """Return how many things are drawn where examples are: G groups, or the N examples where there are none."""
    return count_examples(cohort) if cohort.groups is None else len(np.unique(cohort.groups))


def one_group(cohort: Cohort) -> bool:
    """Tell whether all examples are said to belong together, which leaves the error of other examples unknown."""
    return cohort.groups is not None and count_groups(cohort) < 2


def size_words(cohort: Cohort, examples: int | None = None) -> str:
    """Write "480 examples", or "480 examples in 60 groups"."""
    size = count_examples(cohort) if examples is None else examples
    words = f"{size} example{'' if size == 1 else 's'}"
    if cohort.groups is None:
        return words
    groups = count_groups(cohort)
    return f"{words} in {groups} group{'' if groups == 1 else 's'}"
