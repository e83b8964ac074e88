"""Sets of labels from files: lists of names or numbers, switches, and columns of 0 and 1; and what is refused."""

import json

import numpy as np
import pytest
from saying import says

from steadytune.errors import UserError
from steadytune.study import TaskSpec, Training
from steadytune.tasks import load_task
from steadytune.tasks.data_facts import data_facts
from steadytune.tasks.splits import split

ROWS = [
    {"text": "a film of a race", "labels": ["art", "sport"]},
    {"text": "rain", "labels": []},
    {"text": "a race", "labels": ["sport"]},
]
SETS = [[1, 1], [0, 0], [0, 1]]
SWITCHED = [
    {"comment_text": row["text"], "toxic": one, "rude": other} for row, (one, other) in zip(ROWS, SETS, strict=True)
]


@pytest.fixture
def written(tmp_path):
    def write(train, validation=None, suffix="json", **spec):
        for name, rows in (("train", train), ("validation", train if validation is None else validation)):
            text = rows if isinstance(rows, str) else json.dumps(rows)
            (tmp_path / f"{name}.{suffix}").write_text(text, encoding="utf-8")
        return load_task(TaskSpec(name=str(tmp_path), **spec))

    return write


def test_a_column_of_lists_makes_a_task_of_sets(written):
    task = written(ROWS)

    assert (task.kind, task.metric, task.label_names) == ("multilabel", "f1_micro", ("art", "sport"))
    assert task.extra_metrics == ("f1_macro", "subset_accuracy")
    assert task.train.labels.tolist() == SETS
    assert (task.num_outputs, task.reading.label) == (2, "labels")


@pytest.mark.parametrize(
    "labels",
    [
        [[0, 1], [], [1]],
        [[1, 1], [0, 0], [0, 1]],
        ["['art', 'sport']", "[]", '["sport"]'],
    ],
)
def test_numbers_switches_and_spelled_lists_are_the_same_sets(written, labels):
    task = written([{**row, "labels": one} for row, one in zip(ROWS, labels, strict=True)])

    assert task.train.labels.tolist() == SETS


def test_two_switches_are_no_numbers_even_if_each_row_has_one_label(written):
    task = written([{"text": str(at), "labels": one} for at, one in enumerate([[0, 1], [1, 0], [0, 1]])])

    assert task.train.labels.tolist() == [[0, 1], [1, 0], [0, 1]]


def test_columns_of_0_and_1_are_named_by_the_user_and_suggested(written):
    with pytest.raises(UserError, match=says("'label'", "toxic, rude", "task.labels")):
        written(SWITCHED)
    task = written(SWITCHED, labels=("toxic", "rude"))
    assert (task.label_names, task.train.labels.tolist()) == (("toxic", "rude"), SETS)
    assert task.reading.columns == ("comment_text",)


def test_columns_of_a_csv_file_too(written):
    csv = "comment_text,toxic,rude\n" + "".join(
        f"{row['comment_text']},{row['toxic']},{row['rude']}\n" for row in SWITCHED
    )
    assert written(csv, suffix="csv", labels=("toxic", "rude")).train.labels.tolist() == SETS


@pytest.mark.parametrize(
    ("train", "validation", "spec", "told"),
    [
        (ROWS, [{"text": "b", "labels": ["news"]}], {}, ["validation", "row 1", "'news'", "train", "art, sport"]),
        (ROWS, [{"text": "b", "labels": "art"}], {}, ["validation", "row 1", "'art'", "list"]),
        ([{"text": "b", "labels": ["a", "a"]}, *ROWS], None, {}, ["row 1", "twice"]),
        ([{"text": "b", "labels": [1]}, *ROWS], None, {}, ["numbers", "words"]),
        ([*ROWS, {"text": "b", "labels": ["art", None]}], None, {}, ["train", "row 4", "None", "'labels'"]),
        ([*ROWS, {"text": "b", "labels": None}], None, {}, ["train", "row 4", "'labels'", "missing", "[]"]),
        (ROWS, [ROWS[0], {"text": "b", "labels": [None]}], {}, ["validation", "row 2", "None", "'labels'"]),
        (
            [{"text": "b", "labels": one} for one in ([1, 0, 0], [0, 1, 0], [1, 1])],
            None,
            {},
            ["train", "row 3", "[1, 1]", "2", "3"],
        ),
        (
            [{"text": "b", "labels": one} for one in ([1, 0, 0], [0, 1, 1])],
            [{"text": "b", "labels": [0, 0, 1]}, {"text": "c", "labels": [0, 0, 0, 1]}],
            {},
            ["validation", "row 2", "4", "3"],
        ),
        ([{"text": "b", "labels": ["a"]}, {"text": "c", "labels": []}], None, {}, ["only the label a", "two"]),
        (SWITCHED, [{**SWITCHED[0], "rude": 2}], {"labels": ("toxic", "rude")}, ["row 1", "'rude'", "2", "0 or 1"]),
        (SWITCHED, None, {"labels": ("toxic", "kind")}, ["'kind'", "toxic"]),
        (SWITCHED, None, {"labels": ("toxic",)}, ["toxic", "two"]),
        (
            [{**row, "rude": 0} for row in SWITCHED],
            SWITCHED,
            {"labels": ("toxic", "rude")},
            ["validation", "row 1", "'rude'", "train"],
        ),
        (SWITCHED, None, {"kind": "multilabel"}, ["'label'", "toxic, rude", "task.labels"]),
        (ROWS, None, {"positive": "art"}, ["task.positive", "one class"]),
        (ROWS, None, {"metric": "accuracy"}, ["accuracy", "multilabel", "f1_micro"]),
    ],
)
def test_bad_rows_and_settings_are_named(written, train, validation, spec, told):
    with pytest.raises(UserError, match=says(*told)):
        written(train, validation, **spec)


def test_the_labels_count_in_the_fingerprint(written):
    assert written(ROWS).fingerprint != written([{**ROWS[0], "labels": ["art"]}, *ROWS[1:]]).fingerprint


def test_data_are_counted_by_example_and_labels_that_training_lacks_are_named(written):
    rows = [{"text": f"text {at}", "labels": ["a"] if at else ["a", "b"]} for at in range(8)]
    task = written(rows)
    splits = split(task, Training(train_size=3, split_seed=2))
    facts = data_facts(task, splits)

    assert "3 for training, 8 measured" in facts.described()[0]
    assert facts.measured == (8, 1)
    lacking = not splits.train.labels[:, 1].any()
    assert any(rule == "untrained-class" and "b" in found for rule, _, _, found in facts.problems()) == lacking
    assert lacking
    with pytest.raises(UserError, match=says("stratified", "several")):
        split(task, Training(train_size=3, split="stratified"))


def test_class_names_of_a_parquet_file_are_used(tmp_path):
    import datasets

    features = datasets.Features(
        text=datasets.Value("string"), labels=datasets.Sequence(datasets.ClassLabel(names=["joy", "fear", "none"]))
    )
    rows = {"text": ["a", "b", "c"], "labels": [[0], [1, 0], [2]]}
    for name in ("train", "validation"):
        datasets.Dataset.from_dict(rows, features=features).to_parquet(str(tmp_path / f"{name}.parquet"))
    task = load_task(TaskSpec(name=str(tmp_path)))

    assert task.label_names == ("joy", "fear", "none")
    assert np.array_equal(task.train.labels, [[1, 0, 0], [1, 1, 0], [0, 0, 1]])
