"""Instability of the predictions: how often, and how strongly, two runs disagree about the same example.

Every function takes the runs of one cohort on the same N examples. Higher values mean less stable, except for
`fleiss_kappa`, which is an agreement: report 1 - kappa.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .base import CombinedMeasure, Draw, PairMeasure, Seen
from .inputs import Definition, Float64Array, check_definition, check_shape, to_array, to_float64
from .pairs import square
from .sets import pair_label_divergences, pair_set_disagreements
from .text import pair_text_disagreements
from .tokens import TokenTable, entropy, estimation

# Probabilities stored as bfloat16 are off by up to 2^-8 = .0039 in their sum.
_SUM_TOLERANCE = 0.005


def disagreement(predictions: Any) -> Float64Array:
    """Return the share of examples on which two runs predict different classes.

    Formula: D_ij = (1/N) sum_n 1[y_in != y_jn].

    Range: [0, 1]. 0: the same class on every example. 1: never the same class. Two runs that guess one of C classes
    blindly disagree on 1 - 1/C; two runs of accuracy a that err independently on two classes, on 2a(1 - a).

    Do not compare it between tasks whose class balance differs, nor between models of different accuracy: chance
    agreement is not taken out. `fleiss_kappa` does that.

    Source: Du & Nguyen, "Measuring the Instability of Fine-Tuning", ACL 2023 (pairwise disagreement).

    Args:
        predictions: The predicted class of every run and example, integers of shape (K, N).

    Returns:
        Distances of shape (K, K), symmetric, with a zero diagonal; a single run gives one 0.

    Raises:
        ValueError: If the shape is wrong or the predictions are not integers.

    Example:
        >>> disagreement([[0, 1, 1, 0], [0, 1, 0, 0]])
        array([[0.  , 0.25],
               [0.25, 0.  ]])
    """
    return square(pair_disagreements(predictions).mean(axis=1))


def pair_disagreements(predictions: Any) -> NDArray[np.bool_]:
    """Return for every pair of runs and every example whether they predict different classes.

    Its mean over examples is `disagreement`; a bootstrap over examples needs the individual values.

    Args:
        predictions: The predicted class of every run and example, integers of shape (K, N).

    Returns:
        Shape (P, N) over the P = K(K - 1)/2 pairs i < j, in the order of `numpy.triu_indices(K, 1)`.

    Raises:
        ValueError: As `disagreement` does.

    Example:
        >>> pair_disagreements([[0, 1, 1, 0], [0, 1, 0, 0]])
        array([[False, False,  True, False]])
    """
    classes = _read_predictions(predictions)
    return np.concatenate([classes[i + 1 :] != run for i, run in enumerate(classes)])


def fleiss_kappa(predictions: Any, num_classes: int | None = None, definition: Definition = "corrected") -> float:
    """Return Fleiss' kappa: how far K runs agree beyond chance. Instability is 1 - kappa.

    Formula, with n_nc the number of runs that predict class c for example n:
        P = mean_n (sum_c n_nc^2 - K) / (K(K - 1)), the share of agreeing pairs, which is 1 - mean pair disagreement;
        P_e = sum_c p_c^2 with p_c = sum_n n_nc / (N K), the agreement by chance;
        kappa = (P - P_e) / (1 - P_e).
    "published" is the value printed by Du & Nguyen (2023), whose counts were summed over the wrong axis: P_e = 1/N, so
    that 1 - kappa is merely the mean disagreement times N/(N - 1).

    Range: kappa is 1 for full agreement, 0 for agreement at the level of chance, and at least -1/(K - 1); so 1 - kappa
    lies within [0, K/(K - 1)]. If all runs predict the same class for all examples, kappa is 0/0 and defined as 1:
    there is no disagreement, and 1 - kappa is 0.

    Do not trust it if nearly all predictions are of one class: 1 - P_e is then close to 0, and a handful of
    disagreements changes kappa a lot.

    Source: Fleiss, "Measuring nominal scale agreement among many raters", Psychological Bulletin 76, 1971; used for
    runs by Du & Nguyen, "Measuring the Instability of Fine-Tuning", ACL 2023.

    Args:
        predictions: The predicted class of every run and example, integers of shape (K, N).
        num_classes: The number of classes; if given, predictions must lie in 0 .. num_classes - 1. Classes that no run
            predicts do not change kappa.
        definition: "corrected" is the textbook kappa, "published" has P_e = 1/N.

    Returns:
        Kappa, not 1 - kappa. NaN for a single run, and for "published" on a single example, where 1 - P_e is 0.

    Raises:
        ValueError: If the shape is wrong, the predictions are not integers or out of range, or the definition is
            unknown.

    Example:
        >>> round(fleiss_kappa([[0, 1, 1, 0], [0, 1, 0, 0]]), 4)
        0.4667
    """
    check_definition(definition)
    classes = _read_predictions(predictions)
    if num_classes is not None and not 0 <= classes.min() <= classes.max() < num_classes:
        raise ValueError(f"predictions must be 0 to {num_classes - 1}, found {classes.min()} to {classes.max()}")
    runs, examples = classes.shape
    labels, codes = np.unique(classes, return_inverse=True)
    cells = codes.reshape(classes.shape) + len(labels) * np.arange(examples)
    counts = np.bincount(cells.ravel(), minlength=len(labels) * examples).reshape(examples, len(labels))
    if runs < 2 or (definition == "published" and examples < 2):
        return float("nan")
    if len(labels) == 1:
        return 1.0
    agreement = float((np.square(counts).sum() / examples - runs) / (runs * (runs - 1)))
    by_class = counts.sum(axis=0) / (examples * runs)
    chance = float(np.square(by_class).sum()) if definition == "corrected" else 1 / examples
    return (agreement - chance) / (1 - chance)


def jensen_shannon(probabilities: Any) -> Float64Array:
    """Return the mean Jensen-Shannon divergence between the predicted distributions of two runs, in nats.

    Formula: D_ij = (1/N) sum_n [ H(m_n) - (H(p_in) + H(p_jn)) / 2 ], with m_n = (p_in + p_jn) / 2 and
    H(p) = -sum_c p_c ln p_c, where 0 ln 0 = 0. It is the divergence, not its square root (the distance).

    Range: [0, ln 2 = .693]. 0: the same distribution on every example. ln 2: no class has mass in both runs.

    Do not read it as disagreement: it also counts a change of confidence that changes no predicted class, so runs
    that differ only in calibration look unstable, and over-confident runs dominate the mean.

    Source: Lin, "Divergence measures based on the Shannon entropy", IEEE Transactions on Information Theory 37, 1991;
    used for runs by Du & Nguyen, "Measuring the Instability of Fine-Tuning", ACL 2023.

    Args:
        probabilities: The predicted distribution of every run and example, shape (K, N, C), after the softmax.
            Half-precision rounding of the sums is corrected in float64.

    Returns:
        Divergences of shape (K, K), symmetric, with a zero diagonal; a single run gives one 0.

    Raises:
        ValueError: If the shape is wrong, a value is negative, NaN or infinite, or a row does not sum to 1; names
            the first such run.

    Example:
        >>> jensen_shannon([[[1.0, 0.0]], [[0.0, 1.0]]]).round(4)
        array([[0.    , 0.6931],
               [0.6931, 0.    ]])
    """
    return square(pair_divergences(probabilities).mean(axis=1))


def pair_divergences(probabilities: Any) -> Float64Array:
    """Return the Jensen-Shannon divergence of every pair of runs on every example, in nats.

    Its mean over examples is `jensen_shannon`; a bootstrap over examples needs the individual values.

    Args:
        probabilities: The predicted distribution of every run and example, shape (K, N, C), after the softmax.

    Returns:
        Shape (P, N) over the P = K(K - 1)/2 pairs i < j, in the order of `numpy.triu_indices(K, 1)`.

    Raises:
        ValueError: As `jensen_shannon` does.

    Example:
        >>> pair_divergences([[[1.0, 0.0]], [[0.0, 1.0]]]).round(4)
        array([[0.6931]])
    """
    values = to_float64(probabilities, "probabilities", "(K, N, C)")
    sums = values.sum(axis=2, keepdims=True)
    wrong = (values < 0).any(axis=2) | (np.abs(sums[..., 0] - 1) > _SUM_TOLERANCE)
    if wrong.any():
        k, n = np.argwhere(wrong)[0]
        raise ValueError(
            f"probabilities must be at least 0 and sum to 1 over the classes, but those of run {k}, "
            f"example {n} go down to {values[k, n].min():.3g} and sum to {sums[k, n, 0]:.4g}: are they logits?"
        )
    values /= sums
    entropies = entropy(values)
    first, _ = np.triu_indices(len(values), 1)
    table = np.empty((len(first), values.shape[1]))
    for i, run in enumerate(values[:-1]):
        table[first == i] = entropy((values[i + 1 :] + run) / 2) - (entropies[i + 1 :] + entropies[i]) / 2
    # Only rounding leads out of the range.
    np.clip(table, 0, np.log(2), out=table)
    return table


def _read_predictions(predictions: Any) -> NDArray[np.int64]:
    classes = to_array(predictions, "predictions")
    if classes.dtype.kind not in "iub":
        raise ValueError(f"predictions must be integers (class numbers, not scores), got dtype {classes.dtype}")
    check_shape(classes, "predictions", "(K, N)")
    return classes.astype(np.int64)


class _ClassShares(NamedTuple):
    """Share of the examples that each run assigns to each class (R, K), and N."""

    by_class: list[Float64Array]
    examples: int


class _ClassTables:
    """Which examples each run assigns to each class, for kappa on weighted examples."""

    def __init__(self, predictions: Any) -> None:
        classes = _read_predictions(predictions)
        self.examples = classes.shape[1]
        self.tables = [np.equal(classes, label).astype(np.float64) for label in np.unique(classes)]

    def shares(self, weights: Float64Array) -> _ClassShares:
        """Return the shares on examples with weights (R, N)."""
        shares = weights / weights.sum(axis=1, keepdims=True)
        return _ClassShares([shares @ runs.T for runs in self.tables], self.examples)


def _beyond_chance(means: Mapping[str, Float64Array], shares: _ClassShares, draw: Draw) -> Float64Array:
    """Return 1 - kappa (R,), see `fleiss_kappa`."""
    disagreements = draw.pair_mean(means["disagreement"])
    if draw.published:
        return disagreements / (1 - 1 / shares.examples)
    by_class = [(draw.counts * table).sum(axis=1) / draw.runs for table in shares.by_class]
    by_chance = np.sum(np.square(by_class), axis=0)
    # A single class throughout is 0/0: full agreement, as `fleiss_kappa` defines it.
    several = by_chance < 1 - 1e-12
    return np.where(several, disagreements / np.where(several, 1 - by_chance, 1), 0)


def _one_class(seen: Seen) -> str:
    predictions = seen.outputs.predictions
    if predictions is None or np.ptp(predictions):
        return ""
    return "All runs give the same answer to every example: kappa is 0/0 and counts as full agreement."


DISAGREEMENT = PairMeasure(
    name="disagreement",
    title="Disagreement",
    short="disagree",
    called="disagreement",
    meaning="Share of the examples on which two runs predict different classes, averaged over all pairs of runs. 0: "
    "all runs give the same answers. Two runs with equal scores may still disagree on many examples.",
    largest=1.0,
    preference=1,
    claimed=True,
    of={
        "predictions": pair_disagreements,
        "generations": pair_text_disagreements,
        "sets": pair_set_disagreements,
    },
)

KAPPA = CombinedMeasure(
    name="kappa",
    title="1 − Fleiss’ κ",
    short="1 − κ",
    meaning="Disagreement relative to that expected by chance at these class frequencies. 0: identical answers; 1: "
    "the runs agree only as often as independent guesses.",
    largest=lambda runs, examples: runs / (runs - 1),
    preference=3,
    # It is redundant with disagreement.
    averaged=False,
    published="chance agreement is taken as 1/N, which makes it disagreement again",
    doubt=_one_class,
    of={"predictions": _ClassTables},
    reads=("disagreement",),
    sums=_ClassTables.shares,
    combine=_beyond_chance,
)

JENSEN_SHANNON = PairMeasure(
    name="jensen_shannon",
    title="Jensen–Shannon",
    short="JSD",
    called="Jensen-Shannon",
    meaning="Divergence between the predicted probabilities of two runs, in nats, averaged over examples and pairs. 0: "
    "identical probabilities; ln 2 ≈ 0.693: both certain, of different classes.",
    largest=math.log(2),
    preference=2,
    doubt=estimation,
    of={
        "probabilities": pair_divergences,
        "tokens": TokenTable,
        "label_probabilities": pair_label_divergences,
    },
)
