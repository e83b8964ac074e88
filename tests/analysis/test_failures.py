"""How many runs may fail, given how many did."""

import math

import numpy as np
import pytest
from saying import names
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
    assert names(failure_words(cohort), "no failure", "5 seeds", "45 %", "95 %")
    assert any(names(note, "5 seeds", "45 %") for note in profile(cohort).notes)
    assert limits(compare([cohort]).rows()) == [failure_words(cohort)]


def test_runs_that_diverged_are_failures(make_cohort):
    cohort = cohort_of(make_cohort, 0, 4, lost=(LostRun("9", "diverged", "the loss is nan"),))
    assert names(failure_words(cohort), "1 failure", "5 seeds", "66 %")


def test_what_is_unknown_is_not_called_no_failure(make_cohort):
    cohort = make_cohort(scores=[0.7, 0.75, 0.8, 0.72, 0.71], failed=None, majority_score=None)
    assert math.isnan(failure_limit(cohort))
    assert names(failure_words(cohort), "unknown", "45 %")


def test_many_runs_and_all_failed_ones(make_cohort):
    assert failure_words(cohort_of(make_cohort, 0, 21)) == ""
    assert failure_limit(cohort_of(make_cohort, 3, 3)) == 1
