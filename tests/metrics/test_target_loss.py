import numpy as np
import pytest

from steadytune.metrics import METRICS, Answers, score
from steadytune.records import Cohort


def forced(runs, counts):
    return Answers(
        "generation", target_log_probabilities=[np.asarray(run) for run in runs], token_counts=np.array(counts)
    )


def test_every_token_counts_the_same_and_examples_as_often_as_they_are_drawn():
    found = forced([[-1.0, -2.0, -6.0], [0.0, 0.0, -3.0]], [2, 0, 1])
    weights = np.array([[1.0, 1, 1], [0, 5, 2], [3, 0, 1]])
    # (1 + 2 + 6) / 3, then 6 alone, then (3 * 3 + 6) / 7.
    assert METRICS["target_loss"].scores(found)(weights) == pytest.approx(np.array([[3, 1], [6, 3], [15 / 7, 3 / 7]]))


def test_where_no_example_drawn_has_a_token_it_is_undefined():
    found = forced([[-1.0]], [0, 1])
    assert np.isnan(METRICS["target_loss"].scores(found)(np.array([[2.0, 0.0]]))).all()


def test_it_is_computed_and_lower_is_better():
    found = score(forced([[-1.0, -2.0], [-0.5, -0.5]], [1, 1]), ["a", "b"], metric="target_loss")
    assert (found.values.tolist(), found.constant) == ([1.5, 0.5], None)
    assert METRICS["target_loss"].best(found.values) == 0.5


def test_it_is_the_score_of_runs_that_have_nothing_else():
    said = [np.log([0.5, 0.25, 0.125]), np.log([0.5, 0.5, 0.5])]
    cohort = Cohort(kind="generation", target_log_probabilities=said, token_counts=[1, 2])
    assert cohort.metric == "target_loss"
    assert cohort.scores == pytest.approx([2 * np.log(2), np.log(2)])
