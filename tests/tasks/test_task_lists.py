"""Lists that the cells of tables spell."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as drawn

from steadytune.tasks.lists import listed

# NumPy escapes what cannot be printed as Python does.
TEXTS = drawn.lists(drawn.text(drawn.characters(exclude_categories=["Cs"]), max_size=8).map(lambda text: text + "."))


@given(TEXTS)
def test_a_list_is_the_same_however_it_is_printed(texts):
    for spell in (str, json.dumps, lambda one: str(np.array(one, dtype=object)), lambda one: str(list(np.array(one)))):
        cell = spell(texts)
        assert listed(cell) == texts, cell


@pytest.mark.parametrize("cell", ["[0 1 1]", "[0, 1, 1]", "[False  True True]", "[0. 1. 1.]"])
def test_numbers_are_read_as_well(cell):
    assert listed(cell) == [0, 1, 1]


@pytest.mark.parametrize(
    "cell", ["['O' 'B-PER', 'O']", "['O' 'B' ... 'O']", "[1, ..., 2]", "[unk]", "[a b]", "'a' 'b'"]
)
def test_what_is_no_list_is_none(cell):
    assert listed(cell) is None
