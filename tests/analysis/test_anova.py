"""Variance components from distances, against the textbook, against means over pairs, and against what is put in."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats

from steadytune.analysis.anova import decompose
from steadytune.measures import disagreement

pytestmark = pytest.mark.slow

POINTS = st.floats(-1, 1).map(lambda value: round(value, 3))


def half_squares(scores):
    scores = np.asarray(scores, dtype=float)
    return (scores[:, None] - scores) ** 2 / 2


def grid(*sizes):
    """Return the values of the factors a, b, ... over all combinations."""
    return dict(zip("abcd", np.array(list(itertools.product(*map(range, sizes)))).T, strict=False))


def raw(components):
    return {"".join(found.factors): found.raw for found in components}


def pair_mean_where(distances, levels, shared):
    """Mean distance of the pairs of runs that share the values of `shared` and of no other factor."""
    first, second = np.triu_indices(len(distances), 1)
    same = np.array(
        [[values[i] == values[j] for values in levels.values()] for i, j in zip(first, second, strict=True)]
    )
    chosen = (same == [name in shared for name in levels]).all(axis=1)
    return distances[first, second][chosen].mean()


def expected_distances(levels, variances):
    """What the distances are on average: the sum of the variances of all that two runs do not share."""
    runs = len(next(iter(levels.values())))
    table = np.zeros((runs, runs))
    for names, variance in variances.items():
        same = np.all([np.equal.outer(levels[name], levels[name]) for name in names], axis=0)
        table += variance * ~same
    return table


def test_four_runs_are_split_by_hand():
    # Rows 0, 1 and 2, 5: mean squares 9 between rows, 4 between columns, 1 left over.
    rows, columns, rest = decompose(half_squares([0, 1, 2, 5]), grid(2, 2))
    assert (rows.factors, columns.factors, rest.factors) == (("a",), ("b",), ("a", "b"))
    assert (rows.raw, columns.raw, rest.raw) == pytest.approx((4, 1.5, 1))
    assert rows.share.value == pytest.approx(4 / 6.5)
    assert {found.freedom for found in (rows, columns, rest)} == {1}


@given(arrays.arrays(float, st.tuples(st.integers(2, 4), st.integers(2, 5)), elements=POINTS))
def test_a_full_grid_gives_the_mean_squares_of_the_textbook(table):
    rows, columns = table.shape
    across, down = table.mean(axis=1, keepdims=True), table.mean(axis=0, keepdims=True)
    between_rows = columns * across.var(ddof=1)
    between_columns = rows * down.var(ddof=1)
    left = np.square(table - across - down + table.mean()).sum() / ((rows - 1) * (columns - 1))
    assert raw(decompose(half_squares(table.ravel()), grid(rows, columns))) == pytest.approx(
        {"a": (between_rows - left) / columns, "b": (between_columns - left) / rows, "ab": left}, abs=1e-12
    )


@given(arrays.arrays(int, (12, 7), elements=st.integers(0, 2)))
def test_means_over_pairs_give_the_same_components_of_disagreement(predictions):
    distances, levels = disagreement(predictions), grid(2, 3, 2)

    # By inclusion and exclusion over what a pair shares: the derivation of the module, told without projections.
    def covariance(shared):
        if len(shared) == len(levels):
            return pair_mean_where(distances, levels, "")
        return pair_mean_where(distances, levels, "") - pair_mean_where(distances, levels, shared)

    sets = ["".join(names) for size in (1, 2, 3) for names in itertools.combinations("abc", size)]
    expected = {
        names: sum(
            (-1) ** (len(names) - size) * covariance(shared)
            for size in range(1, len(names) + 1)
            for shared in itertools.combinations(names, size)
        )
        for names in sets
    }
    found = raw(decompose(distances, levels))
    assert found == pytest.approx(expected, abs=1e-12)
    assert sum(found.values()) == pytest.approx(pair_mean_where(distances, levels, ""), abs=1e-12)


def test_components_of_disagreement_are_those_of_one_hot_predictions_over_classes_and_examples():
    predictions = np.random.default_rng(0).integers(0, 3, size=(12, 9))
    levels = grid(3, 4)
    whole = raw(decompose(disagreement(predictions), levels))
    one_hot = [raw(decompose(half_squares(predictions[:, n] == label), levels)) for n in range(9) for label in range(3)]
    for source, value in whole.items():
        assert value == pytest.approx(sum(part[source] for part in one_hot) / 9, abs=1e-12)


@given(
    st.sets(st.tuples(*[st.integers(0, 3)] * 2), min_size=5, max_size=16).map(sorted),
    st.tuples(*[st.floats(0, 5)] * 3),
)
def test_a_grid_with_gaps_is_unbiased(cells, variances):
    levels = dict(zip("ab", np.array(cells).T, strict=True))
    truth = dict(zip(("a", "b", "ab"), variances, strict=True))
    # The estimate is linear in the distances: what is put in on average comes out on average.
    found = raw(decompose(expected_distances(levels, truth), levels))
    assume(len(found) == 3)
    assert found == pytest.approx(truth, abs=1e-8)


def test_three_factors_with_gaps_are_unbiased():
    levels = {name: values[3:] for name, values in grid(3, 3, 3).items()}
    sets = [names for size in (1, 2, 3) for names in itertools.combinations("abc", size)]
    truth = {"".join(names): 1.0 + place for place, names in enumerate(sets)}
    assert raw(decompose(expected_distances(levels, truth), levels)) == pytest.approx(truth, abs=1e-9)


def test_groups_of_runs_give_the_one_way_analysis():
    # Values of b never recur in another group: b and its interaction with a are one source.
    table = np.random.default_rng(1).normal(size=(4, 3)) + np.array([[0], [1], [3], [2]])
    levels = {"a": np.repeat(range(4), 3), "b": np.arange(12)}
    between, within = 3 * table.mean(axis=1).var(ddof=1), table.var(axis=1, ddof=1).mean()
    found = decompose(half_squares(table.ravel()), levels)
    assert raw(found) == pytest.approx({"a": (between - within) / 3, "b": within})
    # The exact interval of the share, from F = between / within.
    ratio = between / within / stats.f.ppf([0.975, 0.025], 3, 8)
    low, high = np.clip((ratio - 1) / (ratio + 2), 0, 1)
    assert found[0].share.low == pytest.approx(low, abs=0.01)
    assert found[0].share.high == pytest.approx(high, abs=0.01)


def test_one_change_at_a_time_gives_the_variance_of_each_arm():
    levels = {"a": [0, 1, 2, 0, 0, 0], "b": [0, 0, 0, 1, 2, 3]}
    scores = np.array([0.0, 1.0, 5.0, 2.0, 3.0, -1.0])
    found = raw(decompose(half_squares(scores), levels))
    assert found == pytest.approx({"a": scores[:3].var(ddof=1), "b": scores[[0, 3, 4, 5]].var(ddof=1)})


@given(st.permutations(range(12)), st.permutations(range(4)))
def test_the_order_of_runs_and_the_names_of_values_do_not_matter(runs, names):
    scores = np.random.default_rng(2).normal(size=12)
    levels = grid(4, 3)
    turned = {"a": np.array(names)[levels["a"]][runs], "b": levels["b"][runs]}
    assert raw(decompose(half_squares(scores[runs]), turned)) == pytest.approx(
        raw(decompose(half_squares(scores), levels))
    )


def test_a_negative_estimate_counts_as_nil_and_is_kept():
    # Rows have equal means: all that differs is left over.
    rows, columns, rest = decompose(half_squares([0, 1, 1, 0]), grid(2, 2))
    assert rows.raw == columns.raw == pytest.approx(-0.5)
    assert (rows.variance.value, rows.variance.low, rows.share.value) == (0, 0, 0)
    assert rest.share.value == 1


def test_runs_that_do_not_differ_have_no_interval_and_no_shares():
    for found in decompose(np.zeros((6, 6)), grid(2, 3)):
        assert found.variance.value == 0
        assert math.isnan(found.variance.low)
        assert all(map(math.isnan, found.share))


def test_one_factor_has_the_chi_square_interval_of_a_variance():
    scores = np.random.default_rng(3).normal(size=6)
    (found,) = decompose(half_squares(scores), {"a": range(6)})
    low, high = 5 * scores.var(ddof=1) / stats.chi2.ppf([0.975, 0.025], 5)
    assert found.variance.value == pytest.approx(scores.var(ddof=1))
    assert found.variance.low == pytest.approx(low, rel=0.03)
    assert found.variance.high == pytest.approx(high, rel=0.1)
    assert found.share.value == 1
    assert math.isnan(found.share.low)


def test_an_interaction_has_the_chi_square_interval_of_its_own_degrees_of_freedom():
    # On a full grid nothing else is in its mean square: 3 x 4 degrees of freedom.
    table = np.random.default_rng(5).normal(size=(4, 5))
    left = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
    *_, found = decompose(half_squares(table.ravel()), grid(4, 5))
    low, high = np.square(left).sum() / stats.chi2.ppf([0.975, 0.025], 12)
    assert (found.factors, found.freedom) == (("a", "b"), 12)
    assert found.variance.value == pytest.approx(np.square(left).sum() / 12)
    assert found.variance.low == pytest.approx(low, rel=0.02)
    assert found.variance.high == pytest.approx(high, rel=0.04)


def test_the_last_bits_of_the_distances_do_not_decide_which_draws_are_made():
    scores = np.array([0.5, 0.6, 0.7])
    ends = {
        tuple(round(end, 9) for end in decompose(half_squares(scores * scale) / scale**2, {"a": range(3)})[0].variance)
        for scale in (1.0, 1.1, 3.0, 7.0, 1 / 3)
    }
    assert len(ends) == 1


def test_a_main_effect_of_predictions_has_more_degrees_of_freedom_as_examples_move_apart():
    # 40 examples that move each on its own: f (tr W)^2 / tr W^2, from the centred one-hot vectors themselves.
    predictions = np.random.default_rng(7).integers(0, 2, size=(6, 40))
    vectors = np.eye(2)[predictions].reshape(6, -1) / math.sqrt(40)
    inner = (vectors - vectors.mean(axis=0)) @ (vectors - vectors.mean(axis=0)).T
    freedom = 5 * np.trace(inner) ** 2 / np.square(inner).sum()
    assert freedom > 15
    (found,) = decompose(disagreement(predictions), {"a": range(6)})
    low, high = freedom * found.raw / stats.chi2.ppf([0.975, 0.025], freedom)
    assert found.variance.low == pytest.approx(low, rel=0.02)
    assert found.variance.high == pytest.approx(high, rel=0.04)


def test_an_interaction_of_predictions_keeps_its_degrees_of_freedom():
    predictions = np.random.default_rng(6).integers(0, 2, size=(20, 60))
    *_, found = decompose(disagreement(predictions), grid(4, 5))
    low, high = 12 * found.raw / stats.chi2.ppf([0.975, 0.025], 12)
    assert found.variance.low == pytest.approx(low, rel=0.02)
    assert found.variance.high == pytest.approx(high, rel=0.04)


def test_no_component_of_disagreement_exceeds_all_examples():
    predictions = np.array([[0, 0], [1, 1]])
    (found,) = decompose(disagreement(predictions), {"a": [0, 1]}, upper=1.0)
    assert (found.variance.value, found.variance.high) == (1, 1)


@pytest.mark.parametrize("missing", [0, 3])
def test_intervals_of_components_and_shares_hold_the_truth_as_often_as_they_say(missing):
    rng = np.random.default_rng(4)
    cells = np.array(list(itertools.product(range(4), range(4))))[rng.permutation(16)[missing:]]
    a, b = cells.T
    truth = np.array([1.0, 4.0, 0.5])
    held = np.zeros((2, 3))
    cohorts = 400
    for _ in range(cohorts):
        scores = rng.normal(size=4)[a] + 2 * rng.normal(size=4)[b] + math.sqrt(0.5) * rng.normal(size=len(cells))
        for k, found in enumerate(decompose(half_squares(scores), {"a": a, "b": b})):
            held[0, k] += found.variance.low <= truth[k] <= found.variance.high
            held[1, k] += found.share.low <= truth[k] / truth.sum() <= found.share.high
    # Nominally 95 %; the standard error of 400 cohorts is one per cent.
    assert (held / cohorts).min() > 0.92
    assert (held / cohorts).max() < 0.99
