"""Instability of the representations: how far the hidden states of two runs are from being the same up to a rotation.

Every function takes the hidden states of the K runs of one cohort on the same N examples, in one of three forms:

- an array of shape (K, N, D): one layer, answered by distances of shape (K, K);
- an array of shape (K, L, N, D): L layers, answered by distances of shape (L, K, K);
- a sequence of K arrays of shape (N, D_k) or (L, N, D_k), whose D_k may differ.

Only one layer of all runs is in memory as float64 at a time, so memory-mapped half-precision arrays are welcome.
Everything is centred in float64 before any product: hidden states share a mean that may be thousands of times their
spread. Higher values mean less stable. No raw value speaks for itself: set it beside its `permutation_null`.

Cases at the edge, the same for all three measures:

- A COLLAPSED run, whose rows are all equal up to rounding (||X - mean|| <= u ||X|| in the Frobenius norm, u = 1e-6, for
  float16 2^-11, for bfloat16 2^-8), carries no information: its distance is 0 to another collapsed run, 1 to any other.
- With fewer examples than a measure needs (2; 4 for unbiased CKA) it is not defined: NaN between different runs.
- A single run gives one 0, whose `pair_mean` is NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .factors import (
    Factors,
    Rule,
    biased_cka_distance,
    factor,
    procrustes_distance,
    project_on_leading,
    svcca_distance,
    unbiased_cka_distance,
)
from .inputs import Definition, Float64Array, check_definition, roundoff, to_array, to_float64
from .pairs import pair_mean

_SVCCA = Rule(svcca_distance, least_examples=2, largest=1)
_PROCRUSTES = Rule(procrustes_distance, least_examples=2, largest=1)
_BIASED_CKA = Rule(biased_cka_distance, least_examples=2, largest=1)
_UNBIASED_CKA = Rule(unbiased_cka_distance, least_examples=4, largest=2)

# A null needs fewer pairs than a measurement, and costs a factorisation per run.
_NULL_RUNS = 5


def svcca(representations: Any, definition: Definition = "corrected") -> Float64Array:
    """Return 1 - the mean canonical correlation between the leading singular directions of two runs.

    Formula: centre X; keep its first k left singular vectors U, where k >= 1 counts the singular values s with
    cumsum(s) / sum(s) <= .99 (not squared); rho = singular values of U_i^T U_j;
    D_ij = 1 - sum(rho) / min(k_i, k_j). "published" follows the public code of Du & Nguyen (2023), which does not
    centre before the first decomposition but after it: a large common mean is then the only direction that is kept.

    Range: [0, 1]. 0: one kept subspace contains the other. 1: they are orthogonal. Invariant to rotation and scale of
    the features, and to invertible linear maps in so far as they leave the kept subspace alone.

    Do not trust it where N < D or N is not far above D: the kept subspaces fill nearly all of the space of N
    dimensions, and independent random matrices score .02 to .04 (N = 139 to 522, D = 1024; .01 to .03 as published). It
    weighs every kept direction alike, however little variance it carries.

    Source: Raghu et al., "SVCCA: Singular Vector Canonical Correlation Analysis for Deep Learning Dynamics and
    Interpretability", NeurIPS 2017; used for runs by Du & Nguyen, "Measuring the Instability of Fine-Tuning", ACL 2023.

    Args:
        representations: Hidden states in a form that the module names.
        definition: "corrected" or "published".

    Returns:
        Distances of shape (K, K) or (L, K, K), symmetric, with a zero diagonal.

    Raises:
        ValueError: If the shapes do not fit together, a value is NaN or infinite, or the definition is unknown.

    Example:
        >>> svcca([[[1.0], [0.0], [-1.0]], [[1.0], [-1.0], [0.0]]]).round(4)
        array([[0. , 0.5],
               [0.5, 0. ]])
    """
    check_definition(definition)
    return _measure(representations, [_SVCCA], published=definition == "published")[0]


def procrustes(representations: Any) -> Float64Array:
    """Return the orthogonal Procrustes distance: what is left after the best rotation of one run onto the other.

    Formula: centre X and divide it by its Frobenius norm; D_ij = 1 - ||X_i^T X_j||_*, the nuclear norm, which is half
    of min_R ||X_i - X_j R||_F^2 over orthogonal R.

    Range: [0, 1]. 0: equal up to rotation, shift and scale. 1: the examples vary along directions (of the space of N
    dimensions) that are orthogonal. Invariant to rotation, shift and scale of the features.

    Do not trust the raw value where N < D: independent random matrices score only .04 (N = 139) to .13 (N = 522) with
    an isotropic spectrum at D = 1024, and .25 to .45 with a decaying one. It grows with N, so compare at equal N.

    Source: Ding, Denain & Steinhardt, "Grounding Representation Similarity with Statistical Testing", NeurIPS 2021
    (half of their distance); used for runs by Du & Nguyen, "Measuring the Instability of Fine-Tuning", ACL 2023 (OP).

    Args:
        representations: Hidden states in a form that the module names.

    Returns:
        Distances of shape (K, K) or (L, K, K), symmetric, with a zero diagonal.

    Raises:
        ValueError: If the shapes do not fit together or a value is NaN or infinite.

    Example:
        >>> procrustes([[[1.0], [0.0], [-1.0]], [[1.0], [-1.0], [0.0]]]).round(4)
        array([[0. , 0.5],
               [0.5, 0. ]])
    """
    return _measure(representations, [_PROCRUSTES])[0]


def linear_cka(representations: Any, unbiased: bool = True) -> Float64Array:
    """Return 1 - linear CKA: how differently two runs arrange the examples among each other.

    Formula: D_ij = 1 - <G_i, G_j> / (||G_i||_F ||G_j||_F) for the Gram matrices G = X X^T, which are doubly centred
    (biased), or U-centred (unbiased): zero diagonal, m = column sums / (N - 2), m -= sum(m) / (2(N - 1)),
    G -= m_a + m_b, zero diagonal again.

    Range: [0, 2] unbiased, [0, 1] biased. 0: the same arrangement up to rotation, shift and scale. 1: unrelated.
    Above 1 (unbiased only): less alike than independent runs would be by chance. Unbiased, representations whose
    examples are all equally far apart hold no arrangement to compare and count as collapsed.

    Do not trust the biased value where N < D: independent random matrices score .12 (N = 139) to .34 (N = 522) at
    D = 1024 instead of 1. Both are led by the few directions of largest variance, and do not see the others.

    Source: Kornblith et al., "Similarity of Neural Network Representations Revisited", ICML 2019 (CKA); Nguyen, Raghu &
    Kornblith, "Do Wide and Deep Networks Learn the Same Things?", ICLR 2021 (unbiased); used for runs by Du & Nguyen,
    "Measuring the Instability of Fine-Tuning", ACL 2023.

    Args:
        representations: Hidden states in a form that the module names.
        unbiased: Whether to use the unbiased estimate of HSIC, which needs N > 3.

    Returns:
        Distances of shape (K, K) or (L, K, K), symmetric, with a zero diagonal.

    Raises:
        ValueError: If the shapes do not fit together or a value is NaN or infinite.

    Example:
        >>> linear_cka([[[1.0], [0.0], [0.0], [-1.0]], [[1.0], [-1.0], [0.0], [0.0]]]).round(4)
        array([[0. , 1.5],
               [1.5, 0. ]])
    """
    return _measure(representations, [_UNBIASED_CKA if unbiased else _BIASED_CKA])[0]


def representation_distances(representations: Any) -> dict[str, Float64Array]:
    """Return all three measures, with their default definitions, from a single factorisation.

    Args:
        representations: Hidden states in a form that the module names.

    Returns:
        The results of `svcca`, `procrustes` and `linear_cka` under these names.

    Raises:
        ValueError: If the shapes do not fit together or a value is NaN or infinite.

    Example:
        >>> sorted(representation_distances(np.eye(4)[None]))
        ['linear_cka', 'procrustes', 'svcca']
    """
    results = _measure(representations, [_SVCCA, _PROCRUSTES, _UNBIASED_CKA])
    return dict(zip(("svcca", "procrustes", "linear_cka"), results, strict=True))


def permutation_null(measure: Callable[[Any], Float64Array], representations: Any, seed: int = 0) -> Any:
    """Return what a measure scores by chance: its pair mean after the rows of every run were shuffled on their own.

    Shuffling keeps the spectrum of every run and takes away that row n is the same example in all of them. A value near
    its null is noise, however small it looks. Only the first 5 runs take part, which bounds the cost at 10 pairs.

    Args:
        measure: `svcca`, `procrustes`, `linear_cka`, or one of them with its definition bound.
        representations: Hidden states in a form that the module names.
        seed: Seed of the shuffles; a run is shuffled in the same way at all layers.

    Returns:
        The mean over pairs: a float for one layer, shape (L,) for a stack. NaN for a single run.

    Raises:
        ValueError: If the shapes do not fit together or a value is NaN or infinite.

    Example:
        >>> runs = np.random.default_rng(0).standard_normal((2, 139, 1024))
        >>> print(f"{permutation_null(procrustes, runs):.2f}")
        0.03
    """
    layers, stacked = _read_layers(representations)
    generator = np.random.default_rng(seed)
    orders = [generator.permutation(len(run)) for run in layers[0][:_NULL_RUNS]]
    nulls = [
        pair_mean(measure([run[order] for run, order in zip(layer[:_NULL_RUNS], orders, strict=True)]))
        for layer in layers
    ]
    return np.array(nulls) if stacked else nulls[0]


def _measure(representations: Any, rules: list[Rule], published: bool = False) -> list[Float64Array]:
    layers, stacked = _read_layers(representations)
    matrices = []
    for at, layer in enumerate(layers):
        factors = [_factor(run, _place(k, at, stacked), published) for k, run in enumerate(layer)]
        matrices.append(_measure_layer(factors, len(layer[0]), rules))
    by_rule = np.stack(matrices, axis=1)
    return list(by_rule if stacked else by_rule[:, 0])


def _read_layers(representations: Any) -> tuple[list[list[Any]], bool]:
    """Split representations into the runs of every layer, without converting them; and tell if they were stacked."""
    runs = [run if hasattr(run, "detach") else to_array(run, "representations") for run in representations]
    if not runs:
        raise ValueError("representations must hold at least one run")
    for k, run in enumerate(runs):
        if run.ndim not in {2, 3} or 0 in run.shape:
            raise ValueError(
                f"representations of a run must have the shape (N, D) or (L, N, D) and not be empty, "
                f"run {k} has {tuple(run.shape)}"
            )
        if run.shape[:-1] != runs[0].shape[:-1]:
            raise ValueError(
                f"every run must have the same layers and examples: run {k} has the shape {tuple(run.shape)}, "
                f"run 0 has {tuple(runs[0].shape)}"
            )
    if runs[0].ndim == 2:
        return [runs], False
    return [[run[layer] for run in runs] for layer in range(len(runs[0]))], True


def _place(run: int, layer: int, stacked: bool) -> str:
    return f"representations of run {run}, layer {layer}" if stacked else f"representations of run {run}"


def _factor(run: Any, place: str, published: bool) -> Factors | None:
    """Factor one run at one layer; None if it has collapsed."""
    values = to_float64(run, place, "(N, D)")
    centred = values - values.mean(axis=0)
    spread = np.linalg.norm(centred)
    if spread <= roundoff(run) * np.linalg.norm(values):
        return None
    if published:
        leading = project_on_leading(values)
        return factor(leading - leading.mean(axis=0), kept=leading.shape[1])
    return factor(centred / spread)


def _measure_layer(factors: list[Factors | None], examples: int, rules: list[Rule]) -> Float64Array:
    defined = np.array([examples >= rule.least_examples for rule in rules])
    usable = [rule for rule in rules if examples >= rule.least_examples]
    distances = np.full((len(rules), len(factors), len(factors)), np.nan)
    distances[:, range(len(factors)), range(len(factors))] = 0
    for j, second in enumerate(factors):
        for i, first in enumerate(factors[:j]):
            distances[defined, i, j] = distances[defined, j, i] = _measure_pair(first, second, usable)
    return distances


def _measure_pair(first: Factors | None, second: Factors | None, rules: list[Rule]) -> list[float]:
    if first is None or second is None:
        return [float(first is not second)] * len(rules)
    cross = first.basis.T @ second.basis
    # Rounding alone leads out of the range.
    return [min(max(rule.distance(first, second, cross), 0.0), rule.largest) for rule in rules]
