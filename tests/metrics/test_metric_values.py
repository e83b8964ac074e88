"""Every metric under weights against scikit-learn and SciPy on examples that are repeated as often."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import softmax
from sklearn import metrics as reference

from steadytune.metrics import METRICS, Answers, constant_score

EXAMPLES = 14


def of_predictions(function, **options):
    return lambda labels, logits: function(labels, logits.argmax(axis=1), **options)


def of_margin(function):
    return lambda labels, logits: function(labels, logits[:, 1] - logits[:, 0])


def of_targets(function):
    return lambda labels, logits: function(labels, logits[:, 0])


CASES = {
    ("accuracy", 3): of_predictions(reference.accuracy_score),
    ("f1", 2): of_predictions(reference.f1_score, zero_division=0),
    ("f1_macro", 4): of_predictions(reference.f1_score, average="macro", zero_division=0),
    ("f1_weighted", 3): of_predictions(reference.f1_score, average="weighted", zero_division=0),
    ("f1_micro", 3): of_predictions(reference.f1_score, average="micro"),
    ("balanced_accuracy", 3): of_predictions(reference.balanced_accuracy_score),
    ("matthews", 3): of_predictions(reference.matthews_corrcoef),
    ("roc_auc", 2): of_margin(reference.roc_auc_score),
    ("roc_auc", 3): lambda labels, logits: reference.roc_auc_score(labels, softmax(logits, axis=1), multi_class="ovr"),
    ("average_precision", 2): of_margin(reference.average_precision_score),
    ("average_precision", 3): lambda labels, logits: reference.average_precision_score(
        np.eye(3)[labels], softmax(logits, axis=1)
    ),
    ("log_loss", 3): lambda labels, logits: reference.log_loss(labels, softmax(logits, axis=1), labels=[0, 1, 2]),
    ("mse", 1): of_targets(reference.mean_squared_error),
    ("rmse", 1): of_targets(reference.root_mean_squared_error),
    ("mae", 1): of_targets(reference.mean_absolute_error),
    ("r2", 1): of_targets(reference.r2_score),
    ("pearson", 1): of_targets(lambda labels, outputs: stats.pearsonr(labels, outputs)[0]),
    ("spearman", 1): of_targets(lambda labels, outputs: stats.spearmanr(labels, outputs)[0]),
}


def drawn(classes, seed):
    generator = np.random.default_rng(seed)
    # Rounded, so that ranks are tied.
    logits = generator.normal(size=(2, EXAMPLES, classes)).round(1)
    if classes == 1:
        return logits, generator.normal(size=EXAMPLES).round(1), "regression"
    return logits, generator.permutation(np.arange(EXAMPLES) % classes), "classification"


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(st.sampled_from(list(CASES)), st.integers(0, 10**6))
def test_weights_count_how_often_an_example_is_there(case, seed):
    name, classes = case
    logits, labels, kind = drawn(classes, seed)
    scores = METRICS[name].scores(Answers(kind, logits, labels=labels))
    weights = np.random.default_rng(seed).multinomial(2 * EXAMPLES, np.full(EXAMPLES, 1 / EXAMPLES), size=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for found, counts in zip(scores(weights.astype(float)), weights, strict=True):
            rows = np.repeat(np.arange(EXAMPLES), counts)
            if name in ("roc_auc", "average_precision") and len(set(labels[rows])) < classes:
                assert np.isnan(found).all()
                continue
            expected = [CASES[case](labels[rows], run[rows]) for run in logits]
            assert found == pytest.approx(expected, abs=1e-9)


def test_every_metric_has_an_independent_reference_or_a_hand_computed_value():
    by_hand = {"f1a", "exact_match", "record_f1", "record_em", "chrf", "target_loss"}
    by_hand |= {"entity_f1", "subset_accuracy", "hamming_loss"}  # in test_entities.py and test_sets.py
    of_texts = {"token_f1", "bleu", "rouge1", "rouge2", "rougel"}
    assert {name for name, _ in CASES} | by_hand | of_texts == set(METRICS)


def test_a_class_that_is_not_drawn_is_none_of_macro_f1():
    answers = Answers("classification", np.eye(3)[[[0, 1, 2]]], labels=np.array([0, 1, 2]))
    weights = np.array([[1.0, 1, 1], [1, 1, 0], [0, 2, 0]])
    assert METRICS["f1_macro"].scores(answers)(weights)[:, 0].tolist() == [1, 1, 1]


def test_grouped_metrics_count_questions_as_often_as_they_are_drawn():
    # Question 0 is answered right, question 1 is not; F1 over answers ignores questions.
    logits = np.eye(2)[[[1, 0, 1, 0]]]
    answers = Answers(
        "classification",
        logits,
        labels=np.array([1, 0, 0, 1]),
        questions=np.array([0, 0, 1, 1]),
        credit=np.array([0.5, 0.25, 0.125, 1.0]),
    )
    weights = np.array([[1.0, 1, 1, 1], [3, 3, 1, 1], [0, 0, 2, 2]])
    assert METRICS["exact_match"].scores(answers)(weights)[:, 0].tolist() == [0.5, 0.75, 0]
    assert METRICS["record_em"].scores(answers)(weights)[:, 0].tolist() == [0.5, 0.75, 0]
    assert METRICS["record_f1"].scores(answers)(weights)[:, 0] == pytest.approx([0.3125, 0.40625, 0.125])
    # Twice 1 (hit) over 2 predicted and 2 labelled.
    assert METRICS["f1a"].scores(answers)(weights)[:, 0] == pytest.approx([0.5, 0.75, 0])


def test_a_text_is_right_where_any_of_its_references_is():
    answers = Answers(
        "generation", texts=[["a cat", "a dog "], ["cat", "x"]], references=[("the cat", "a cat"), ("a dog",)]
    )
    weights = np.array([[1.0, 1.0], [3.0, 1.0]])
    assert METRICS["exact_match"].scores(answers)(weights).tolist() == [[1, 0], [1, 0]]
    found = METRICS["chrf"].scores(answers)(weights)
    assert found[:, 0] == pytest.approx([1, 1])
    assert 0 < found[0, 1] < found[1, 1] < 1


def test_f1_of_a_chosen_class_is_that_of_the_class_against_the_rest():
    logits, labels, kind = drawn(3, 5)
    for positive in range(3):
        answers = Answers(kind, logits, labels=labels, positive=positive)
        expected = [reference.f1_score(labels == positive, run.argmax(1) == positive) for run in logits]
        assert METRICS["f1"].plain(answers, EXAMPLES) == pytest.approx(expected)
    assert METRICS["f1"].missing(Answers(kind, logits, labels=labels)) is not None


def test_what_one_answer_throughout_scores():
    labels = np.array([0, 0, 0, 1])
    answers = Answers("classification", np.zeros((1, 4, 2)), labels=labels)
    expected = {"accuracy": 0.75, "balanced_accuracy": 0.5, "f1": 0, "matthews": 0, "roc_auc": 0.5}
    expected |= {"average_precision": 0.25, "log_loss": -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))}
    for name, value in expected.items():
        assert constant_score(METRICS[name], answers) == pytest.approx(value), name
    targets = Answers("regression", np.zeros((1, 4, 1)), labels=np.array([0.0, 0, 0, 4]))
    for name, value in {"mse": 3.0, "mae": 1.0, "r2": 0.0, "pearson": 0.0}.items():
        assert constant_score(METRICS[name], targets) == pytest.approx(value), name


def test_a_loss_that_is_no_lower_is_no_better():
    loss = METRICS["log_loss"]
    assert loss.no_better([0.2, 0.7, 0.9], 0.7).tolist() == [False, True, True]
    assert METRICS["accuracy"].no_better([0.2, 0.7, 0.9], 0.7).tolist() == [True, True, False]
    assert loss.best([0.2, 0.7]) == 0.2
    assert loss.better(0.2, 0.7)
