import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from saying import names, says

from steadytune.errors import UserError
from steadytune.tasks.labels import infer_labels, labelled, match_labels
from steadytune.tasks.tables import Table


def infer(train, validation=None, typed=True, **options):
    validation = train if validation is None else validation
    tables = [
        Table(f"{name}.jsonl", {"label": values}, list(range(1, len(values) + 1)), "line", typed)
        for name, values in (("train", train), ("validation", validation))
    ]
    return infer_labels(*tables, "label", **options)


def match(train, names, validation=None, typed=True):
    validation = train if validation is None else validation
    tables = [Table(name, {"label": values}, typed=typed) for name, values in (("t", train), ("v", validation))]
    return match_labels(*tables, "label", names)


@pytest.mark.parametrize(
    ("values", "names", "numbers"),
    [
        ([3, 1, 3], ("1", "3"), [1, 0, 1]),
        ([10, 9], ("9", "10"), [1, 0]),
        (["no", "yes", "no"], ("no", "yes"), [0, 1, 0]),
        (["10", "9"], ("10", "9"), [0, 1]),
        ([True, False], ("False", "True"), [1, 0]),
        ([1.0, 0.0], ("0", "1"), [1, 0]),
        ([1, 0.0], ("0", "1"), [1, 0]),
        ([-1, 1], ("-1", "1"), [0, 1]),
    ],
)
def test_classes_are_sorted_and_numbered(values, names, numbers):
    found, train, validation = infer(values)
    assert found == names
    assert train.tolist() == validation.tolist() == numbers
    assert train.dtype == np.int64


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (["10", "9"], ("9", "10")),
        (["1.0", "0.0"], ("0", "1")),
        (["1", "b"], ("1", "b")),
        (["True", "False"], ("False", "True")),
        (["None", "joy"], ("None", "joy")),
    ],
)
def test_spelled_labels_are_numbers_only_if_all_are(values, names):
    assert infer(values, typed=False)[0] == names


def test_the_spelling_is_judged_over_both_splits():
    assert infer(["1", "b"], ["1", "1"], typed=False)[2].tolist() == [0, 0]
    assert infer(["1", "2"], ["1.5", "2"], typed=False)[0] == ()


def test_fractions_in_either_split_make_a_regression():
    assert infer([0.5, 1.0])[0] == ()
    names, train, validation = infer([0.0, 1.0], [0.5, 1.0])
    assert names == ()
    assert train.tolist() == [0.0, 1.0]
    assert validation.dtype == np.float64


def test_many_different_floats_without_fractions_are_a_regression_and_many_integers_are_classes():
    assert infer([float(value) for value in range(21)])[0] == ()
    assert len(infer([float(value) for value in range(20)])[0]) == 20
    assert len(infer(list(range(50)))[0]) == 50


def test_integers_can_be_taken_as_targets_but_words_and_booleans_cannot():
    assert infer([1, 2, 3], regression=True)[0] == ()
    assert infer(["a", "b"], regression=True)[0] == ("a", "b")
    assert infer([True, False], regression=True)[0] == ("False", "True")


@pytest.mark.parametrize(
    ("train", "validation", "said"),
    [
        ([1, 1], None, ["train.jsonl", "'label'", "1"]),
        ([0.5, 0.5], None, ["train.jsonl", "'label'", "0.5"]),
        (
            [0, None, 1],
            None,
            ["train.jsonl, line 2", "'label'", "--set task.no_label=nan"],
        ),
        ([0, 1], [0, float("nan"), None], ["validation.jsonl, line 2", "'label'", "1"]),
        ([0, 1], [0, 2], ["validation.jsonl, line 2", "label 2", "train.jsonl", "0, 1"]),
        ([0, 1], [-1, -1], ["validation.jsonl", "label", "-1"]),
        ([-1, -1], [0, 1], ["train.jsonl", "label", "-1"]),
        ([0.5, 1.5], [-1.0, -1.0], ["validation.jsonl", "label", "-1"]),
        ([0, "a"], None, ["train.jsonl, line 2", "'a'", "string", "train.jsonl, line 1", "0", "number"]),
        ([True, 1], None, ["train.jsonl, line 2", "1", "number", "train.jsonl, line 1", "True", "boolean"]),
        ([0, 1], ["0", "1"], ["validation.jsonl, line 1", "'0'", "string"]),
        ([[0], [1]], None, ["line 1", "[0]", "'label'"]),
        ([0.5, float("inf")], None, ["line 2", "inf", "'label'"]),
        ([0.5, int("9" * 400)], None, ["line 2", "9999", "'label'"]),
    ],
)
def test_bad_labels_are_named_with_their_line(train, validation, said):
    with pytest.raises(UserError, match=says(*said)) as error:
        infer(train, validation)
    assert str(error.value).count("\n") == 0


@pytest.mark.parametrize("null", ["NA", "nan", "NULL", None])
def test_a_null_among_spelled_numbers_is_a_missing_label(null):
    with pytest.raises(UserError, match=says("train.jsonl, line 2", "label", "task.no_label")):
        infer(["0", null, "1"], typed=False)


def test_a_validation_class_called_minus_one_is_allowed_where_training_has_it():
    assert infer([-1, 1], [-1, -1])[2].tolist() == [0, 0]


def test_a_missing_label_column_names_the_option():
    rows = Table("t", {"text": ["a"], "target": [0]})
    with pytest.raises(UserError, match=says("t", "'label'", "text, target", "--set task.label=NAME")):
        infer_labels(rows, rows, "label")


@pytest.mark.parametrize("values", [[0, 1], ["entailment", "not_entailment"], [0.0, 1.0]])
def test_benchmark_labels_may_be_numbers_or_names(values):
    names = ("entailment", "not_entailment")
    assert match(values, names)[1].tolist() == [0, 1]
    assert match(values, names)[0] == names
    assert match([str(value) for value in values], names, typed=False)[2].tolist() == [0, 1]


def test_booleans_match_the_classes_false_and_true():
    assert match([True, False], ("False", "True"))[1].tolist() == [1, 0]


def test_a_class_that_training_lacks_is_known_all_the_same():
    names, train, validation = match([0, 1], ("a", "b", "c"), [2])
    assert (names, train.tolist(), validation.tolist()) == (("a", "b", "c"), [0, 1], [2])


@pytest.mark.parametrize("wrong", [2, 0.5, -2])
def test_a_label_that_the_benchmark_does_not_have_is_named(wrong):
    with pytest.raises(UserError, match=says("t, row 3", f"label {wrong}", "a, b")):
        match([0, 1, wrong], ("a", "b"))


def test_hidden_benchmark_labels_are_recognised():
    with pytest.raises(UserError, match=says("v: ", "label", "-1")):
        match([0, 1], ("a", "b"), [-1, -1])


def test_hidden_labels_are_recognised_beside_words():
    with pytest.raises(UserError, match=says("v: ", "label", "-1")):
        match(["a", "b"], ("a", "b"), ["-1", "-1"], typed=False)


def test_a_benchmark_regression_takes_numbers_only():
    assert match([1, 2, 5], ())[1].dtype == np.float64
    with pytest.raises(UserError, match=says("'label'", "number")):
        match(["a", "b"], ())


@given(
    st.lists(st.one_of(st.integers(-5, 5), st.sampled_from([0.0, 1.0, 2.0])), min_size=2).filter(
        lambda v: len(set(v)) > 1
    )
)
def test_the_name_of_each_number_is_the_label_that_it_stands_for(values):
    if set(values) == {-1}:
        return
    names, train, _ = infer(values)
    assert [int(names[number]) for number in train] == values


def keep(train, validation=None, no_label=None, known=None, typed=True):
    """Return what remains of the labels of both splits, and the notes of the first."""
    validation = train if validation is None else validation
    tables = [
        Table(n, {"label": v, "row": list(range(len(v)))}, typed=typed) for n, v in (("t", train), ("v", validation))
    ]
    found = labelled(*tables, "label", no_label, known)
    return found[0].columns["label"], found[1].columns["label"], found[0].notes


@pytest.mark.parametrize("mark", [-1, -1.0])
def test_minus_one_beside_three_classes_is_no_label(mark):
    train, validation, notes = keep([0, 1, 2, mark, 0], [2, 1, 0])
    assert train == [0, 1, 2, 0]
    assert validation == [2, 1, 0]
    assert names(notes[0], "1 of 5 rows", "-1")


@pytest.mark.parametrize("labels", [[-1, 1], [-2, -1, 0, 1, 2], [-1, 0], [-1, 0.5, 2], [-100, -50, 50]])
def test_minus_one_may_be_a_class(labels):
    assert keep(labels)[0] == labels


@pytest.mark.parametrize(
    ("labels", "mark"),
    [
        (["0", "1", "-"], "-"),
        (["0", "1", "2", "-"], "-"),
        (["0.5", "1.5", "-"], "-"),
        (["1", "2", "3", "-1"], "-1"),
        (["0", "1", "3", "-1"], "-1"),
        (["0.0", "1.0", "2.0", "-1.0"], "-1"),
        (["pos", "neg", "-1"], "-1"),
        (["pos", "neg", -1], "-1"),
        ([0, 1, -100], "-100"),
        (["0", "1", "2", "-100"], "-100"),
        ([-1, 1, -100], "-100"),
    ],
)
def test_what_means_no_label_is_left_aside_and_said(labels, mark):
    train, _, notes = keep(labels, typed=not isinstance(labels[-1], str))
    assert train == labels[:-1]
    assert names(notes[0], f"1 of {len(labels)} rows", mark)


@pytest.mark.parametrize("word", ["n/a", "None", "?", "unknown", "NA"])
@pytest.mark.parametrize("others", [["pos", "neg"], ["FAVOR", "AGAINST", "-1"]])
def test_a_word_that_may_mean_that_there_is_no_label_is_a_question(word, others):
    with pytest.raises(UserError, match=says("row 4", repr(word), "\n", "task.no_label=", "never")):
        keep([others[0], *others[:2], word, *others[2:]])
    assert keep([*others, word], no_label=word)[0] == others
    assert keep([*others, word], no_label="never")[0] == [*others, word]
    assert keep(["known", word])[0] == ["known", word]


def test_a_question_mark_among_numbers_is_a_question_and_a_null_is_missing_by_its_own_name():
    with pytest.raises(UserError, match=says("row 3", "'?'", "task.no_label")):
        keep(["0", "1", "?"], typed=False)
    assert keep(["0", "1", "n/a"], typed=False)[0] == ["0", "1", "n/a"]
    with pytest.raises(UserError, match=says("line 3", "label", "--set task.no_label=n/a")):
        infer(["0", "1", "n/a"], typed=False)
    assert keep(["0", "1", "n/a"], typed=False, no_label="n/a")[0] == ["0", "1"]


def test_marks_without_width_are_no_part_of_a_label():
    labels = ["pos", "po\u200bs", "\ufeffpos", "neg\u200d", "neg \u200e"]
    train, _, notes = keep(labels, typed=False)
    assert train == ["pos", "pos", "pos", "neg", "neg"]
    assert "4 labels" in notes[0]
    family, flag = "\U0001f468\u200d\U0001f469", "\U0001f3f4\U000e0067\U000e007f"
    assert keep([family, flag], typed=False)[0] == [family, flag]


def test_a_mark_for_no_label_that_no_row_has_is_refused():
    with pytest.raises(UserError, match=says("t: ", "task.no_label", "'unknown'", "'label'")):
        keep(["a", "b"], no_label="unknown")
    assert keep(["a", "b"], ["a", "unknown"], no_label="unknown")[1] == ["a"]
    assert keep([0.0, 1.0, -1.0], no_label="-1")[0] == [0.0, 1.0]


def test_minus_one_beside_zero_and_one_is_a_question():
    with pytest.raises(UserError, match=says("row 3", "-1", "\n", "task.no_label=-1")):
        keep([0, 1, -1])
    assert keep([0, 1, -1], no_label="-1")[0] == [0, 1]
    assert keep([0, 1, -1], no_label="never")[0] == [0, 1, -1]


def test_a_dash_among_words_is_no_label_but_beside_a_plus_a_class():
    assert keep(["a", "-", "b"])[0] == ["a", "b"]
    assert keep(["+", "-", "+"])[0] == ["+", "-", "+"]


def test_rows_keep_their_names_when_others_are_left_aside():
    table = Table("t.jsonl", {"label": [0, 1, -1, 2]}, [3, 5, 7, 9], "line")
    assert labelled(table, table, "label")[0].where(2) == "t.jsonl, line 9"


def test_white_space_is_no_part_of_a_label():
    train, _, notes = keep(["pos", "pos ", "neg", "\u00a0pos"], typed=False)
    assert train == ["pos", "pos", "neg", "pos"]
    assert "2 labels" in notes[0]


def test_labels_that_differ_in_capitals_alone_are_refused():
    with pytest.raises(UserError, match=says("train.jsonl, line 3", "'Pos'", "'pos'")):
        infer(["pos", "neg", "Pos"])


@pytest.mark.parametrize("null", ["nan", "NaN", "null", ""])
def test_what_other_programs_write_for_nothing_is_no_class(null):
    train = keep(["a", null, "b"], typed=False)[0]
    assert train == ["a", None, "b"]
    assert keep(["a", null, "b"], typed=False, no_label="nan")[0] == ["a", "b"]


def test_decimal_commas_of_a_semicolon_file_are_numbers_and_others_are_refused():
    tables = [Table("t", {"label": ["0,5", "1,0", "2"]}, typed=False, delimiter=";") for _ in range(2)]
    assert infer_labels(*tables, "label")[1].tolist() == [0.5, 1.0, 2.0]
    with pytest.raises(UserError, match=says("'0,5'", "decimal comma")):
        infer(["0,5", "1,0"])


def test_digits_with_an_underscore_are_words():
    assert infer(["1_0", "2_0"], typed=False)[0] == ("1_0", "2_0")


def test_the_likely_label_is_suggested():
    table = Table("t", {"text": ["a"], "gold_label": ["x"]})
    with pytest.raises(UserError, match=says("'label'", "task.label=gold_label")):
        labelled(table, table, "label")
