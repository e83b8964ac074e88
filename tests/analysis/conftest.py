"""Cohorts whose measures are known by hand."""

import numpy as np
import pytest

from steadytune.records import Cohort


@pytest.fixture
def make_cohort():
    """Build a cohort from predictions over two classes: 10 examples of which 6 are of class 0."""

    def make(predictions=None, scores=None, **fields):
        labels = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 1])
        if predictions is not None:
            predictions = np.asarray(predictions).reshape(-1, 10)
            fields.setdefault("logits", np.where(np.arange(2) == predictions[..., None], 2.0, -2.0))
            fields.setdefault("labels", labels)
            if scores is None:
                scores = (predictions == labels).mean(axis=1)
        scores = np.asarray(scores, dtype=float)
        given = {"failed": scores <= 0.6, "majority_score": 0.6, "metric": "accuracy", "recipe": "standard"}
        return Cohort(scores=scores, **{**given, **fields})

    return make


PERFECT = [0, 0, 0, 0, 0, 0, 1, 1, 1, 1]


def wrong_at(*examples):
    """The perfect predictions, with some examples turned."""
    return [1 - label if n in examples else label for n, label in enumerate(PERFECT)]


@pytest.fixture(name="wrong_at")
def _wrong_at():
    return wrong_at
