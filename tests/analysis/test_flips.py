"""Votes of runs on examples: counted by hand, against the measures, and as rows of a table."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats

from steadytune.analysis.flips import cohort_votes, count_votes, flip_rows, summarize_flips
from steadytune.measures import disagreement, pair_mean
from steadytune.records import Cohort

# Five runs, four examples: all agree; 3 to 2; 2, 2 and 1; 4 to 1.
ANSWERS = np.array([[1, 0, 2, 0], [1, 0, 0, 1], [1, 1, 0, 0], [1, 0, 2, 0], [1, 1, 1, 0]])
PREDICTIONS = arrays.arrays(int, st.tuples(st.integers(2, 6), st.integers(1, 30)), elements=st.integers(-1, 3))


def cohort(answers=ANSWERS, **fields):
    logits = np.where(np.arange(3) == np.asarray(answers)[..., None], 3.0, 0.0)
    given = {"labels": np.array([1, 1, 0, 0]), "recipe": "standard", "model": "m", "task": "t", "examples": "e"}
    return Cohort(scores=np.zeros(len(logits)), logits=logits, **{**given, **fields})


def test_votes_are_counted_by_hand():
    votes = count_votes(ANSWERS)
    assert votes.majority.tolist() == [1, 0, 0, 0]
    assert votes.flip_rate == pytest.approx([0, 0.4, 0.6, 0.2])
    assert votes.entropy == pytest.approx([0, 0.673012, 1.054920, 0.500402], abs=1e-6)
    # Pairs that agree: all 10; 3 + 1; 1 + 1; 6.
    assert votes.disagreement == pytest.approx([0, 0.6, 0.8, 0.4])


@given(PREDICTIONS)
def test_votes_agree_with_the_measures(answers):
    votes = count_votes(answers)
    assert votes.disagreement.mean() == pytest.approx(pair_mean(disagreement(answers)))
    counts = [np.unique(column, return_counts=True)[1] for column in answers.T]
    assert votes.flip_rate == pytest.approx([1 - count.max() / len(answers) for count in counts])
    assert votes.entropy == pytest.approx([stats.entropy(count) for count in counts], abs=1e-12)


@given(PREDICTIONS)
def test_the_order_of_the_runs_does_not_matter(answers):
    turned = count_votes(answers[::-1])
    assert turned.majority.tolist() == count_votes(answers).majority.tolist()
    assert turned.entropy.tolist() == count_votes(answers).entropy.tolist()


def test_a_summary_says_how_few_examples_hold_the_disagreement():
    agreed = np.ones((5, 16), dtype=int)
    found = summarize_flips(count_votes(np.hstack([ANSWERS, agreed])))
    # Two of twenty examples, those of 0.8 and 0.6, hold 1.4 of 1.8.
    assert (found.runs, found.examples, found.never, found.coin_toss) == (5, 20, 17, 2)
    assert found.top_share == pytest.approx(1.4 / 1.8)


def test_runs_that_agree_on_everything_have_no_share_to_tell():
    found = summarize_flips(count_votes([[0, 1, 2], [0, 1, 2]]))
    assert (found.never, found.coin_toss) == (3, 0)
    assert math.isnan(found.top_share)


def test_rows_name_texts_labels_and_votes_the_most_flipping_first():
    texts = {"e": {"texts": ["one", "two", "three", "four"], "labels": ["no", "yes", "maybe"]}}
    rows = flip_rows([cohort()], texts)
    assert [row.example for row in rows] == [2, 1, 3, 0]
    assert rows[0][:9] == ("m", "t", "standard", 2, "three", "no", "no", True, 0.6)
    assert [row.votes for row in rows] == ["no: 2, maybe: 2, yes: 1", "no: 3, yes: 2", "no: 4, yes: 1", "yes: 5"]
    assert [row.right for row in rows] == [True, False, True, True]
    # Every run leads by (e^3 - 1) / (e^3 + 2).
    assert [row.margin for row in rows] == pytest.approx([(math.e**3 - 1) / (math.e**3 + 2)] * 4)


def test_without_texts_classes_have_numbers_and_choices_are_called_so():
    assert flip_rows([cohort()], {})[3].votes == "class 1: 5"
    (row,) = [row for row in flip_rows([cohort(kind="choice", labels=None)], {}) if row.example == 0]
    assert (row.text, row.label, row.majority, row.right) == ("", "", "choice 1", None)


def test_generated_texts_vote_as_they_are():
    texts = [["a cat", "a dog"], ["a cat ", "the dog"], ["cat", "a dog"]]
    found = Cohort(generations=texts, references=["a cat", "dogs"], kind="generation")
    rows = flip_rows([found], {})
    assert [row.votes for row in rows] == ["a cat: 2, cat: 1", "a dog: 2, the dog: 1"]
    assert [(row.majority, row.label, row.right) for row in rows] == [
        ("a cat", "a cat", True),
        ("a dog", "dogs", False),
    ]
    assert all(math.isnan(row.margin) for row in rows)
    without = Cohort(generations=texts, kind="generation")
    assert {row.right for row in flip_rows([without], {})} == {None}


@pytest.mark.parametrize(
    "found",
    [
        Cohort(scores=np.array([0.1, 0.2])),
        Cohort(scores=np.array([0.1, 0.2]), logits=np.ones((2, 3, 1)), kind="regression"),
        cohort(ANSWERS[:1]),
    ],
)
def test_a_cohort_without_classes_or_of_one_run_has_no_flips(found):
    assert cohort_votes(found) is None
    assert flip_rows([found], {}) == []
