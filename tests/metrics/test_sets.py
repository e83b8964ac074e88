"""Metrics of sets of labels against scikit-learn, under weights; and the best constant set, against all others."""

import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from steadytune.metrics import METRICS, Answers, constant_score

REFERENCES = {
    "f1_micro": lambda labels, sets: metrics.f1_score(labels, sets, average="micro", zero_division=0),
    "f1_macro": lambda labels, sets: metrics.f1_score(labels, sets, average="macro", zero_division=0),
    "subset_accuracy": metrics.accuracy_score,
    "hamming_loss": metrics.hamming_loss,
}


@st.composite
def answered(draw):
    examples, labels, runs = draw(st.integers(2, 9)), draw(st.integers(2, 4)), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    right = (rng.random((examples, labels)) < rng.random(labels)).astype(int)
    logits = np.where(rng.random((runs, examples, labels)) < 0.7, 2.0 * right - 1, rng.normal(size=labels))
    return right, logits, rng.integers(0, 3, examples)


@pytest.mark.parametrize("name", REFERENCES)
@settings(deadline=None, max_examples=60)
@given(answered())
def test_they_are_those_of_scikit_learn_however_often_an_example_is_drawn(name, case):
    labels, logits, counts = case
    answers = Answers("multilabel", logits, labels=labels)
    rows = np.repeat(np.arange(len(labels)), counts)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = [REFERENCES[name](labels, run > 0) for run in logits]
        assert METRICS[name].plain(answers, len(labels)) == pytest.approx(plain, abs=1e-12)
        if len(rows):
            drawn = [REFERENCES[name](labels[rows], run[rows] > 0) for run in logits]
            assert METRICS[name].scores(answers)(counts[None].astype(float))[0] == pytest.approx(drawn, abs=1e-12)


@pytest.mark.parametrize("name", REFERENCES)
@settings(deadline=None, max_examples=60)
@given(answered())
def test_no_constant_set_is_better_than_the_one_that_is_found(name, case):
    labels, _, _ = case
    answers = Answers("multilabel", np.zeros((1, *labels.shape)), labels=labels)
    tried = [np.tile(one, (len(labels), 1)) for one in itertools.product((0, 1), repeat=labels.shape[1])]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scores = [REFERENCES[name](labels, one) for one in tried]
    best = max(scores) if METRICS[name].higher_is_better else min(scores)
    assert constant_score(METRICS[name], answers) == pytest.approx(best, abs=1e-12)


def test_by_hand():
    labels = np.array([[1, 0], [1, 1], [0, 0]])
    # Predicted: {0}, {0}, {1}: TP 2, predicted 3, labelled 3; label 0: F1 1, label 1: F1 0; one set right of three.
    logits = np.array([[[1, -1], [1, -1], [-1, 1]]])
    found = {name: METRICS[name].plain(Answers("multilabel", logits, labels=labels), 3)[0] for name in REFERENCES}

    assert found == {
        "f1_micro": pytest.approx(2 / 3),
        "f1_macro": pytest.approx(0.5),
        "subset_accuracy": pytest.approx(1 / 3),
        "hamming_loss": pytest.approx(2 / 6),
    }


def test_probabilities_are_cut_at_a_half_and_logits_at_0():
    labels = np.array([[1, 0], [0, 1]])
    by_logits = Answers("multilabel", np.array([[[0.4, -0.1], [0.0, 3]]]), labels=labels)
    by_shares = Answers("multilabel", given_probabilities=np.array([[[0.6, 0.4], [0.5, 0.9]]]), labels=labels)

    for answers in (by_logits, by_shares):
        assert METRICS["subset_accuracy"].plain(answers, 2)[0] == 1
