"""Do the measures agree with one another: over recipes, over resamples of runs, and more if runs are less stable?

Source: Du & Nguyen, "Measuring the Instability of Fine-Tuning", ACL 2023, section on consistency. Where its public
analysis departs from standard practice, "published" reproduces it and "corrected" follows standard practice:

- A resample that contains a run twice has a pair at distance 0 for every measure. "published" keeps such self-pairs,
  which by themselves correlate unrelated measures; "corrected" leaves them out.
- "published" divides the variance of the score by K, "corrected" by K - 1; for the two definitions of kappa
  see `fleiss_kappa`.
- Overall consistency: see `overall_consistency`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from steadytune.analysis.bootstrap import own_sums, run_counts
from steadytune.analysis.distributions import pearson_p
from steadytune.analysis.profile import Profile
from steadytune.analysis.scores import count_examples
from steadytune.analysis.tables import outputs_of
from steadytune.analysis.validity.correlation import Association, kendall, pearson, pearson_matrix
from steadytune.measures import MEASURES, Draw, SpreadMeasure, judged

RESAMPLES = 1000

Definition = Literal["corrected", "published"]
Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Agreement:
    """How the measures of one cohort correlate over resamples of its runs.

    Attributes:
        recipe: Name of the cohort's recipe.
        measures: The M measures that were resampled, in the order of `measures.declared`.
        corrected: (M, M) Pearson's correlations without self-pairs; NaN if a measure does not vary.
        published: The same with self-pairs.
    """

    recipe: str
    measures: tuple[str, ...]
    corrected: Array
    published: Array

    def between(self, measure: str, other: str, definition: Definition = "corrected") -> float:
        """Return one correlation; NaN for a measure that was not resampled."""
        if not {measure, other} <= set(self.measures):
            return math.nan
        matrix = self.corrected if definition == "corrected" else self.published
        return float(matrix[self.measures.index(measure), self.measures.index(other)])

    @property
    def mean(self) -> float:
        """Mean corrected correlation over pairs of measures; NaN if fewer than two vary.

        Measures that are not `averaged` are left out: kappa, which repeats disagreement, and SVCCA, which Du & Nguyen
        (2023) also leave out.
        """
        kept = [i for i, measure in enumerate(self.measures) if MEASURES[measure].averaged]
        pairs = self.corrected[np.ix_(kept, kept)][np.triu_indices(len(kept), 1)]
        known = pairs[np.isfinite(pairs)]
        return float(known.mean()) if known.size else math.nan


@dataclass(frozen=True)
class Overall:
    """Whether the measures agree more if the score is less stable.

    Attributes:
        cohorts: Number of cohorts.
        r: Pearson's correlation between their SD and their mean consistency; NaN for fewer than three.
        p: Two-sided p-value; invalid to the extent that the points are dependent, above all for "published".
    """

    cohorts: int
    r: float
    p: float


def rank_recipes(profiles: Sequence[Profile]) -> tuple[Association, ...]:
    """Compare the rankings of recipes by every two measures, with Kendall's tau-b.

    Args:
        profiles: Profiles of one model and task; representation measures are ranked at their last layer.

    Returns:
        One entry per pair of measures that are known for every recipe and not equal for all; see `kendall` for ties and
        p-values, which are not corrected for the number of pairs.
    """
    names = [measure.name for measure in judged()]
    ranks = {name: [profile.last(name).value for profile in profiles] for name in names}
    pairs = [(names[j], names[i]) for i in range(len(names)) for j in range(i)]
    found = [Association(first, second, *kendall(ranks[first], ranks[second])) for first, second in pairs]
    return tuple(pair for pair in found if not math.isnan(pair.value))


def bootstrap_agreement(profile: Profile, resamples: int = RESAMPLES, seed: int = 0) -> Agreement:
    """Correlate the measures of a cohort over resamples of its runs.

    Args:
        profile: A measured cohort; representation measures are taken at their last layer.
        resamples: Number of resamples; those that contain only one run are drawn again.
        seed: Seed of the draws.

    Returns:
        The correlations; without measures for fewer than two runs.
    """
    cohort = profile.cohort
    if len(cohort) < 2:
        return Agreement(cohort.recipe, (), np.eye(0), np.eye(0))
    counts = run_counts(cohort.seeds, resamples, seed)
    corrected, published = (resampled_measures(profile, counts, which) for which in ("corrected", "published"))
    return Agreement(
        recipe=cohort.recipe,
        measures=tuple(corrected),
        corrected=pearson_matrix(np.array(list(corrected.values()))),
        published=pearson_matrix(np.array(list(published.values()))),
    )


def resampled_measures(profile: Profile, counts: Array, definition: str = "corrected") -> dict[str, Array]:
    """Return every measure of a cohort on resampled runs, with its original examples.

    A resample in which run i counts c_i times has the mean distance c^T D c / (K(K - 1)) over all its pairs, and
    sum_{i<j} c_i c_j D_ij / sum_{i<j} c_i c_j without self-pairs. The variance of the score is the
    same with D_ij = (s_i - s_j)^2 / 2.

    Args:
        profile: A cohort of K >= 2 runs.
        counts: (R, K) how often each run counts; rows sum to K.
        definition: "corrected" leaves out self-pairs, "published" keeps them.

    Returns:
        Measure -> (R,) for the judged measures that the cohort has, in the order of `measures.declared`.
    """
    cohort, draw = profile.cohort, Draw(counts, published=definition == "published")
    pairs = np.triu_indices(draw.runs, 1)
    means = {
        name: (matrices[-1] if matrices.ndim == 3 else matrices)[pairs][None]
        for name, matrices in profile.distances.items()
    }
    values = {name: draw.pair_mean(mean) for name, mean in means.items()}
    outputs = outputs_of(cohort)
    plain = np.ones((1, count_examples(cohort)))
    values |= {measure.name: measure.combine(means, sums(plain), draw) for measure, sums in own_sums(outputs, means)}
    values |= {one.name: one.drawn(cohort.scores[None], draw) for one in judged() if isinstance(one, SpreadMeasure)}
    return {measure.name: values[measure.name] for measure in judged() if measure.name in values}


def overall_consistency(spreads: Array, correlations: Array, definition: Definition = "corrected") -> Overall:
    """Correlate stability with consistency over cohorts: do measures agree more if the score varies more?

    "corrected": one point per setting, its SD against the mean correlation over its pairs of measures. Leave
    kappa out of `correlations`: by the published definition it repeats disagreement and always agrees with it.

    "published": one point per setting AND measure. For each measure, its mean correlation with all measures, including
    itself with 1, is standardised over the cohorts; these columns are concatenated and correlated with the SD, repeated
    for each. So S cohorts give S M points that are far from independent, and p is far too small. Taken from the public
    notebook of Du & Nguyen (2023), in which the SD is that of the first ten runs of every setting.

    Args:
        spreads: (S,) SD of the score.
        correlations: (S, M, M) bootstrap correlations of the measures, 1 on the diagonal.
        definition: "corrected" or "published".

    Returns:
        Number of cohorts, r and p; unknown for fewer than three cohorts or without spread.
    """
    cohorts, size = correlations.shape[:2]
    x, y = np.asarray(spreads, dtype=np.float64), correlations.mean(axis=2)
    if definition == "published":
        x, y = np.repeat(x, size), ((y - y.mean(axis=0)) / y.std(axis=0)).ravel()
    else:
        # The mean over all entries is a linear function of the mean off the diagonal: the correlation is the same.
        y = y.mean(axis=1)
    return _overall(cohorts, x, y)


def overall_agreement(profiles: Sequence[Profile], agreements: Sequence[Agreement]) -> Overall:
    """Apply `overall_consistency` to measured cohorts; cohorts without varying measures are left out."""
    points = [(profile.last("sd").value, found.mean) for profile, found in zip(profiles, agreements, strict=True)]
    known = np.array([point for point in points if np.isfinite(point).all()]).reshape(-1, 2)
    return _overall(len(known), *known.T)


def _overall(cohorts: int, spreads: Array, consistency: Array) -> Overall:
    r = pearson(spreads, consistency) if cohorts >= 3 else math.nan
    return Overall(cohorts, r, math.nan if math.isnan(r) else pearson_p(r, len(spreads)))
