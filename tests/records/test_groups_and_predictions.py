"""Cohorts of predicted classes alone, and examples that belong together."""

import dataclasses

import numpy as np
import pytest
from saying import names, says
from sklearn.metrics import f1_score

import steadytune as st
from steadytune.errors import UserError

PREDICTIONS = [[0, 1, 1, 0], [0, 1, 0, 0], [1, 1, 1, 0]]


def test_predicted_classes_alone_make_a_cohort():
    cohort = st.Cohort(predictions=PREDICTIONS, labels=[0, 1, 1, 1])
    assert cohort.scores.tolist() == [0.75, 0.5, 0.5]
    assert cohort.probabilities is None
    profile = st.profile(cohort)
    assert profile.last("disagreement").value == pytest.approx((1 + 1 + 2) / 3 / 4)
    assert np.isnan(profile.last("jensen_shannon").value)


@pytest.mark.parametrize("labels", [[0, 1, -1, 1], [0, 1, 0.5, 1]])
def test_labels_of_predicted_classes_are_classes(labels):
    with pytest.raises(UserError, match=says("labels", "row 2", str(labels[2]))):
        st.Cohort(predictions=PREDICTIONS, labels=labels)


def test_a_set_of_labels_per_example_is_called_a_kind_of_its_own():
    logits, labels = np.ones((2, 3, 2)), [[0, 1], [1, 1], [0, 0]]
    with pytest.raises(UserError, match=says("labels", "(3, 2)", "kind=multilabel")):
        st.Cohort(logits=logits, labels=labels)
    assert st.Cohort(logits=logits, labels=labels, kind="multilabel").metric == "f1_micro"
    with pytest.raises(UserError) as raised:
        st.Cohort(logits=logits, labels=[[0, 2], [1, 1], [0, 0]])
    assert "multilabel" not in str(raised.value)


def test_new_logits_bring_new_predictions():
    for scale in (1, 3):
        logits = scale * np.eye(2)[PREDICTIONS]
        cohort = st.Cohort(logits=logits, labels=[0, 1, 1, 1])
        swapped = dataclasses.replace(cohort, logits=logits[..., ::-1])
        assert (swapped.predictions == 1 - np.array(PREDICTIONS)).all()


def test_predictions_or_probabilities_that_contradict_the_logits_are_refused_in_a_cohort_too():
    logits = 3 * np.eye(2)[PREDICTIONS]
    with pytest.raises(UserError, match=says("run 0: predictions", "row 1", "class 0", "class 1")):
        st.Cohort(logits=logits, predictions=np.zeros((3, 4), int))
    shares = st.Cohort(logits=logits).probabilities
    with pytest.raises(UserError, match=says("run 0: logits", "probabilities", "row 0")):
        st.Cohort(logits=logits, probabilities=shares[..., ::-1])
    assert st.Cohort(logits=logits, probabilities=np.array(shares), predictions=PREDICTIONS).logits is not None


def test_logits_that_are_probabilities_are_taken_as_such_as_in_files():
    shares = st.Cohort(logits=np.random.default_rng(0).normal(size=(3, 8, 2))).probabilities
    cohort = st.Cohort(logits=shares)
    assert cohort.logits is None
    assert cohort.probabilities == pytest.approx(shares)
    assert names(cohort.notes[0], "logits", "probabilities")
    # Of one run alone they might be logits by chance.
    assert st.Cohort(logits=[*shares, 2 * shares[0]]).notes == ()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ([[0, 1], [0, 0.5]], ["run 1: predictions", "row 1", "0.5"]),
        ([[0, -1], [0, 1]], ["run 0: predictions", "row 1", "-1"]),
        ([[0, np.nan], [0, 1]], ["run 0: predictions", "row 1", "nan"]),
        ([[[0]], [[1]]], ["run 0: predictions", "(examples,)", "(1, 1)"]),
    ],
)
def test_what_is_no_class_is_no_prediction(wrong, said):
    with pytest.raises(UserError, match=says(*said)):
        st.Cohort(predictions=wrong)


def test_predictions_that_contradict_the_logits_of_a_run_are_refused(tmp_path):
    with pytest.raises(UserError, match=says("x.safetensors: predictions", "row 1", "class 0", "class 1")):
        st.record_run(tmp_path / "x.safetensors", logits=np.eye(2), predictions=[0, 0])
    st.record_run(tmp_path / "x.safetensors", logits=[[1, 1], [0, 1]], predictions=[1, 1])


def test_groups_are_kept_from_a_file_to_the_cohort(tmp_path):
    for seed, run in enumerate(PREDICTIONS):
        st.record_run(tmp_path / f"{seed}.safetensors", predictions=run, labels=[0, 1, 1, 1], groups=[3, 3, 7, 7])
    cohort = st.read_runs(tmp_path)
    assert cohort.groups.tolist() == [3, 3, 7, 7]
    assert cohort.predictions.tolist() == PREDICTIONS
    # The same as of arrays, see above.
    assert cohort.scores.tolist() == [0.75, 0.5, 0.5]


@pytest.mark.parametrize("wrong", [[0, 0, 1], [0, 0, 1, 1.5], [[0], [0], [1], [1]]])
def test_groups_are_one_whole_number_per_example(wrong):
    with pytest.raises(UserError, match=says("groups", "example")):
        st.Cohort(predictions=PREDICTIONS, groups=wrong)


def test_groups_with_names_are_numbered():
    cohort = st.Cohort(predictions=PREDICTIONS, groups=["p7", "p7", "p3", "p7"])
    assert cohort.groups.tolist() == [1, 1, 0, 1]


def test_scores_that_a_cohort_computed_follow_what_is_replaced():
    logits = np.random.default_rng(0).normal(size=(4, 30, 2))
    labels = np.arange(30) % 2
    cohort = st.Cohort(logits=logits, labels=labels)
    right = (logits.argmax(-1) == labels).mean(axis=1)
    np.testing.assert_allclose(cohort.scores, right)
    turned = dataclasses.replace(cohort, labels=1 - labels)
    np.testing.assert_allclose(turned.scores, 1 - right)
    np.testing.assert_array_equal(turned.failed, 1 - right <= 0.5)
    few = dataclasses.replace(cohort, logits=logits[:2], seeds=("0", "1"))
    np.testing.assert_allclose(few.scores, right[:2])
    f1 = dataclasses.replace(cohort, metric="f1")
    np.testing.assert_allclose(f1.scores, [f1_score(labels, run) for run in logits.argmax(-1)])
    # Of classes that are as frequent the first is the one that is always answered.
    assert f1.majority_score == 0
    named = dataclasses.replace(cohort, recipe="mmr")
    assert named.scores.tolist() == cohort.scores.tolist()
    # What cannot be computed anew stays; what somebody gave stays.
    assert dataclasses.replace(cohort, logits=None, predictions=None).scores.tolist() == cohort.scores.tolist()
    given = st.Cohort(scores=[0.1, 0.2], seeds=("a", "b"))
    assert dataclasses.replace(given, recipe="x").scores.tolist() == [0.1, 0.2]


def test_metrics_of_questions_have_intervals_from_what_was_recorded():
    rng = np.random.default_rng(0)
    question, passage = np.arange(60) // 3, np.arange(60) // 6
    labels = rng.integers(0, 2, 60)
    logits = 2 * np.eye(2)[labels] + rng.normal(size=(6, 60, 2))
    given = {"logits": logits, "labels": labels, "groups": passage}
    for metric, credit in (("exact_match", None), ("f1a", None), ("record_em", None), ("record_f1", rng.random(60))):
        cohort = st.Cohort(**given, questions=question, credit=credit, metric=metric)
        # The standard error of the evaluation set is known from the answers alone.
        assert np.isfinite(st.profile(cohort, resamples=100).last("sd").high)
        assert np.isfinite(cohort.scores).all()
        assert cohort.metric == metric
        kept = dataclasses.replace(cohort, logits=logits[:, ::-1][:, ::-1])
        assert kept.scores.tolist() == cohort.scores.tolist()
    with pytest.raises(UserError, match=says("exact_match", "questions")):
        st.Cohort(**given, metric="exact_match")


def test_questions_are_resampled_together_where_nothing_coarser_is_known():
    cohort = st.Cohort(predictions=PREDICTIONS, labels=[0, 1, 1, 1], questions=["a", "a", "b", "b"])

    assert cohort.groups.tolist() == cohort.questions.tolist() == [0, 0, 1, 1]
    assert st.Cohort(predictions=PREDICTIONS, labels=[0, 1, 1, 1]).groups is None
