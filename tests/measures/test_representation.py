"""Representation measures against hand-worked values, invariances and independent formulations."""

import itertools
from functools import partial

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from steadytune.measures import (
    linear_cka,
    pair_mean,
    permutation_null,
    procrustes,
    representation_distances,
    svcca,
)

pytestmark = pytest.mark.slow

MEASURES = {
    "svcca": svcca,
    "svcca_published": partial(svcca, definition="published"),
    "procrustes": procrustes,
    "cka": linear_cka,
    "linear_cka_biased": partial(linear_cka, unbiased=False),
}
every_measure = pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
# More examples than features, fewer, and about as many.
shapes = pytest.mark.parametrize(("examples", "features"), [(40, 6), (12, 30), (20, 20)])
quick = settings(deadline=None, max_examples=20)
seeds = st.integers(0, 10**6)


def related_runs(seed, runs=3, examples=20, features=8):
    """Runs that share a part of what they hold, far from the origin, with a spectrum that decays."""
    generator = np.random.default_rng(seed)
    shared = generator.standard_normal((examples, features))
    own = generator.standard_normal((runs, examples, features))
    return (shared + own) / np.sqrt(np.arange(1, features + 1)) + 5 * generator.standard_normal(features)


def rotation(seed, size):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((size, size)))[0]


def normalised(run):
    centred = run - run.mean(axis=0)
    return centred / np.sqrt((centred**2).sum())


def procrustes_by_rotating(x, y):
    """Half of what is left after the best rotation, found by SciPy and applied."""
    x, y = normalised(x), normalised(y)
    best, _ = scipy.linalg.orthogonal_procrustes(y, x)
    return ((x - y @ best) ** 2).sum() / 2


def hsic_biased(x, y):
    """The double sum of Gretton et al. (2005) over all pairs, with the means of the Gram matrices taken out."""
    k, m = x @ x.T, y @ y.T
    n = len(x)
    total = sum(k[a, b] * m[a, b] for a in range(n) for b in range(n))
    return total + k.sum() * m.sum() / n**2 - 2 / n * sum(k[a].sum() * m[a].sum() for a in range(n))


def hsic_unbiased(x, y):
    """The mean over all ordered quadruples of distinct examples of k(a,b) (m(a,b) + m(c,d) - 2 m(a,c))."""
    k, m = x @ x.T, y @ y.T
    quadruples = itertools.permutations(range(len(x)), 4)
    return np.mean([k[a, b] * (m[a, b] + m[c, d] - 2 * m[a, c]) for a, b, c, d in quadruples])


def cka_by_sums(hsic, x, y):
    return 1 - hsic(x, y) / np.sqrt(hsic(x, x) * hsic(y, y))


def svcca_by_regression(x, y, centre_first=True):
    """Classical CCA of the projected data: squared correlations are eigenvalues of Cxx^-1 Cxy Cyy^-1 Cyx."""
    parts = []
    for run in (x, y):
        data = run - run.mean(axis=0) if centre_first else run
        _, s, directions = scipy.linalg.svd(data, full_matrices=False)
        kept, total = 0, 0.0
        for value in s:
            total += value
            if total / s.sum() > 0.99:
                break
            kept += 1
        scores = data @ directions[: max(kept, 1)].T
        parts.append(scores - scores.mean(axis=0))
    u, v = parts
    forward = np.linalg.lstsq(u, v, rcond=None)[0]
    backward = np.linalg.lstsq(v, u, rcond=None)[0]
    squares = np.sort(np.linalg.eigvals(forward @ backward).real)[::-1][: min(u.shape[1], v.shape[1])]
    return 1 - np.sqrt(np.clip(squares, 0, 1)).mean()


def assert_pairs_equal(distances, reference, runs, tolerance=1e-9):
    for i, j in itertools.combinations(range(len(runs)), 2):
        assert distances[i, j] == pytest.approx(reference(runs[i], runs[j]), abs=tolerance)


def test_one_feature_has_hand_worked_distances():
    # x.y = 0 and x.z = 1/2 for the unit vectors.
    x, y, z = [[1.0], [-1.0], [0.0]], [[1.0], [1.0], [-2.0]], [[1.0], [0.0], [-1.0]]
    np.testing.assert_allclose(procrustes([x, y, z])[0], [0, 1, 0.5], atol=1e-12)
    np.testing.assert_allclose(svcca([x, y, z])[0], [0, 1, 0.5], atol=1e-12)
    np.testing.assert_allclose(linear_cka([x, y, z], unbiased=False)[0], [0, 1, 0.75], atol=1e-12)


def test_a_plane_against_a_line_has_hand_worked_distances():
    # Normalised, X'Y has the single singular value 1/sqrt(2); the Grams have norms 1/sqrt(2) and 1.
    plane = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    line = np.array([[3.0], [-3.0], [0.0], [0.0]])
    assert procrustes([plane, line])[0, 1] == pytest.approx(1 - np.sqrt(0.5))
    assert linear_cka([plane, line], unbiased=False)[0, 1] == pytest.approx(1 - np.sqrt(0.5))


def test_unbiased_cka_of_four_examples_is_hand_worked_above_one():
    # Off-diagonal Grams hold one -1 each, at (1, 4) and (1, 2): HSIC 0 + 4/6 - 1 = -1/3; of each with itself
    # 2 + 4/6 - 2 = 2/3.
    runs = [[[1.0], [0.0], [0.0], [-1.0]], [[1.0], [-1.0], [0.0], [0.0]]]
    assert linear_cka(runs)[0, 1] == pytest.approx(1.5)


def test_svcca_keeps_the_directions_below_99_percent_of_the_singular_values():
    one, two, three = np.array([[1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]]) / 2
    # Cumulative shares .50, .95, 1: the first two directions stay. Of 10 and .1 only the first does.
    x = np.stack([10 * one, 9 * two, 1 * three], axis=1)
    y = np.stack([10 * one, 9 * three, 1 * two], axis=1)
    z = np.stack([10 * one, 0.1 * two], axis=1)
    np.testing.assert_allclose(svcca([x, y, z]), [[0, 0.5, 0], [0.5, 0, 0], [0, 0, 0]], atol=1e-12)


def test_published_svcca_sees_only_the_common_mean():
    runs = related_runs(0, runs=2, examples=50, features=4)
    runs += 1000 * np.sign(runs.mean(axis=1, keepdims=True))
    left = [np.linalg.svd(run)[0][:, 0] for run in runs]
    by_hand = 1 - abs(np.corrcoef(left)[0, 1])
    assert svcca(runs, definition="published")[0, 1] == pytest.approx(by_hand, abs=1e-6)
    assert svcca(runs)[0, 1] == pytest.approx(svcca(runs - runs.mean(axis=1, keepdims=True))[0, 1], abs=1e-6)


def test_published_svcca_is_defined_where_the_kept_direction_is_the_mean_itself():
    runs = [[[1000.0, 1.0], [1000.0, -1.0]], [[2000.0, 1.0], [2000.0, -1.0]]]
    assert np.isfinite(svcca(runs, definition="published")).all()


@shapes
def test_procrustes_is_half_of_what_the_best_rotation_leaves(examples, features):
    runs = related_runs(1, examples=examples, features=features)
    assert_pairs_equal(procrustes(runs), procrustes_by_rotating, runs)


@shapes
def test_svcca_equals_classical_cca_of_the_projected_data(examples, features):
    runs = related_runs(2, examples=examples, features=features)
    assert_pairs_equal(svcca(runs), svcca_by_regression, runs, 1e-7)
    published = partial(svcca_by_regression, centre_first=False)
    assert_pairs_equal(svcca(runs, definition="published"), published, runs, 1e-7)


@shapes
def test_biased_cka_equals_the_double_sum(examples, features):
    runs = related_runs(3, examples=examples, features=features)
    assert_pairs_equal(linear_cka(runs, unbiased=False), partial(cka_by_sums, hsic_biased), runs)


@pytest.mark.parametrize("features", [3, 7, 12])
def test_unbiased_cka_equals_the_mean_over_quadruples(features):
    runs = related_runs(4, examples=7, features=features)
    assert_pairs_equal(linear_cka(runs), partial(cka_by_sums, hsic_unbiased), runs)


@pytest.mark.parametrize(
    ("examples", "expected"),
    [
        (139, {"svcca_published": 0.013, "procrustes": 0.035, "linear_cka_biased": 0.122, "cka": 1.0}),
        (522, {"svcca_published": 0.024, "procrustes": 0.128, "linear_cka_biased": 0.338, "cka": 1.0}),
    ],
)
def test_independent_matrices_score_the_calibration_table(examples, expected):
    runs = np.random.default_rng(0).standard_normal((2, examples, 1024))
    # Centring first spends one of the N dimensions, which leaves slightly more to differ in.
    assert svcca(runs)[0, 1] == pytest.approx({139: 0.019, 522: 0.025}[examples], abs=0.002)
    for name, value in expected.items():
        # The unbiased value scatters around 1 with a standard deviation of sqrt(2)/N.
        tolerance = 4 * np.sqrt(2) / examples if name == "cka" else 0.002
        assert MEASURES[name](runs)[0, 1] == pytest.approx(value, abs=tolerance), name


@every_measure
@quick
@given(seed=seeds, features=st.sampled_from([4, 30]))
def test_measures_ignore_rotations_of_the_features(measure, seed, features):
    runs = related_runs(seed, features=features)
    turned = [run @ rotation(seed + k, features) for k, run in enumerate(runs)]
    np.testing.assert_allclose(measure(turned), measure(runs), atol=1e-8)


@every_measure
@quick
@given(seed=seeds, scale=st.floats(1e-3, 1e3))
def test_measures_ignore_the_scale_of_a_run(measure, seed, scale):
    runs = related_runs(seed)
    scaled = [runs[0] * scale, *runs[1:]]
    np.testing.assert_allclose(measure(scaled), measure(runs), atol=1e-8)


@pytest.mark.parametrize("measure", [svcca, procrustes, linear_cka])
@quick
@given(seed=seeds)
def test_measures_ignore_a_mean_thousands_of_times_the_spread(measure, seed):
    runs = related_runs(seed)
    np.testing.assert_allclose(measure(runs + 3000), measure(runs), atol=1e-8)


@every_measure
@quick
@given(seed=seeds, features=st.integers(1, 25), examples=st.integers(2, 12))
def test_distances_are_symmetric_with_a_zero_diagonal_within_their_range(measure, seed, features, examples):
    distances = measure(related_runs(seed, runs=3, examples=examples, features=features))
    np.testing.assert_array_equal(distances, distances.T)
    assert (np.diag(distances) == 0).all()
    if measure is linear_cka and examples < 4:
        assert np.isnan(distances[np.triu_indices(3, 1)]).all()
    else:
        assert ((distances >= 0) & (distances <= (2 if measure is linear_cka else 1))).all()


@every_measure
def test_reordering_the_runs_reorders_the_distances(measure):
    runs, order = related_runs(5, runs=4), [2, 0, 3, 1]
    np.testing.assert_allclose(measure(runs[order]), measure(runs)[np.ix_(order, order)], atol=1e-12)


@every_measure
@shapes
@pytest.mark.parametrize("dtype", [np.float64, np.float16])
def test_identical_runs_are_at_distance_zero(measure, examples, features, dtype):
    run = related_runs(6, 1, examples, features)[0].astype(dtype)
    np.testing.assert_allclose(measure([run, run.copy()]), 0, atol=1e-9)


@every_measure
def test_runs_may_differ_in_their_number_of_features(measure):
    first, second = related_runs(7, runs=2)
    padded = np.hstack([second, np.zeros((len(second), 20))])
    np.testing.assert_allclose(measure([first, padded]), measure([first, second]), atol=1e-8)


def test_all_three_at_once_equal_each_on_its_own():
    runs = np.stack([related_runs(seed) for seed in (8, 9)], axis=1)
    together = representation_distances(runs)
    assert list(together) == ["svcca", "procrustes", "cka"]
    for name, distances in together.items():
        assert distances.shape == (2, 3, 3)
        np.testing.assert_allclose(distances, MEASURES[name](runs), rtol=0, atol=1e-12)
        np.testing.assert_array_equal(distances[1], representation_distances(runs[:, 1])[name])


@pytest.mark.parametrize("measure", [svcca, procrustes, linear_cka])
def test_the_null_of_equal_runs_is_what_independent_runs_score(measure):
    run = np.random.default_rng(0).standard_normal((60, 90))
    independent = np.random.default_rng(1).standard_normal((2, 60, 90))
    null = permutation_null(measure, [run] * 3)
    assert isinstance(null, float)
    assert null == pytest.approx(measure(independent)[0, 1], abs=0.05)
    assert null == permutation_null(measure, [run] * 3, seed=0)
    assert null != permutation_null(measure, [run] * 3, seed=1)


def test_the_null_of_a_stack_has_a_value_per_layer_from_at_most_five_runs():
    runs = np.stack([related_runs(seed, runs=7) for seed in (10, 11)], axis=1)
    null = permutation_null(linear_cka, runs)
    assert null.shape == (2,)
    np.testing.assert_array_equal(null, permutation_null(linear_cka, list(runs[:5])))
    assert null.mean() == pytest.approx(1, abs=0.2)
    assert (null > pair_mean(linear_cka(runs)) + 0.1).all()
