"""Instability of the representations: how far the hidden states of two runs are from being the same up to a rotation.

Every function takes the hidden states of the K runs of one cohort on the same N examples, in one of three forms:

- an array of shape (K, N, D): one layer, answered by distances of shape (K, K);
- an array of shape (K, L, N, D): L layers, answered by distances of shape (L, K, K);
- a sequence of K arrays of shape (N, D_k) or (L, N, D_k), whose D_k may differ.

Only one layer of all runs is in memory as float64 at a time, so memory-mapped half-precision arrays are welcome.
Everything is centred in float64 before any product: hidden states share a mean that can be thousands of times their
spread. Higher values mean less stable. No raw value can be interpreted alone: compare it with its `permutation_null`.

Edge cases, the same for all three measures:

- A COLLAPSED run, whose rows are all equal up to rounding (||X - mean|| <= u ||X|| in the Frobenius norm, u = 1e-6, for
  float16 2^-11, for bfloat16 2^-8), carries no information: its distance is 0 to another collapsed run, 1 to any other.
- With fewer examples than a measure needs (2; 4 for unbiased CKA) it is not defined: NaN between different runs.
- A single run gives one 0, whose `pair_mean` is NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .base import LayerMeasure
from .distances import BIASED_CKA, CKA, PROCRUSTES, SVCCA
from .halves import Split
from .inputs import Definition, Float64Array, check_definition, to_array
from .layers import Layered, measure_layers, read_layers, shuffles
from .pairs import pair_mean
from .table import layer_measures


@dataclass(frozen=True, eq=False)
class LayerDistances:
    """Representation measures at every layer, with their permutation nulls.

    Attributes:
        distances: "svcca", "procrustes", "cka" -> shape (L, K, K), symmetric, with a zero diagonal.
        nulls: The same names -> shape (L,), as `permutation_null` returns them.
        bounds: The same names -> shape (L,): largest possible error of a distance or a null. 0
            without a tolerance.
        halves: The same names -> shape (S, 2, L): the pair mean of the first 3 runs on both halves of S splits.
    """

    distances: dict[str, Float64Array]
    nulls: dict[str, Float64Array]
    bounds: dict[str, Float64Array]
    halves: dict[str, Float64Array]


def svcca(representations: Any, definition: Definition = "corrected") -> Float64Array:
    """Return 1 - the mean canonical correlation between the leading singular directions of two runs.

    Formula: centre X; keep its first k left singular vectors U, where k >= 1 counts the singular values s with
    cumsum(s) / sum(s) <= .99 (not squared); rho = singular values of U_i^T U_j;
    D_ij = 1 - sum(rho) / min(k_i, k_j). "published" follows the public code of Du & Nguyen (2023), which does not
    centre before the first decomposition but after it: a large common mean is then the only direction kept.

    Range: [0, 1]. 0: one kept subspace contains the other. 1: they are orthogonal. Invariant to rotation and scale of
    the features, and to invertible linear maps that preserve the kept subspace.

    Do not trust it if N < D or N is not far above D: the kept subspaces fill nearly all of the N-dimensional
    space, and independent random matrices score .02 to .04 (N = 139 to 522, D = 1024; .01 to .03 as published). It
    weights every kept direction equally, however little variance it has.

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
    layered = read_layers(representations)
    return _unstack(measure_layers(layered, [SVCCA], published=definition == "published").distances[0], layered)


def procrustes(representations: Any) -> Float64Array:
    """Return the orthogonal Procrustes distance: what remains after the best rotation of one run onto the other.

    Formula: centre X and divide it by its Frobenius norm; D_ij = 1 - ||X_i^T X_j||_*, the nuclear norm, which is half
    of min_R ||X_i - X_j R||_F^2 over orthogonal R.

    Range: [0, 1]. 0: equal up to rotation, shift and scale. 1: the examples vary along directions (of the space of N
    dimensions) that are orthogonal. Invariant to rotation, shift and scale of the features.

    Do not trust the raw value if N < D: independent random matrices score only .04 (N = 139) to .13 (N = 522) with
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
    layered = read_layers(representations)
    return _unstack(measure_layers(layered, [PROCRUSTES]).distances[0], layered)


def linear_cka(representations: Any, unbiased: bool = True) -> Float64Array:
    """Return 1 - linear CKA: how differently two runs arrange the examples relative to each other.

    Formula: D_ij = 1 - <G_i, G_j> / (||G_i||_F ||G_j||_F) for the Gram matrices G = X X^T, which are doubly centred
    (biased), or U-centred (unbiased): zero diagonal, m = column sums / (N - 2), m -= sum(m) / (2(N - 1)),
    G -= m_a + m_b, zero diagonal again.

    Range: [0, 2] unbiased, [0, 1] biased. 0: the same arrangement up to rotation, shift and scale. 1: unrelated.
    Above 1 (unbiased only): less alike than independent runs would be by chance. Unbiased, representations whose
    examples are all equally far apart have no arrangement to compare and count as collapsed.

    Do not trust the biased value if N < D: independent random matrices score .12 (N = 139) to .34 (N = 522) at
    D = 1024 instead of 1. Both are dominated by the few directions of largest variance and insensitive to the others.

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
    layered = read_layers(representations)
    return _unstack(measure_layers(layered, [CKA if unbiased else BIASED_CKA]).distances[0], layered)


def representation_distances(
    representations: Any, measures: Sequence[LayerMeasure] | None = None, *, threads: int | None = None
) -> dict[str, Float64Array]:
    """Return all representation measures, with their default definitions, from a single factorisation.

    Args:
        representations: Hidden states in a form that the module names.
        measures: Which; all that there are where it is left out.
        threads: As for `layer_distances`.

    Returns:
        Measure -> distances: "svcca", "procrustes", "cka", and those of other packages.

    Raises:
        ValueError: If the shapes do not fit together or a value is NaN or infinite.

    Example:
        >>> sorted(representation_distances([[[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [1.0, 1.0]]]))
        ['cka', 'procrustes', 'svcca']
    """
    layered, asked = read_layers(representations), layer_measures() if measures is None else measures
    distances = measure_layers(layered, asked, threads=threads).distances
    return {one.name: _unstack(by_layer, layered) for one, by_layer in zip(asked, distances, strict=True)}


def layer_distances(
    representations: Any,
    measures: Sequence[LayerMeasure] | None = None,
    *,
    null_seed: int = 0,
    splits: Sequence[Split] = (),
    threads: int | None = None,
    progress: Callable[[float], None] | None = None,
    tolerance: float = 0.0,
) -> LayerDistances:
    """Return all measures at every layer, and their permutation nulls, from a single factorisation.

    Args:
        representations: Hidden states in a form that the module names; a single layer counts as a stack of one.
        measures: Which; all that there are where it is left out.
        null_seed: Seed of the shuffles, as for `permutation_null`.
        splits: S splits of the examples, each into the rows of two halves that share none, which are measured as well,
            exactly whatever the tolerance. Of halves of a million numbers or more, with more rows than features,
            products are in single precision: errors are below 1e-6, or one direction more or less that SVCCA keeps.
        threads: How many threads share the work, each with one thread of the linear algebra library; by default one
            per processor.
        progress: Called with the share of the work done, in (0, 1].
        tolerance: Allowed error of Procrustes and CKA. Above 0 the directions of least variance
            are left out as far as a proven bound allows, which saves most of the work if spectra decay. SVCCA
            weights all kept directions equally and is always exact.

    Returns:
        Distances, nulls, bounds, and halves if there are splits.

    Raises:
        ValueError: If the shapes do not fit together, a value is NaN or infinite, or the tolerance is negative.

    Example:
        >>> import numpy as np
        >>> runs = np.random.default_rng(0).standard_normal((3, 2, 60, 8))
        >>> found = layer_distances(runs, tolerance=0.01)
        >>> found.distances["procrustes"].shape, found.nulls["procrustes"].shape
        ((2, 3, 3), (2,))
        >>> bool((found.bounds["procrustes"] <= 0.01).all())
        True
    """
    if not tolerance >= 0:
        raise ValueError(f"tolerance must be 0 or more, got {tolerance}")
    asked = layer_measures() if measures is None else measures
    found = measure_layers(
        read_layers(representations),
        asked,
        null_seed=null_seed,
        splits=splits,
        threads=threads,
        progress=progress,
        tolerance=tolerance,
    )
    return LayerDistances(*(dict(zip([one.name for one in asked], part, strict=True)) for part in found))


def permutation_null(measure: Callable[[Any], Float64Array], representations: Any, seed: int = 0) -> Any:
    """Return a measure's value by chance: its pair mean after shuffling the rows of every run independently.

    Shuffling keeps the spectrum of every run but destroys the correspondence of row n to one example. A value near
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
        >>> import numpy as np
        >>> runs = np.random.default_rng(0).standard_normal((2, 139, 1024))
        >>> print(f"{permutation_null(procrustes, runs):.2f}")
        0.03
    """
    orders = shuffles(read_layers(representations), seed)
    runs = [run if hasattr(run, "detach") else to_array(run, "representations") for run in representations]
    return pair_mean(measure([run[..., order, :] for run, order in zip(runs, orders, strict=False)]))


def _unstack(by_layer: Float64Array, layered: Layered) -> Float64Array:
    return by_layer if layered.stacked else by_layer[0]
