"""Intervals: hand-computed ends, edges, and how often they hold what they should hold."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from simulated import draw_cohort

from steadytune.analysis.bootstrap import resample
from steadytune.analysis.intervals import Draws, Interval, mean_interval, pair_interval, spread_interval
from steadytune.analysis.tables import outputs_of, pair_tables
from steadytune.measures import fleiss_kappa, pair_mean

pytestmark = pytest.mark.slow

EXAMPLES = 300


def has_no_ends(interval: Interval) -> bool:
    return math.isnan(interval.low) and math.isnan(interval.high)


def pair_of(mean, sd):
    """Two numbers of a mean and a standard deviation, with two in the denominator."""
    return np.array([mean - sd, mean + sd])


def draws(both=0.0, runs=0.0, examples=0.0, freedom=10**9, mean=0.0):
    return Draws(pair_of(mean, both), pair_of(mean, runs), pair_of(mean, examples), freedom)


class TestMean:
    def test_three_scores_on_examples_that_do_not_matter_give_students_interval_by_hand(self):
        # s = .02, t_2 = 4.3027, half = 4.3027 * .02 / sqrt(3)
        assert mean_interval([0.70, 0.72, 0.74], draws()) == pytest.approx((0.72, 0.670317, 0.769683), abs=1e-6)

    def test_the_error_of_the_examples_adds_to_that_of_the_runs(self):
        # Both variances are .0004 / 3, the sum has four degrees of freedom if N = 3: t_4 = 2.776445.
        error = math.sqrt(0.0004 / 3)
        interval = mean_interval([0.70, 0.72, 0.74], draws(examples=error, both=error, freedom=2))
        assert interval == pytest.approx((0.72, 0.72 - 0.045340, 0.72 + 0.045340), abs=1e-6)

    def test_many_examples_leave_students_quantile_to_the_normal_one(self):
        interval = mean_interval([0.70, 0.72, 0.74], draws(examples=1.0, both=1.0))
        assert interval.high - interval.value == pytest.approx(1.959964 * math.sqrt(1 + 0.0004 / 3), abs=2e-4)

    def test_what_runs_do_on_single_examples_counts_once(self):
        # Runs and examples each hold it, the bootstrap of both three times: 1 + 1 - (3 - 1 - 1).
        interval = pair_interval(1.0, 10**6, 9.0, draws(runs=0.1, examples=0.1, both=0.1 * math.sqrt(3)))
        assert math.log(interval.high) == pytest.approx(1.959964 * 0.1, rel=1e-4)

    def test_a_bounded_score_has_an_interval_within_its_bounds(self):
        assert mean_interval([0.1, 0.9, 0.95], draws(), 0, 1)[1:] == (0, 1)
        # Without bounds .65 -+ 4.302653 * .4769696 / sqrt(3).
        assert mean_interval([0.1, 0.9, 0.95], draws()).low == pytest.approx(0.65 - 1.184858, abs=1e-5)
        assert spread_interval(0.4, 3, Draws(*[np.full(2, 0.4)] * 3, 299), 0.5).high == 0.5

    def test_examples_of_one_group_leave_no_interval(self):
        unknown = Draws(np.full(2, np.nan), np.full(2, 0.1), np.full(2, np.nan), 1)
        assert has_no_ends(mean_interval([0.70, 0.72, 0.74], unknown))
        assert has_no_ends(spread_interval(0.1, 3, unknown))

    @pytest.mark.parametrize("scores", [[0.7], [0.7, 0.8], [0.7, 0.7, 0.7]])
    def test_scores_without_spread_and_two_of_them_have_a_mean_but_no_interval(self, scores):
        interval = mean_interval(scores, draws(examples=0.1))
        assert interval.value == pytest.approx(np.mean(scores))
        assert has_no_ends(interval)

    def test_no_score_has_no_mean(self):
        assert np.isnan(mean_interval([], draws())).all()


class TestSpread:
    def test_five_runs_of_normal_scores_give_the_chi_square_interval_by_hand(self):
        # chi2_4 is .484419 and 11.143287 at its 2.5 and 97.5 %
        interval = spread_interval(1.0, 5, Draws(np.ones(2), np.ones(2), np.ones(2), 299))
        assert interval == pytest.approx((1.0, math.sqrt(4 / 11.143287), math.sqrt(4 / 0.484419)), abs=1e-5)

    def test_runs_that_scatter_more_than_normal_ones_have_fewer_degrees_of_freedom(self):
        # K = 5: the variance of s^2 is 5/4 of .8 = 1, which is that of chi-square with 2 degrees of freedom.
        squares = pair_of(1.0, math.sqrt(0.8))
        interval = spread_interval(1.0, 5, Draws(np.ones(2), np.sqrt(squares), np.ones(2), 299))
        assert interval.high == pytest.approx(math.sqrt(2 / stats.chi2.ppf(0.025, 2)))

    def test_the_luck_that_runs_share_is_added_and_their_own_is_not(self):
        # A = B = 1 and K = 5: own luck makes (4 + 2) / 4 of the variance of s^2 over examples, .5 more are shared.
        own = Draws(np.ones(2), np.ones(2), np.sqrt(pair_of(2.0, math.sqrt(1.5))), 299)
        assert spread_interval(1.0, 5, own) == pytest.approx(spread_interval(1.0, 5, Draws(*[np.ones(2)] * 3, 299)))
        shared = Draws(np.ones(2), np.ones(2), np.sqrt(pair_of(2.0, math.sqrt(2.0))), 299)
        freedom = 2 / (0.5 + 0.5 / 2)
        assert spread_interval(1.0, 5, shared).low == pytest.approx(math.sqrt(freedom / stats.chi2.ppf(0.975, freedom)))

    @pytest.mark.parametrize(("sd", "runs"), [(0.0, 5), (1e-17, 5), (0.1, 2), (math.nan, 1), (math.nan, 0)])
    def test_no_spread_has_no_interval(self, sd, runs):
        assert has_no_ends(spread_interval(sd, runs, draws(runs=1.0, mean=2.0)))

    @pytest.mark.parametrize(("runs", "freedom"), [(3, 2), (5, 2)])
    def test_an_sd_that_the_examples_leave_open_has_two_degrees_of_freedom(self, runs, freedom):
        interval = spread_interval(1.0, runs, Draws(np.ones(2), np.ones(2), np.array([0.0, 100.0]), 299))
        assert interval.high == pytest.approx(math.sqrt(freedom / stats.chi2.ppf(0.025, freedom)))


class TestPairs:
    def test_three_runs_give_the_interval_by_hand(self):
        # V_r = 3/2 * .0002 = .0003, t_2 = 4.302653: half of the logarithm 4.302653 * .0173205 / .1 = .745242
        interval = pair_interval(0.1, 3, 1.0, draws(runs=math.sqrt(0.0002), both=math.sqrt(0.0002)))
        assert interval == pytest.approx((0.1, 0.1 * math.exp(-0.745242), 0.1 * math.exp(0.745242)), abs=1e-6)

    @given(st.floats(1e-9, 1), st.floats(1e-6, 10), st.floats(0, 10), st.integers(3, 30))
    def test_the_value_lies_within_its_interval_and_that_within_the_range(self, value, runs_error, error, runs):
        interval = pair_interval(value, runs, 1.0, draws(runs=runs_error, examples=error, both=error + runs_error))
        assert 0 <= interval.low <= interval.value <= interval.high <= 1

    @pytest.mark.parametrize(
        ("value", "runs", "spread"), [(0.5, 2, 0.1), (0.0, 5, 0.1), (0.5, 5, 0.0), (math.nan, 5, math.nan)]
    )
    def test_two_runs_or_no_distance_or_equal_pairs_have_no_interval(self, value, runs, spread):
        assert has_no_ends(pair_interval(value, runs, 1.0, draws(runs=spread, examples=0.1)))

    def test_examples_whose_error_is_unknown_leave_no_interval(self):
        unknown = Draws(np.full(2, np.nan), pair_of(0.5, 0.1), np.full(2, np.nan), 8)
        assert has_no_ends(pair_interval(0.5, 5, 1.0, unknown))


def pair_values(cohort):
    values = {name: float(pair_mean(table.distances())) for name, table in pair_tables(outputs_of(cohort)).items()}
    return values | {"kappa": 1 - fleiss_kappa(cohort.predictions)}


def population(model, runs, cohorts=400):
    """What the measures are on average over other cohorts than those whose intervals are judged."""
    generator = np.random.default_rng([runs, len(model), 1])
    drawn = [draw_cohort(model, runs, EXAMPLES, generator) for _ in range(cohorts)]
    values = [pair_values(cohort) for cohort in drawn]
    truth = {name: np.mean([one[name] for one in values]) for name in values[0]}
    truth["mean"] = np.mean([cohort.scores.mean() for cohort in drawn])
    return truth | {"sd": math.sqrt(np.mean([cohort.scores.var(ddof=1) for cohort in drawn]))}


def measure(cohort, seed):
    """Intervals of a cohort as its profile makes them, from fewer resamples."""
    runs = len(cohort)
    found = resample(cohort, {}, {}, resamples=300, seed=seed)
    values = pair_values(cohort)
    return {
        "mean": mean_interval(cohort.scores, found.of("mean", EXAMPLES - 1)),
        "sd": spread_interval(cohort.scores.std(ddof=1), runs, found.of("sd", EXAMPLES - 1)),
    } | {name: pair_interval(value, runs, 2.0, found.of(name, EXAMPLES - 1)) for name, value in values.items()}


def coverage(model, runs, cohorts=120):
    truth = population(model, runs)
    generator = np.random.default_rng([runs, len(model)])
    found = [measure(draw_cohort(model, runs, EXAMPLES, generator), seed) for seed in range(cohorts)]
    rates = {}
    for name in found[0]:
        intervals = np.array([one[name] for one in found])
        rates[name] = np.mean((intervals[:, 1] <= truth[name]) & (truth[name] <= intervals[:, 2]))
    return rates


class TestCoverage:
    # The standard error of a rate of 95 % over 120 cohorts.
    ERROR = 0.02

    @pytest.mark.parametrize("model", ["independent", "spread"])
    def test_twenty_runs_cover_the_truth_at_the_nominal_rate(self, model):
        for name, rate in coverage(model, 20).items():
            # Where flips are few or independent, the interval of SD is wider than it need be, as its docstring says.
            assert 0.92 - self.ERROR <= rate <= (1 if name == "sd" else 0.97 + self.ERROR), name

    def test_five_runs_cover_it_a_little_less_often(self):
        assert all(rate >= 0.88 - self.ERROR for rate in coverage("spread", 5).values())

    def test_collapsing_runs_make_the_intervals_of_five_runs_too_narrow_as_the_docstring_says(self):
        rates = coverage("collapse", 5)
        assert 0.86 <= rates["mean"] <= 0.97
        for name in ("sd", "disagreement", "kappa", "jensen_shannon"):
            assert 0.65 <= rates[name] <= 0.89
