import pytest
from saying import says

from steadytune.errors import UserError
from steadytune.tasks.inputs import infer_layout, named_layout
from steadytune.tasks.layouts import COPA, WIC, WSC, pair, single
from steadytune.tasks.tables import Table


def table(typed=True, **columns):
    return Table("train.csv", columns, typed=typed)


def columns(*names):
    return table(**{name: ["some text"] for name in names}, label=[0])


@pytest.mark.parametrize(
    ("names", "fields"),
    [
        (["idx", "sentence"], ("sentence",)),
        (["text", "label_text"], ("text",)),
        (["sentence2", "word", "sentence1"], ("word", "sentence1", "sentence2")),
        (["span1_text", "span2_text", "sentence1", "sentence2"], ("sentence1", "sentence2")),
        (["hypothesis", "premise"], ("premise", "hypothesis")),
        (["question", "sentence"], ("question", "sentence")),
        (["question", "passage"], ("passage", "question")),
        (["question1", "question2", "id"], ("question1", "question2")),
        (["premise", "choice1", "choice2", "question"], ("premise", "choice1", "choice2", "question")),
        (["text", "span1_text", "span2_text"], ("text", "span2_text", "span1_text")),
        (["headline"], ("headline",)),
        (["guid", "headline", "body", "doc_id"], ("headline", "body")),
    ],
)
def test_text_columns_are_recognised(names, fields):
    assert infer_layout(columns(*names), "label").fields == fields


def test_numbers_are_no_text_even_where_everything_is_spelled():
    spelled = table(typed=False, body=["a", "b"], length=["1", "2.5"], label=["0", "1"])
    assert infer_layout(spelled, "label").fields == ("body",)


def test_a_known_name_that_is_the_label_is_no_text():
    rows = table(review=["bad", "good"], sentence=["a", "b"])
    assert infer_layout(rows, "sentence").fields == ("review",)


def test_too_many_text_columns_are_named_with_the_way_out():
    with pytest.raises(UserError, match=says("3 text columns", "a, b, c", "--set task.columns='[a, b]'")):
        infer_layout(columns("a", "b", "c"), "label")


def test_no_text_column_is_an_error():
    with pytest.raises(UserError, match=says("train.csv", "text column", "x", "--set task.columns='[x]'")):
        infer_layout(table(x=[1.5], label=[0]), "label")


def test_one_or_two_columns_can_be_named():
    assert named_layout(("b",), "label").candidates(columns("a", "b")) == ((("some text", None),),)
    assert named_layout(("b", "a"), "label").fields == ("b", "a")


@pytest.mark.parametrize(
    ("columns", "said"),
    [((), ["task.columns", "0"]), (("a", "b", "c"), ["task.columns", "3"]), (("label",), ["task.columns", "'label'"])],
)
def test_named_columns_are_checked(columns, said):
    with pytest.raises(UserError, match=says(*said)):
        named_layout(columns, "label")


def test_copa_puts_the_question_after_the_premise_and_makes_one_input_per_choice():
    rows = table(
        premise=["It rained.", "He fell."],
        choice1=["The street was dry.", "He slipped."],
        choice2=["The street was wet.", "He flew."],
        question=["effect", "cause"],
    )
    assert COPA.candidates(rows) == (
        (
            ("It rained. What happened as a result?", "The street was dry."),
            ("It rained. What happened as a result?", "The street was wet."),
        ),
        (("He fell. What was the cause of this?", "He slipped."), ("He fell. What was the cause of this?", "He flew.")),
    )


def test_an_unknown_copa_question_is_named_with_its_row():
    rows = table(premise=["a"], choice1=["b"], choice2=["c"], question=["reason"])
    with pytest.raises(UserError, match=says("train.csv, row 1", "'reason'", "cause, effect")):
        COPA.candidates(rows)


def test_the_word_of_wic_and_the_spans_of_wsc_are_told_to_the_model():
    wic = table(word=["bank"], sentence1=["By the bank."], sentence2=["At the bank."])
    assert WIC.candidates(wic) == ((("bank: By the bank.", "At the bank."),),)
    wsc = table(text=["Ann saw Bo. She left."], span1_text=["Ann"], span2_text=["She"])
    assert WSC.candidates(wsc) == ((("Ann saw Bo. She left.", "She refers to Ann"),),)


@pytest.mark.parametrize("value", [None, float("nan"), " "])
def test_a_missing_text_is_named_with_its_row_and_how_many_there_are(value):
    rows = Table("train.csv", {"text": ["a", value, "b", value], "label": [0, 1, 0, 1]}, [2, 3, 4, 5], "line")
    with pytest.raises(UserError, match=says("train.csv, line 3", "'text'", "1")):
        single("text").candidates(rows)


def test_benchmarks_may_hold_blank_texts_but_no_missing_ones():
    assert single("text").candidates(table(text=[""]), allow_blank=True) == ((("", None),),)
    with pytest.raises(UserError, match=r"train.csv, row 1\D*'text'\D*$"):
        single("text").candidates(table(text=[None]), allow_blank=True)


def test_a_text_that_is_no_text_is_named():
    with pytest.raises(UserError, match=says("row 2", "'b'", "5")):
        pair("a", "b").candidates(table(a=["x", "y"], b=["z", 5]))


def test_a_missing_column_names_those_that_are_there():
    with pytest.raises(UserError, match=says("train.csv", "'b'", "a, label", "--set task.columns='[a, b]'")):
        pair("a", "b").candidates(table(a=["x"], label=[0]))
