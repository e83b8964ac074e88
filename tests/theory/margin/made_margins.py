"""Data for max-margin heads, and a separator found by trying every set of rows."""

import itertools

import numpy as np


def tried_separator(rows):
    """The shortest w with z . w >= 1: it is the shortest with z . w = 1 on some of the rows, so all sets are tried."""
    best = None
    for count in range(1, min(len(rows), rows.shape[1]) + 1):
        for chosen in itertools.combinations(range(len(rows)), count):
            w = np.linalg.pinv(rows[list(chosen)]) @ np.ones(count)
            if (rows @ w >= 1 - 1e-9).all() and (best is None or w @ w < best @ best):
                best = w
    return best


def separable_data(rng, classes=2):
    """A few separable examples of random size, shape and geometry: features (n, d) and labels (n,)."""
    n = int(rng.integers(max(3, classes), 15))
    d = int(rng.integers(1, 12))
    labels = rng.permutation(np.arange(n) % classes)
    truth = rng.standard_normal((classes, d))
    kind = rng.integers(4)
    features = rng.standard_normal((n, d)) * (1.0 if kind else np.arange(1, d + 1) ** -2.0)
    if kind == 1:
        # Whole numbers, with ties, duplicates and zeros.
        features = np.round(2 * features)
    scores = features @ truth.T
    if classes == 2:
        side = np.where(labels == 1, 1, -1) * np.sign(scores[:, 1] - scores[:, 0])
        features = features * np.where(side == 0, 1, side)[:, None]
    else:
        labels = scores.argmax(1)
    if kind == 2:
        # One example far out, so that B / gamma is large.
        features[rng.integers(n)] *= 30
    return features * 10 ** rng.uniform(-3, 3), labels


def separable_problems(number, seed, classes=2):
    """Yield `number` separable problems as (features, labels, bound)."""
    from steadytune.theory import head_tuning_bound

    rng = np.random.default_rng(seed)
    while number:
        features, labels = separable_data(rng, classes)
        if len(np.unique(labels)) < 2 or not features.any() or labels.max() < classes - 1:
            continue
        # Whole numbers may lie on the hyperplane. Such data are not separable, and have a soft margin, at every scale.
        bound = head_tuning_bound(features, labels, penalty=1e-6 / np.square(features).max())
        if bound.solution.separable:
            number -= 1
            yield features, labels, bound
