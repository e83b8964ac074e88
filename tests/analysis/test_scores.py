"""Scores under weights against the registry's metrics, which scikit-learn computes, on examples that are repeated."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steadytune.analysis.scores import weighted_scores
from steadytune.records import Cohort
from steadytune.tasks.base import Examples
from steadytune.tasks.metrics import evaluate

METRICS = [
    ("classification", "accuracy", 2),
    ("classification", "f1", 2),
    ("classification", "f1_macro", 4),
    ("classification", "matthews", 2),
    ("classification", "matthews", 3),
    ("choice", "accuracy", 3),
    ("regression", "pearson", 1),
    ("regression", "spearman", 1),
]


def examples_of(labels):
    return Examples(tuple((("", None),) for _ in labels), labels)


def score(metric, kind, logits, labels):
    return np.array([evaluate([metric], kind, {"logits": run}, examples_of(labels))[metric] for run in logits])


def make_cohort(kind, metric, outputs, seed, examples=12):
    generator = np.random.default_rng(seed)
    # Rounded, so that ranks are tied.
    logits = generator.normal(size=(3, examples, outputs)).round(1)
    labels = logits[0, :, 0].round() if kind == "regression" else generator.integers(0, outputs, examples)
    return Cohort(scores=score(metric, kind, logits, labels), logits=logits, labels=labels, kind=kind, metric=metric)


@settings(deadline=None, max_examples=15)
@given(st.sampled_from(METRICS), st.integers(0, 10**6))
def test_weights_count_how_often_an_example_is_there(case, seed):
    kind, metric, outputs = case
    cohort = make_cohort(kind, metric, outputs, seed)
    weights = np.random.default_rng(seed).multinomial(12, np.full(12, 1 / 12), size=4)
    scores = weighted_scores(cohort)
    assert scores is not None
    for found, counts in zip(scores(weights.astype(float)), weights, strict=True):
        drawn = np.repeat(np.arange(12), counts)
        assert found == pytest.approx(score(metric, kind, cohort.logits[:, drawn], cohort.labels[drawn]), abs=1e-12)


@pytest.mark.parametrize(("kind", "metric", "outputs"), METRICS)
def test_weights_are_relative(kind, metric, outputs):
    # Halves of the examples add up to half of their number, drawn ones to all of it.
    scores = weighted_scores(make_cohort(kind, metric, outputs, seed=4))
    weights = np.random.default_rng(0).integers(0, 3, size=(5, 12)).astype(float)
    assert scores(weights / 7) == pytest.approx(scores(weights), abs=1e-12)


@pytest.mark.parametrize(("kind", "metric", "outputs"), METRICS)
def test_a_single_example_drawn_throughout_scores_as_the_registry_defines_it(kind, metric, outputs):
    cohort = make_cohort(kind, metric, outputs, seed=3)
    weights = 12.0 * np.eye(12)
    for n, found in enumerate(weighted_scores(cohort)(weights)):
        twelve = np.full(12, n)
        assert found == pytest.approx(score(metric, kind, cohort.logits[:, twelve], cohort.labels[twelve]), abs=1e-12)


def test_texts_score_by_exact_match_and_chrf():
    generations = [["a cat", "a dog"], ["a cat", "dig"]]
    exact = Cohort(kind="generation", generations=generations, references=["a cat ", "a dog"])
    assert weighted_scores(exact)(np.array([[1.0, 1.0], [0.0, 2.0]])) == pytest.approx(np.array([[1, 0.5], [1, 0]]))
    chrf = Cohort(
        kind="generation", generations=[["dog"], ["xyz"]], references=["dog"], metric="chrf", scores=[1.0, 0.0]
    )
    assert weighted_scores(chrf)(np.ones((1, 1))) == pytest.approx(np.array([[1, 0]]))


@pytest.mark.parametrize(
    "change",
    [
        {"metric": "record_f1"},
        {"metric": "pearson"},
        {"labels": None},
        {"logits": None},
        {"scores": np.array([0.1, 0.2, 0.3])},
    ],
    ids=["a metric of groups", "a metric of targets", "no labels", "no logits", "scores of other examples"],
)
def test_scores_that_do_not_follow_from_the_predictions_take_no_weights(change):
    cohort = make_cohort("classification", "accuracy", 2, seed=0)
    assert weighted_scores(Cohort(**{**fields(cohort), **change})) is None


def fields(cohort):
    return {name: getattr(cohort, name) for name in ("scores", "logits", "labels", "metric")}


def test_no_run_takes_no_weights():
    assert weighted_scores(Cohort(scores=[], metric="accuracy")) is None
