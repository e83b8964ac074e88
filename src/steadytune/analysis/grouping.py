"""Examples that belong together: questions on one passage, tokens of one sentence, rows of one document.

They are hard for the same reasons, so N of them carry less information than N independent ones. Wherever examples are
resampled, whole groups are drawn, and the degrees of freedom are those of the groups.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from steadytune.analysis.scores import count_examples
from steadytune.kinds import KINDS
from steadytune.records import Cohort


def example_groups(cohort: Cohort) -> NDArray[np.int64] | None:
    """Return the groups (N,) of the examples as 0 .. G - 1, in order of first occurrence; None without groups.

    Equal partitions come out equal, however they were numbered, so that recipes share resamples.
    """
    if cohort.groups is None:
        return None
    _, firsts, places = np.unique(cohort.groups, return_index=True, return_inverse=True)
    ranks = np.empty(len(firsts), dtype=np.int64)
    ranks[np.argsort(firsts)] = np.arange(len(firsts))
    numbered: NDArray[np.int64] = ranks[places.reshape(-1)]
    return numbered


def count_groups(cohort: Cohort) -> int:
    """Return the number of resampling units: G groups, or N examples if there are no groups."""
    return count_examples(cohort) if cohort.groups is None else len(np.unique(cohort.groups))


def one_group(cohort: Cohort) -> bool:
    """Return whether all examples form one group, which leaves the error over other examples unknown."""
    return cohort.groups is not None and count_groups(cohort) < 2


def size_words(cohort: Cohort, examples: int | None = None) -> str:
    """Return "480 examples", or "480 examples in 60 groups"."""
    size = count_examples(cohort) if examples is None else examples
    words = f"{size} {KINDS[cohort.kind].item}{'' if size == 1 else 's'}"
    if cohort.groups is None:
        return words
    groups = count_groups(cohort)
    return f"{words} in {groups} group{'' if groups == 1 else 's'}"
