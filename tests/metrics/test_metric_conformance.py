"""Every metric passes the checks that other packages run, and a wrong one is told what is wrong."""

from dataclasses import replace

import numpy as np
import pytest
from saying import says

from steadytune.metrics import METRICS
from steadytune.testing import check_metric

pytestmark = pytest.mark.slow

ACCURACY = METRICS["accuracy"]


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_conforms(name):
    check_metric(METRICS[name])


def scored(change):
    return replace(ACCURACY, name="mine", function=lambda answers: change(ACCURACY.function(answers), answers))


@pytest.mark.parametrize(
    ("metric", "told"),
    [
        (scored(lambda scores, answers: lambda weights: scores(weights)[0]), ["(R, K)", "(3,)"]),
        (scored(lambda scores, answers: lambda weights: 2 * scores(weights)), ["score", "[0, 1]"]),
        (replace(ACCURACY, name="mine", higher_is_better=False), ["perfect", "1", "0.583333"]),
        (scored(lambda scores, answers: lambda weights: scores(np.ones_like(weights))), ["weight", "repeating"]),
        (replace(ACCURACY, name="mine", needs=()), ["needs", "classification"]),
        (replace(ACCURACY, name="mine", needs=("colours",)), ["colours"]),
    ],
)
def test_a_fault_is_named(metric, told):
    with pytest.raises(AssertionError, match=says("'mine'", *told)):
        check_metric(metric)
