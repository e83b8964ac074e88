import numpy as np
import pytest
from saying import names, says

from steadytune.errors import UserError
from steadytune.metrics import Answers, score

LABELS = np.array([0, 0, 1])
# Right, two of three, one class throughout.
PREDICTIONS = np.array([[0, 0, 1], [0, 1, 1], [0, 0, 0]])
TRUE = [1, 2 / 3, 2 / 3]
RUNS = ["a", "b", "c"]


def answers(predictions=PREDICTIONS, labels=LABELS, **fields):
    return Answers("classification", np.eye(2)[predictions], labels=labels, **fields)


def unlabelled():
    return Answers("classification", np.eye(2)[PREDICTIONS])


def said(found):
    return " ".join(found.notes)


def test_scores_are_computed_where_none_are_recorded():
    found = score(answers(), RUNS)
    assert (found.metric, found.constant) == ("accuracy", pytest.approx(2 / 3))
    assert found.values == pytest.approx(TRUE)
    assert found.failed.tolist() == [False, True, True]


@pytest.mark.parametrize(("factor", "decimals"), [(1, 4), (1, 2), (100, 1), (100, 4)])
def test_recorded_scores_are_recognised_rounded_and_in_per_cent(factor, decimals):
    held = np.round(factor * np.array(TRUE), decimals)
    for values in (held, held.astype(np.float32)):
        found = score(answers(), RUNS, {"eval_accuracy": values})
        assert (found.metric, found.values.tolist()) == ("accuracy", pytest.approx(TRUE))
        assert found.failed.tolist() == [False, True, True]
        assert ("cent" in said(found)) == (factor == 100)


def test_recorded_scores_that_contradict_the_predictions_are_said_to_and_not_taken():
    found = score(answers(), RUNS, {"accuracy": [0.5, 0.6, 0.7]})
    assert found.values == pytest.approx(TRUE)
    assert names(said(found), "accuracy", "0.5, 0.6, 0.7", "0.6667")


def test_recorded_scores_that_are_a_few_points_off_contradict():
    found = score(answers(), RUNS, {"accuracy": [0.95, 0.62, 0.71]})
    assert found.values == pytest.approx(TRUE)
    assert names(said(found), "accuracy", "0.95, 0.62, 0.71", "0.6667")


def test_per_cent_without_predictions_is_read_as_fractions_and_says_so():
    found = score(unlabelled(), RUNS, {"accuracy": [91.1, 66.7, 100]})
    assert found.values == pytest.approx([0.911, 0.667, 1])
    assert names(said(found), "accuracy", "cent")
    assert (found.failed, found.constant) == (None, None)


@pytest.mark.parametrize(
    ("name", "values", "told"),
    [
        ("accuracy", [0.9, 120, 0.8], ["b: accuracy", "120", "100"]),
        ("accuracy", [0.9, -0.1, 0.8], ["b: accuracy", "-0.1", "0 and 1"]),
        ("accuracy", [91.1, 0.92, 90.0], ["accuracy", "0.92", "b", "91.1", "a"]),
        ("mse", [0.1, 0.2, -1], ["c: mse", "-1", "0"]),
        ("perplexity", [0.5, 2, 3], ["a: perplexity", "0.5", "1"]),
    ],
)
def test_scores_out_of_their_range_are_refused_by_metric_run_and_range(name, values, told):
    with pytest.raises(UserError, match=says(*told)):
        score(unlabelled(), RUNS, {name: values})


@pytest.mark.parametrize("name", ["grumpiness", "wer"])
def test_other_scores_stay_as_they_are_and_nothing_is_known_of_failures(name):
    found = score(unlabelled(), RUNS, {name: [31.5, 30.0, 29.0]})
    assert (found.metric, found.values.tolist(), found.failed) == (name, [31.5, 30.0, 29.0], None)


def test_a_loss_is_not_taken_where_predictions_have_a_score():
    held = {"eval_loss": [0.3, 0.4, 0.5], "eval_runtime": [1.0, 2.0, 3.0]}
    assert score(answers(), RUNS, held).metric == "accuracy"
    alone = score(unlabelled(), RUNS, held)
    assert (alone.metric, alone.values.tolist()) == ("eval_loss", [0.3, 0.4, 0.5])
    assert score(unlabelled(), RUNS, {"eval_runtime": [1.0, 2, 3]}).metric == "score"


def test_which_of_several_scores_was_taken_is_said():
    found = score(unlabelled(), RUNS, {"bleu": [1.0, 2, 3], "eval_accuracy": [0.1, 0.2, 0.3], "loss": [1.0, 1, 1]})
    assert found.metric == "eval_accuracy"
    assert "bleu, loss" in said(found)
    assert score(unlabelled(), RUNS, {"bleu": [1.0, 2, 3], "loss": [1.0, 1, 1]}, metric="loss").metric == "loss"


def test_a_recorded_f1_tells_which_f1_it_is():
    labels = np.array([0, 0, 1, 1, 2, 2])
    predictions = np.array([[0, 0, 1, 2, 2, 1], [0, 1, 1, 1, 2, 0], [0, 0, 0, 1, 2, 2]])
    three = Answers("classification", np.eye(3)[predictions], labels=labels)
    macro = score(three, RUNS, metric="f1_macro").values
    found = score(three, RUNS, {"f1": macro.round(4)})
    assert (found.metric, found.values.tolist()) == ("f1_macro", pytest.approx(macro))
    of_zero = score(answers(), RUNS, metric="f1", positive=0).values
    found = score(answers(), RUNS, {"f1": of_zero})
    assert (found.positive, found.values.tolist()) == (0, pytest.approx(of_zero))


def test_an_f1_that_contradicts_is_shown_of_no_class_that_nobody_chose():
    labels = np.array([0, 0, 1, 1, 2, 2])
    three = Answers("classification", np.eye(3)[np.array([[0, 0, 1, 2, 2, 1], [0, 0, 0, 1, 2, 2]])], labels=labels)
    found = score(three, RUNS[:2], {"eval_f1": [0.123, 0.321], "epoch": [3.0, 3.0]})
    # Of the first run F1 is 1, 1/2, 1/2, of the second 4/5, 2/3, 1.
    assert (found.metric, found.positive, found.values.tolist()) == ("f1_macro", None, pytest.approx([2 / 3, 37 / 45]))
    assert names(said(found), "0.123, 0.321", "f1_macro")
    assert "class" not in said(found)


def test_what_is_no_score_is_not_offered_as_one():
    held = {"accuracy": [0.5] * 3, "bleu": [1.0, 2, 3], "epoch": [3.0] * 3, "eval_runtime": [1.0] * 3}
    assert names(said(score(unlabelled(), RUNS, held)), "bleu", "--metric")
    with pytest.raises(UserError, match=says("'rouge'", "accuracy, bleu")):
        score(unlabelled(), RUNS, held, metric="rouge")


def test_an_unnamed_score_that_is_the_accuracy_is_named_so():
    found = score(answers(), RUNS, {"score": TRUE})
    assert (found.metric, found.failed.tolist()) == ("accuracy", [False, True, True])
    other = score(answers(), RUNS, {"score": [0.1, 0.2, 0.3]})
    assert (other.metric, other.failed) == ("score", None)


def test_the_positive_class_is_chosen_said_and_used():
    # Of class 0: 2 of 2 and 2, then 1 hit of 1 predicted and 2 labelled, then 2 hits of 3 predicted and 2 labelled.
    first = score(answers(), RUNS, metric="f1", label_names=["hate", "none"])
    assert first.values == pytest.approx([1, 2 / 3, 4 / 5])
    assert "'hate'" in said(first)
    second = score(answers(), RUNS, metric="f1", positive="none", label_names=["hate", "none"])
    assert second.values == pytest.approx([1, 2 / 3, 0])
    assert second.positive == 1
    assert score(answers(), RUNS, metric="f1").positive == 1


def test_a_metric_that_cannot_be_had_names_those_that_can():
    with pytest.raises(UserError, match=says("a: ", "'f1'", "labels")):
        score(unlabelled(), RUNS, metric="f1")
    with pytest.raises(UserError, match=says("'accurracy'", "'accuracy'")):
        score(answers(), RUNS, metric="accurracy")
    with pytest.raises(UserError, match=says("'rouge'", "bleu")):
        score(unlabelled(), RUNS, {"bleu": [1.0, 2, 3]}, metric="rouge")


def test_constant_regressions_are_no_better_than_one_answer():
    logits = np.array([[1.0, 2, 3, 4], [2.5] * 4, [4.0, 3, 2, 1]])[..., None]
    found = score(Answers("regression", logits, labels=np.array([1.0, 2, 3, 4])), RUNS)
    assert (found.metric, found.failed.tolist()) == ("pearson", [False, True, True])
    errors = score(Answers("regression", logits, labels=np.array([1.0, 2, 3, 4])), RUNS, metric="rmse")
    assert errors.failed.tolist() == [False, True, True]
    assert errors.constant == pytest.approx(np.std([1, 2, 3, 4]))


def test_a_positive_class_that_is_not_used_is_said_to_be():
    assert names(said(score(answers(), RUNS, positive=1)), "positive class 1", "accuracy")
    assert "positive class" not in said(score(answers(), RUNS, metric="f1", positive=1))
