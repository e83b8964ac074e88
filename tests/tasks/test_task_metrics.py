import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from saying import says

from steadytune.errors import UserError
from steadytune.tasks.base import Examples
from steadytune.tasks.metrics import METRICS, check_metric, evaluate, majority_score


def examples(labels, groups=None, credit=None):
    return Examples(
        tuple((("text", None),) for _ in labels),
        np.asarray(labels),
        None if groups is None else np.asarray(groups),
        None if credit is None else np.asarray(credit, dtype=np.float64),
    )


def logits_for(predictions, classes):
    return np.eye(classes)[np.asarray(predictions)]


def score(name, predictions, labels, classes=2, kind="classification", **more):
    return evaluate([name], kind, {"logits": logits_for(predictions, classes)}, examples(labels, **more))[name]


def test_accuracy_is_the_share_of_correct_predictions():
    assert score("accuracy", [0, 1, 2, 2], [0, 1, 1, 2], classes=3) == 0.75


def test_accuracy_of_a_choice_task_compares_positions():
    logits = np.array([[0.1, 0.9], [3.0, -1.0], [0.0, 0.5]])
    assert evaluate(["accuracy"], "choice", {"logits": logits}, examples([1, 0, 0])) == {
        "accuracy": pytest.approx(2 / 3)
    }


def test_f1_is_that_of_class_one():
    # 2 true positives, 1 false positive, 2 false negatives.
    assert score("f1", [1, 1, 1, 0, 0, 0], [1, 1, 0, 1, 1, 0]) == pytest.approx(2 * 2 / (2 * 2 + 1 + 2))


def test_f1_is_zero_when_no_positive_is_found_or_present():
    assert score("f1", [0, 0], [1, 0]) == 0.0
    assert score("f1", [0, 0], [0, 0]) == 0.0


def test_macro_f1_is_the_plain_mean_over_classes():
    # Class 0: F1 = 2/3 (one of two found, none false); class 1: 0.8 (two found, one false); class 2: 1.
    assert score("f1_macro", [0, 1, 1, 1, 2], [0, 0, 1, 1, 2], classes=3) == pytest.approx((2 / 3 + 0.8 + 1) / 3)


def test_macro_f1_leaves_out_classes_that_are_neither_predicted_nor_present():
    assert score("f1_macro", [0, 1], [0, 1], classes=3) == 1.0


def test_matthews_of_a_two_by_two_table():
    # TP 2, TN 1, FP 1, FN 0: (2*1 - 1*0) / sqrt(3 * 2 * 2 * 1).
    assert score("matthews", [1, 1, 1, 0], [1, 1, 0, 0]) == pytest.approx(2 / math.sqrt(12))


@pytest.mark.parametrize("labels", [[1, 0, 1], [1, 1, 1], [0, 0, 0]])
def test_matthews_of_a_constant_prediction_is_zero(labels):
    assert score("matthews", [1, 1, 1], labels) == 0.0


def test_pearson_and_spearman_by_hand():
    labels = [1.0, 2.0, 3.0]
    # Deviations (-1, 0, 1) and (-2, -1, 3): 5 / sqrt(2 * 14); the ranks agree.
    result = evaluate(
        ["pearson", "spearman"], "regression", {"logits": np.array([[1.0], [2.0], [6.0]])}, examples(labels)
    )
    assert result == {"pearson": pytest.approx(5 / math.sqrt(28)), "spearman": pytest.approx(1.0)}


@pytest.mark.parametrize("name", ["pearson", "spearman"])
@pytest.mark.parametrize(
    ("predictions", "labels"),
    [([2.0, 2.0, 2.0], [1.0, 2.0, 3.0]), ([1.0, 2.0, 3.0], [2.0, 2.0, 2.0]), ([1.0], [2.0])],
)
def test_a_correlation_with_a_constant_is_zero(name, predictions, labels):
    assert evaluate([name], "regression", {"logits": np.array(predictions)[:, None]}, examples(labels))[name] == 0.0


def test_exact_match_counts_questions_whose_answers_are_all_right():
    # Question 7 has one wrong answer, questions 3 and 5 have none.
    predictions, labels, groups = [1, 0, 0, 1, 0, 1], [1, 0, 1, 1, 0, 1], [7, 3, 7, 5, 5, 3]
    assert score("exact_match", predictions, labels, groups=groups) == pytest.approx(2 / 3)


def test_f1a_is_taken_over_all_answers_whatever_their_question():
    # 2 true positives, 1 false positive, 1 false negative.
    assert score("f1a", [1, 1, 1, 0], [1, 1, 0, 1], groups=[0, 0, 1, 1]) == pytest.approx(4 / 6)


def test_record_scores_the_entity_with_the_highest_positive_probability():
    # By probability, not by the logit of class 1 alone: the first row of query 0 has the larger logit and loses.
    logits = np.array([[5.0, 4.0], [0.0, 1.0], [0.0, -2.0], [3.0, 3.0]])
    rows = examples([1, 0, 0, 1], groups=[0, 0, 1, 1], credit=[1.0, 0.5, 0.0, 1.0])
    assert evaluate(["record_em", "record_f1"], "classification", {"logits": logits}, rows) == {
        "record_em": 0.5,
        "record_f1": 0.75,
    }


def test_record_takes_the_first_entity_among_equals_even_when_groups_are_interleaved():
    rows = examples([0, 1, 1, 0], groups=[1, 0, 1, 0], credit=[0.25, 1.0, 1.0, 0.0])
    assert evaluate(["record_f1"], "classification", {"logits": np.zeros((4, 2))}, rows)["record_f1"] == 0.625


def test_logits_that_are_not_finite_make_every_metric_nan():
    logits = np.array([[0.0, np.nan], [1.0, 0.0]])
    result = evaluate(["accuracy", "matthews"], "classification", {"logits": logits}, examples([0, 0]))
    assert all(math.isnan(value) for value in result.values())


def test_logits_of_another_number_of_examples_are_refused():
    with pytest.raises(ValueError, match=says("(3, 2)", "2 examples")):
        evaluate(["accuracy"], "classification", {"logits": np.zeros((3, 2))}, examples([0, 1]))


def test_no_examples_are_refused():
    with pytest.raises(ValueError, match="0 examples"):
        evaluate(["accuracy"], "classification", {"logits": np.zeros((0, 2))}, examples([]))


def test_a_metric_of_another_kind_is_refused():
    with pytest.raises(ValueError, match=says("accuracy", "classification", "choice", "regression")):
        evaluate(["accuracy"], "regression", {"logits": np.zeros((2, 1))}, examples([0.5, 1.0]))


def test_an_unknown_metric_names_the_closest():
    with pytest.raises(UserError, match=says("'acuracy'", "'accuracy'")):
        evaluate(["acuracy"], "classification", {"logits": np.zeros((2, 2))}, examples([0, 1]))


OF_CLASSES = ["accuracy", "f1_macro", "f1_weighted", "f1_micro", "balanced_accuracy", "matthews", "roc_auc"]
OF_CLASSES += ["average_precision", "log_loss"]
OF_TWO = ["accuracy", "f1", *OF_CLASSES[1:]]


@pytest.mark.parametrize(
    ("name", "kind", "classes", "task", "fitting"),
    [
        ("pearson", "classification", 2, ["classification", "2 classes"], OF_TWO),
        ("f1", "classification", 3, ["classification", "3 classes"], OF_CLASSES),
        ("f1_macro", "choice", 2, ["choice"], ["accuracy", "log_loss"]),
        ("accuracy", "regression", 0, ["regression"], ["pearson", "spearman", "mse", "rmse", "mae", "r2"]),
        ("exact_match", "classification", 2, ["classification", "2 classes"], OF_TWO),
    ],
)
def test_a_metric_that_does_not_fit_a_task_is_refused_with_those_that_do(name, kind, classes, task, fitting):
    with pytest.raises(UserError, match=says(f"'{name}'", *task, ", ".join(fitting))) as error:
        check_metric(name, kind, classes, examples([0, 1]))
    assert [word for word in re.findall(r"\w+", str(error.value)) if word in METRICS] == [name, *fitting]


def test_grouped_metrics_fit_grouped_examples():
    grouped = examples([0, 1], groups=[0, 0], credit=[0.0, 1.0])
    for name in ("f1a", "exact_match", "record_f1", "record_em"):
        check_metric(name, "classification", 2, grouped)


def test_the_majority_predictor_always_gives_the_most_frequent_label():
    assert majority_score("accuracy", "classification", examples([0, 2, 2, 1])) == 0.5
    assert majority_score("accuracy", "choice", examples([1, 1, 0])) == pytest.approx(2 / 3)
    assert majority_score("f1", "classification", examples([1, 1, 0])) == pytest.approx(0.8)
    assert majority_score("f1", "classification", examples([0, 0, 1])) == 0.0
    assert majority_score("matthews", "classification", examples([0, 0, 1])) == 0.0


def test_a_constant_regression_scores_zero():
    assert majority_score("pearson", "regression", examples([0.5, 1.0, 4.0])) == 0.0


def test_the_majority_predictor_of_a_grouped_metric_is_constant():
    # All answers "false": right for question 0 only; ReCoRD takes the first entity of each query.
    grouped = examples([0, 0, 1, 0, 0], groups=[0, 0, 1, 1, 1], credit=[0.5, 0.0, 1.0, 0.0, 0.0])
    assert majority_score("exact_match", "classification", grouped) == 0.5
    assert majority_score("record_f1", "classification", grouped) == 0.75
    assert majority_score("record_em", "classification", grouped) == 0.5


@settings(deadline=None)
@given(data=st.data(), count=st.integers(1, 30))
def test_every_classification_metric_stays_in_its_range_and_is_best_for_the_truth(data, count):
    labels = np.array(data.draw(st.lists(st.integers(0, 1), min_size=count, max_size=count)))
    predictions = data.draw(st.lists(st.integers(0, 1), min_size=count, max_size=count))
    groups = np.array(data.draw(st.lists(st.integers(0, 3), min_size=count, max_size=count)))
    rows = examples(labels, groups=groups, credit=labels)
    names = [name for name, metric in METRICS.items() if "classification" in metric.kinds]
    given_scores = evaluate(names, "classification", {"logits": logits_for(predictions, 2)}, rows)
    true_scores = evaluate(names, "classification", {"logits": logits_for(labels, 2)}, rows)
    for name in names:
        if len(set(labels)) < 2 and name in ("roc_auc", "average_precision"):
            continue
        if METRICS[name].higher_is_better is False:
            assert 0 <= true_scores[name] <= given_scores[name]
            continue
        assert (-1 if name == "matthews" else 0) - 1e-12 <= given_scores[name] <= true_scores[name] + 1e-12


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(-100, 100), st.integers(-100, 100)), min_size=3, max_size=30),
    st.floats(0.1, 10),
    st.floats(-10, 10),
)
def test_correlations_ignore_a_change_of_scale(points, factor, shift):
    predictions, labels = np.array(points, dtype=np.float64).T
    before = evaluate(["pearson", "spearman"], "regression", {"logits": predictions[:, None]}, examples(labels))
    after = evaluate(
        ["pearson", "spearman"], "regression", {"logits": factor * predictions[:, None] + shift}, examples(labels)
    )
    assert after == pytest.approx(before, abs=1e-9)
    assert all(-1 - 1e-12 <= value <= 1 + 1e-12 for value in before.values())
