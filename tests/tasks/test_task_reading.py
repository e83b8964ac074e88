import pytest
from hypothesis import given
from hypothesis import strategies as st
from saying import says

from steadytune.errors import UserError
from steadytune.tasks.reading import group_multirc, group_record, normalise_answer, token_f1
from steadytune.tasks.tables import Table

RECORD = Table(
    "record",
    {
        "passage": ["The U.S. beat Mexico City.\n@highlight\nA win", 'He said "no"\n@highlight\nJoe and Ann Lee'],
        "query": ["Fans of @placeholder cheered.", "It was @placeholder, not the other @placeholder."],
        "entities": [["U.S.", "Mexico City", "U.S."], ["Joe", "Ann Lee"]],
        "answers": [["US"], ["Ann", "the Lee"]],
    },
)


def test_answers_are_compared_without_case_punctuation_articles_and_spaces():
    assert normalise_answer("  The U.S.'s  a-Team, an apple ") == "uss ateam apple"


@pytest.mark.parametrize(
    ("prediction", "answer", "value"),
    [("mexico city", "mexico city", 1.0), ("mexico", "mexico city", 2 / 3), ("a a b", "a c", 0.4), ("x", "y", 0.0)],
)
def test_token_f1_by_hand(prediction, answer, value):
    assert token_f1(prediction, answer) == pytest.approx(value)


def test_token_f1_of_nothing_is_zero():
    assert token_f1("", "") == 0.0


@given(st.text("ab ", max_size=12), st.text("ab ", max_size=12))
def test_token_f1_is_symmetric_and_at_most_one(first, second):
    assert token_f1(first, second) == token_f1(second, first)
    assert 0 <= token_f1(first, second) <= 1


def test_record_makes_a_row_per_entity_with_its_label_and_credit():
    table, questions, credit, groups = group_record(RECORD, "label")
    assert table.columns["query"] == [
        "Fans of U.S. cheered.",
        "Fans of Mexico City cheered.",
        "It was Joe, not the other Joe.",
        "It was Ann Lee, not the other Ann Lee.",
    ]
    assert table.columns["label"] == [1, 0, 0, 0]
    assert questions.tolist() == groups.tolist() == [0, 0, 1, 1]
    # "ann lee" shares one word with "ann" and one with "lee": 2 * 1 / (2 + 1) with either.
    assert credit.tolist() == pytest.approx([1.0, 0.0, 0.0, 2 / 3])


def test_the_highlights_of_a_record_passage_become_sentences():
    passages = group_record(RECORD, "label").table.columns["passage"]
    assert passages[0] == "The U.S. beat Mexico City. A win"
    assert passages[2] == 'He said "no" Joe and Ann Lee'


def test_record_rows_remember_where_they_stood():
    table = group_record(Table("record.jsonl", RECORD.columns, [4, 9], "line"), "label").table
    assert table.where(3) == "record.jsonl, line 9"
    assert group_record(RECORD, "label").table.where(3) == "record, row 2"


def test_record_needs_its_columns():
    with pytest.raises(UserError, match=says("record", "'entities'", "passage, query")) as error:
        group_record(Table("record", {"passage": ["a"], "query": ["b"]}), "label")
    assert "--set" not in str(error.value)


def test_multirc_answers_are_grouped_by_paragraph_and_question():
    index = [{"paragraph": p, "question": q, "answer": a} for p, q, a in [(0, 0, 0), (0, 1, 0), (1, 0, 0), (0, 0, 1)]]
    table = Table("multirc", {"paragraph": ["p"] * 4, "question": ["q"] * 4, "answer": ["a"] * 4, "idx": index})
    found = group_multirc(table, "label")
    assert found.questions.tolist() == [0, 1, 2, 0]
    assert found.groups.tolist() == [0, 0, 1, 0]


def test_multirc_answers_without_indices_are_grouped_by_their_texts():
    table = Table("multirc", {"paragraph": ["p", "p", "r", "p"], "question": ["q", "s", "q", "q"], "answer": ["a"] * 4})
    found = group_multirc(table, "label")
    assert found.questions.tolist() == [0, 1, 2, 0]
    assert found.groups.tolist() == [0, 0, 1, 0]
