"""How many runs may fail, given how many did."""

import math

import numpy as np
import pytest
from scipy import stats

from steadytune.analysis.comparison.compare import compare
from steadytune.analysis.failures import failure_limit, failure_words
from steadytune.analysis.profile import profile
from steadytune.records.cohort import LostRun
from steadytune.reporting.tables import limits


def cohort_of(make_cohort, failed, runs, **fields):
    return make_cohort(scores=np.linspace(0.7, 0.8, runs), failed=np.arange(runs) < failed, **fields)


@pytest.mark.parametrize(("failed", "runs"), [(0, 5), (0, 10), (0, 20), (1, 5), (3, 10)])
def test_so_many_failing_runs_would_show_so_few_in_one_case_of_twenty(make_cohort, failed, runs):
    limit = failure_limit(cohort_of(make_cohort, failed, runs))
    assert stats.binom.cdf(failed, runs, limit) == pytest.approx(0.05)


def test_no_failure_in_five_runs_leaves_45_per_cent_open(make_cohort):
    cohort = cohort_of(make_cohort, 0, 5)
    assert failure_limit(cohort) == pytest.approx(1 - 0.05 ** (1 / 5))
    assert failure_words(cohort) == "no failure in 5 seeds: up to 45 % of runs may fail (95 %)"
    assert any("up to 45 %" in note for note in profile(cohort).notes)
    assert limits(compare([cohort]).rows()) == [failure_words(cohort)]


def test_runs_that_diverged_are_failures(make_cohort):
    cohort = cohort_of(make_cohort, 0, 4, lost=(LostRun("9", "diverged", "the loss is nan"),))
    assert failure_words(cohort).startswith("1 failure in 5 seeds: up to 66 %")


def test_what_is_unknown_is_not_called_no_failure(make_cohort):
    cohort = make_cohort(scores=[0.7, 0.75, 0.8, 0.72, 0.71], failed=None, majority_score=None)
    assert math.isnan(failure_limit(cohort))
    assert "unknown" in failure_words(cohort)
    assert "45 %" in failure_words(cohort)


def test_many_runs_and_all_failed_ones(make_cohort):
    assert failure_words(cohort_of(make_cohort, 0, 21)) == ""
    assert failure_limit(cohort_of(make_cohort, 3, 3)) == 1
