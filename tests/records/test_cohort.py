from dataclasses import replace

import numpy as np
import pytest
import torch
from saying import names, says

from steadytune.errors import UserError
from steadytune.records import Cohort


def test_logits_of_runs_become_one_array_and_what_is_unknown_has_a_default():
    cohort = Cohort(scores=[0.5, 0.75], logits=[np.zeros((3, 2)), np.ones((3, 2))])
    assert cohort.logits.shape == (2, 3, 2)
    assert cohort.scores.dtype == np.float64
    assert cohort.seeds == ("0", "1")
    assert cohort.failed is None
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


def test_probabilities_in_the_place_of_logits_are_kept_exactly_with_their_zeros():
    probabilities = np.array([[[0.0, 1.0], [0.7, 0.3]], [[1.0, 0.0], [0.5, 0.5]]])
    cohort = Cohort(probabilities=probabilities)
    assert cohort.logits is None
    np.testing.assert_array_equal(cohort.probabilities, probabilities)
    assert cohort.predictions.tolist() == [[1, 0], [0, 0]]
    half = Cohort(probabilities=probabilities.astype(np.float16))
    assert half.probabilities.dtype == np.float64


def test_a_cohort_with_other_logits_has_their_probabilities():
    cohort = Cohort(scores=[1.0], logits=np.zeros((1, 1, 2)))
    other = replace(cohort, logits=np.array([[[0.0, np.log(3)]]]))
    np.testing.assert_allclose(other.probabilities, [[[0.25, 0.75]]])
    given = Cohort(scores=[1.0], probabilities=[[[0.25, 0.75]]])
    np.testing.assert_array_equal(replace(given, recipe="r").probabilities, [[[0.25, 0.75]]])


def test_scores_that_are_not_given_are_the_accuracy_and_say_which_runs_failed():
    cohort = Cohort(logits=[np.eye(2)[[0, 1, 1]], np.eye(2)[[1, 1, 1]]], labels=[0, 1, 1])
    np.testing.assert_allclose(cohort.scores, [1, 2 / 3])
    assert cohort.metric == "accuracy"
    assert cohort.majority_score == pytest.approx(2 / 3)
    assert cohort.failed.tolist() == [False, True]


def test_given_scores_that_the_predictions_contradict_are_said_to_and_those_that_agree_say_which_runs_failed():
    arrays = {"logits": 3 * np.eye(2)[[[0, 1, 1], [1, 1, 1]]], "labels": [0, 1, 1]}
    for metric in ("score", "accuracy"):
        wrong = Cohort(scores=[0.9, 0.8], metric=metric, **arrays)
        assert wrong.failed is None
        assert names(wrong.notes[0], "score" if metric == "score" else "0.9, 0.8", "accuracy")
        assert replace(wrong, recipe="r").notes == wrong.notes
        right = Cohort(scores=[1, 0.667], metric=metric, **arrays)
        assert (right.metric, right.failed.tolist(), right.notes) == ("accuracy", [False, True], ())
        percent = Cohort(scores=[100, 66.7], metric=metric, **arrays)
        assert (percent.metric, percent.failed.tolist()) == ("accuracy", [False, True])
        assert names(percent.notes[0], "accuracy", "cent")
    # Scores of a study, which says what always giving one answer scores, are its own.
    assert Cohort(scores=[0.9, 0.8], majority_score=0.5, metric="accuracy", **arrays).notes == ()


def test_without_labels_the_score_is_unknown_and_the_rest_is_not():
    cohort = Cohort(logits=np.zeros((2, 3, 2)))
    assert np.isnan(cohort.scores).all()
    assert not cohort.scored
    assert len(cohort) == 2
    assert Cohort(scores=[]).scored
    assert Cohort(representations=[np.zeros((1, 3, 2))] * 3).seeds == ("0", "1", "2")


def test_torch_tensors_of_any_type_are_taken():
    logits = torch.tensor([[[0.0, 1.0]]], dtype=torch.bfloat16, requires_grad=True)
    cohort = Cohort(logits=logits, labels=torch.tensor([1]), representations=[torch.ones(1, 1, 3).half()])
    assert cohort.scores.tolist() == [1.0]
    assert cohort.representations[0].dtype == np.float16


def test_large_representations_are_not_copied(tmp_path):
    np.save(tmp_path / "r.npy", np.zeros((2, 3, 4), np.float16))
    mapped = np.load(tmp_path / "r.npy", mmap_mode="r")
    cohort = Cohort(scores=[1.0], representations=[mapped])
    assert np.shares_memory(cohort.representations[0], mapped)


def test_texts_are_scored_against_their_references():
    runs = [["a cat ", "a dog"], ["a cat", "a cow"]]
    cohort = Cohort(generations=runs, references=["a cat", "a cow"], kind="generation")
    assert cohort.scores.tolist() == [0.5, 1.0]
    assert cohort.metric == "exact_match"
    assert cohort.predictions is None
    assert cohort.probabilities is None
    assert not Cohort(generations=runs, kind="generation").scored


def test_runs_that_hold_texts_or_tokens_are_of_generated_text_unless_said_otherwise():
    assert Cohort(generations=[["a"]]).kind == "generation"
    assert Cohort(token_logits=np.zeros((1, 3, 2)), token_counts=[1.0, 2.0]).kind == "generation"
    assert Cohort(scores=[0.5]).kind == "classification"


def test_a_word_of_probability_0_may_be_minus_infinity():
    logits = [np.array([[0.0, -np.inf]])]
    assert np.array_equal(Cohort(token_logits=logits, token_counts=[1]).token_logits, logits)


def test_the_width_of_representations_may_differ_and_one_layer_needs_no_axis():
    cohort = Cohort(representations=[np.zeros((1, 3, 4)), np.zeros((1, 3, 5)), np.zeros((3, 6))])
    assert [run.shape[-1] for run in cohort.representations] == [4, 5, 6]


def test_a_cohort_without_a_finished_run_is_empty():
    assert len(Cohort(scores=[])) == 0


def test_its_name_says_what_is_known():
    assert Cohort(scores=[1.0], model="m", task="t", recipe="r").name == "m / t / r"
    assert Cohort(scores=[1.0], recipe="r").name == "r"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"scores": [[0.5]]}, ["scores", "one number per run", "(1, 1)"]),
        ({"scores": [0.5], "logits": np.zeros((2, 3, 2))}, ["1 score", "2 logits"]),
        ({"scores": [0.5, 0.5], "seeds": ("0",)}, ["2 scores", "1 seed"]),
        ({"scores": [0.5], "failed": [True, False]}, ["1 score", "2 failed"]),
        ({"scores": [0.5], "seconds": np.zeros(2)}, ["1 score", "2 seconds"]),
        ({"scores": [0.5], "representations": []}, ["1 score", "0 representations"]),
        ({"logits": np.zeros((2, 3, 2)), "generations": [["a"] * 3]}, ["2 logits", "1 generation"]),
        ({}, ["scores, logits, probabilities, predictions, representations", "generations"]),
        (
            {"logits": np.zeros((1, 3, 2)), "labels": [0, 2, 1]},
            ["run 0: labels", "0 to 1", "logits", "row 1", "2"],
        ),
        ({"logits": np.zeros((1, 3, 2)), "labels": [0, 0.5, 1]}, ["labels", "row 1", "0.5"]),
        ({"logits": np.zeros((1, 3, 2)), "labels": [0, np.nan, 1]}, ["labels", "NaN", "row 1"]),
        ({"logits": np.zeros((1, 3, 1)), "labels": [0, np.nan, 1], "kind": "regression"}, ["labels", "NaN", "row 1"]),
        ({"logits": np.zeros((1, 3, 2)), "kind": "regression"}, ["logits", "regression", "(examples, 1)"]),
        ({"probabilities": np.zeros((1, 3, 1)), "kind": "regression"}, ["regression", "probabilities"]),
        (
            {"logits": [[[0, 1]], [[0, np.nan]]], "seeds": ("a", "b")},
            ["run b: logits", "NaN", "row 0"],
        ),
        (
            {"probabilities": [[[0.5, 0.5], [0.5, 0.6]]]},
            ["run 0: probabilities", "sum to 1", "axis 1"],
        ),
        ({"probabilities": [[[0.5, 0.5], [1.5, -0.5]]]}, ["probabilities", "row 1, class 1", "-0.5"]),
        (
            {"logits": np.zeros((1, 3, 2)), "representations": [np.zeros((2, 4, 5))]},
            ["run 0: representations", "(layers, 3, width)", "(2, 4, 5)"],
        ),
        ({"representations": [np.zeros(3)]}, ["representations", "(layers, examples, width)", "(3,)"]),
        ({"logits": [[["x", "y"]]]}, ["logits", "real numbers"]),
        ({"generations": [["a", 3]], "kind": "generation"}, ["run 0: generations", "row 1", "3"]),
        ({"generations": [["a"]], "references": ["a", "b"]}, ["1 generation", "2 references"]),
        ({"generations": [[]]}, ["run 0: generations", "example"]),
        (
            {"logits": np.zeros((1, 3, 2)), "labels": [0, 1, 1], "metric": "pearson"},
            ["'pearson'", "regression"],
        ),
        (
            {"scores": [0.5], "logits": np.zeros((1, 3, 2)), "labels": np.zeros(4)},
            ["run 0: labels", "(3,)", "(4,)"],
        ),
        ({"scores": [0.5] * 3, "logits": np.zeros((3, 2))}, ["run 0: logits", "classes", "(2,)"]),
        (
            {"scores": [0.5, 0.5], "logits": [np.zeros((3, 2)), np.zeros((3, 4))]},
            ["run 1: logits", "(3, 4)", "run 0", "(3, 2)"],
        ),
        ({"scores": [0.5], "kind": "foo"}, ["cohort", "kind 'foo'"]),
        ({"scores": [], "kind": "generaton"}, ["kind 'generaton'", "'generation'"]),
        (
            {"scores": [0.5], "generations": [["a"]], "kind": "choice"},
            ["run 0: generations", "'generation'", "'choice'"],
        ),
        ({"logits": []}, ["logits", "no run"]),
        ({"logits": 3.0}, ["logits", "list", "3.0"]),
        ({"generations": []}, ["generations", "no run"]),
        ({"generations": ["a text", "another"]}, ["run 0: generations", "list", "'a text'"]),
        ({"generations": [["a", "b"], ["a"]], "seeds": ("x", "y")}, ["run y", "generations", "1", "run x", "2"]),
        ({"scores": ["a", "b"]}, ["scores", "real numbers"]),
        ({"scores": 0.5}, ["scores", "one number per run", "()"]),
        ({"scores": [0.5], "seeds": 3}, ["seeds", "list", "3"]),
        ({"scores": [0.5] * 3, "seeds": ("a", "b", "a")}, ["seed 'a'"]),
        (
            {"representations": [np.zeros((2, 6, 4)), np.zeros((3, 6, 4))]},
            ["run 1: layers", "representations", "3", "run 0", "2"],
        ),
        (
            {"representations": [np.zeros((2, 6, 4)), np.zeros((2, 5, 4))]},
            ["run 1: rows", "representations", "5", "run 0", "6"],
        ),
        (
            {"representations": [np.zeros((2, 6, 4)), np.zeros((6, 4))]},
            ["run 1: layers", "representations", "1", "run 0", "2"],
        ),
        (
            {"generations": [["a"]], "representations": [np.zeros((2, 6, 4))]},
            ["1 generation", "6 rows", "representations"],
        ),
        ({"token_logits": [np.zeros((3, 2))]}, ["run 0: token_logits", "token_counts", "(examples,)"]),
        (
            {"token_logits": np.full((2, 3, 2), np.nan), "token_counts": [1, 2]},
            ["run 0: token_logits", "NaN", "token 0", "axis 0"],
        ),
        (
            {"token_logits": [np.zeros((3, 2)), np.zeros((3, 5))], "token_counts": [1, 2]},
            ["run 1: token_logits", "(3, 5)", "run 0", "(3, 2)"],
        ),
        (
            {"token_logits": [np.zeros((3, 2)), np.zeros((4, 2))], "token_counts": [1, 2]},
            ["run 1: token_logits", "(tokens, words)", "(4, 2)"],
        ),
        (
            {"generations": [["a"] * 2], "token_logits": np.zeros((1, 3, 2)), "token_counts": [1, 1, 1]},
            ["run 0", "2 generations", "3 token_counts"],
        ),
        (
            {"scores": [0.5], "token_counts": [-1, 4], "token_logits": np.zeros((1, 3, 2))},
            ["run 0: token_counts", "(examples,)"],
        ),
    ],
)
def test_arrays_that_do_not_fit_are_refused(fields, said):
    with pytest.raises(UserError, match=says(*said)):
        Cohort(**fields)
