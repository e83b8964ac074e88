"""Every measure passes the checks that other packages run, and a wrong one is told what is wrong."""

from dataclasses import replace

import numpy as np
import pytest
from saying import says

from steadytune.measures import MEASURES, PairMeasure
from steadytune.measures.distances import CKA
from steadytune.testing import check_measure

pytestmark = pytest.mark.slow

FACTS = {"title": "T", "short": "T", "meaning": "M"}


@pytest.mark.parametrize("name", MEASURES)
def test_every_measure_conforms(name):
    check_measure(MEASURES[name])


def table(change):
    def of(numbers):
        pairs = [np.abs(numbers[i] - numbers[j]) for i in range(len(numbers)) for j in range(i + 1, len(numbers))]
        return change(np.stack(pairs))

    return PairMeasure(name="mine", of={"numbers": of}, **FACTS)


@pytest.mark.parametrize(
    ("measure", "fault"),
    [
        (table(lambda pairs: pairs + 1), ["identical", "1", "0"]),
        (table(lambda pairs: -pairs), ["differ", "distance -0.97"]),
        (table(lambda pairs: pairs * np.arange(1, len(pairs) + 1)[:, None]), ["order", "runs"]),
        (table(lambda pairs: pairs * np.arange(1, pairs.shape[1] + 1)), ["order", "examples"]),
        (replace(table(lambda pairs: pairs), largest=0.1), ["[0, 0.1]"]),
        (replace(table(lambda pairs: pairs), meaning=" "), ["meaning"]),
        (replace(table(lambda pairs: pairs), of={"words": np.asarray}), ["'words'"]),
        (replace(CKA, name="mine", gap=None, distance=lambda pair: pair.first.scale[0]), ["identical", "0"]),
    ],
)
def test_a_fault_is_named(measure, fault):
    with pytest.raises(AssertionError, match=says("'mine'", *fault)):
        check_measure(measure)
