import numpy as np
import pytest

from steadytune.errors import UserError
from steadytune.records import Cohort


def test_logits_of_runs_become_one_array_and_what_is_unknown_has_a_default():
    cohort = Cohort(scores=[0.5, 0.75], logits=[np.zeros((3, 2)), np.ones((3, 2))])
    assert cohort.logits.shape == (2, 3, 2)
    assert cohort.scores.dtype == np.float64
    assert cohort.seeds == ("0", "1")
    assert cohort.failed.tolist() == [False, False]
    assert len(cohort) == 2
    assert cohort.name == ""


def test_predictions_are_the_highest_logits_and_probabilities_their_softmax():
    logits = np.array([[[0.0, np.log(3)], [1.0, 1.0]]], np.float32)
    cohort = Cohort(scores=[1.0], logits=logits)
    assert cohort.predictions.tolist() == [[1, 0]]
    np.testing.assert_allclose(cohort.probabilities, [[[0.25, 0.75], [0.5, 0.5]]], atol=1e-7)
    assert cohort.probabilities.dtype == np.float64


def test_a_regression_has_no_predictions_and_no_probabilities():
    cohort = Cohort(scores=[0.5], logits=np.zeros((1, 3, 1)), kind="regression")
    assert cohort.predictions is None
    assert cohort.probabilities is None
    assert Cohort(scores=[0.5]).predictions is None


def test_a_cohort_without_a_finished_run_is_empty():
    assert len(Cohort(scores=[])) == 0


def test_its_name_says_what_is_known():
    assert Cohort(scores=[1.0], model="m", task="t", recipe="r").name == "m / t / r"
    assert Cohort(scores=[1.0], recipe="r").name == "r"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"scores": [[0.5]]}, r"one number per run, not an array of shape \(1, 1\)"),
        ({"scores": [0.5], "logits": np.zeros((2, 3, 2))}, "1 scores but 2 logits"),
        ({"scores": [0.5, 0.5], "seeds": ("0",)}, "2 scores but 1 seeds"),
        ({"scores": [0.5], "failed": [True, False]}, "1 scores but 2 failed"),
        ({"scores": [0.5], "seconds": np.zeros(2)}, "1 scores but 2 seconds"),
        ({"scores": [0.5], "representations": []}, "1 scores but 0 representations"),
        ({"scores": [0.5], "logits": np.zeros((1, 3, 2)), "labels": np.zeros(4)}, "logits of 3 examples but 4 labels"),
        ({"scores": [0.5], "logits": np.zeros((3, 2))}, r"logits must be \(runs, examples, classes\), not \(3, 2\)"),
        (
            {"scores": [0.5, 0.5], "logits": [np.zeros((3, 2)), np.zeros((3, 4))]},
            r"logits of different shapes: \(3, 2\), \(3, 4\)",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_refused(fields, said):
    with pytest.raises(UserError, match=said):
        Cohort(**fields)
