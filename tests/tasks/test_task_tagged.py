"""Tagged words from files: columns of words and tags, texts with spans, a word a line; and what is refused."""

import json

import numpy as np
import pytest
from saying import says

from steadytune.errors import UserError
from steadytune.study import TaskSpec, Training
from steadytune.tasks import load_task
from steadytune.tasks.data_facts import data_facts
from steadytune.tasks.splits import split
from steadytune.tasks.tables import read_table

ROWS = [
    {"tokens": ["Ann", "saw", "New", "York"], "ner_tags": ["B-PER", "O", "B-LOC", "I-LOC"]},
    {"tokens": ["Bob", "left"], "ner_tags": ["B-PER", "O"]},
    {"tokens": ["It", "rains", "."], "ner_tags": ["O", "O", "O"]},
]
CONLL = (
    "-DOCSTART- -X- O\n\nAnn NNP B-PER\nsaw VBD O\n\n# id 7\n# id other\nRome NNP B-LOC\n\n-DOCSTART- -X- O\n\n# NN O\n"
)


@pytest.fixture
def written(tmp_path):
    def write(train, validation=None, suffix="json", **spec):
        for name, rows in (("train", train), ("validation", train if validation is None else validation)):
            # As an array: a single line of lists could as well be an object of columns.
            text = rows if isinstance(rows, str) else json.dumps(rows)
            (tmp_path / f"{name}.{suffix}").write_text(text, encoding="utf-8")
        return load_task(TaskSpec(name=str(tmp_path), **spec))

    return write


def tags_of(task, split="train"):
    return [tuple(task.label_names[one] for one in labels) for labels in getattr(task, split).labels]


def test_columns_of_words_and_tags_make_a_task_of_tokens(written):
    task = written(ROWS)

    assert (task.kind, task.metric, task.extra_metrics) == ("tokens", "entity_f1", ("accuracy", "f1_macro"))
    assert task.label_names == ("B-LOC", "B-PER", "I-LOC", "O")
    assert task.train.parts[0] == ("Ann", "saw", "New", "York")
    assert task.train.candidates[0] == (("Ann saw New York", None),)
    assert tags_of(task) == [tuple(row["ner_tags"]) for row in ROWS]
    assert (task.reading.columns, task.reading.label) == (("tokens",), "ner_tags")


def test_the_same_task_by_another_way_has_the_same_content(written, tmp_path):
    task = written(ROWS)
    lines = "\n\n".join(
        "\n".join(f"{word}\t{tag}" for word, tag in zip(row["tokens"], row["ner_tags"], strict=True)) for row in ROWS
    )
    (tmp_path / "train.json").unlink()
    (tmp_path / "validation.json").unlink()
    for suffix in ("conll", "txt", "iob"):
        assert written(lines + "\n", suffix=suffix).fingerprint == task.fingerprint
        for name in ("train", "validation"):
            (tmp_path / f"{name}.{suffix}").unlink()
    csv = "tokens,tags\n" + "".join(f'"{row["tokens"]}","{row["ner_tags"]}"\n' for row in ROWS)
    assert written(csv, suffix="csv").fingerprint == task.fingerprint
    spaced = "sentence,tag\n" + "".join(f"{' '.join(row['tokens'])},{' '.join(row['ner_tags'])}\n" for row in ROWS)
    asked = {"kind": "tokens", "columns": ("words",), "label": "tag"}
    assert written(spaced.replace("sentence", "words"), suffix="csv", **asked).fingerprint == task.fingerprint


def test_a_change_of_a_tag_is_another_task(written):
    before = written(ROWS).fingerprint
    assert written([{**ROWS[0], "ner_tags": ["O", "O", "B-LOC", "I-LOC"]}, *ROWS[1:]]).fingerprint != before


@pytest.mark.parametrize(
    "spans",
    [
        [[0, 3, "PER"], [8, 16, "LOC"]],
        [{"start": 0, "end": 3, "label": "PER"}, {"start": 8, "end": 16, "label": "LOC"}],
        {"start": [0, 8], "end": [3, 16], "label": ["PER", "LOC"]},
        [{"start_offset": 8, "end_offset": 16, "type": "LOC"}, {"start_offset": 0, "end_offset": 3, "type": "PER"}],
        [["PER", 0, 3], ["LOC", 8, 16]],
    ],
)
def test_spans_in_a_text_become_tags_of_its_words(written, spans):
    task = written([{"text": "Ann saw New York.", "entities": spans}, {"text": "Rain!", "entities": []}])

    assert task.train.parts == (("Ann", "saw", "New", "York", "."), ("Rain", "!"))
    assert tags_of(task) == [("B-PER", "O", "B-LOC", "I-LOC", "O"), ("O", "O")]


def test_a_span_that_cuts_a_word_takes_it_whole_and_that_is_said(written):
    task = written([{"text": "Ann saw Romans", "label": [[0, 3, "PER"], [8, 12, "LOC"]]}])

    assert tags_of(task) == [("B-PER", "O", "B-LOC")]
    assert any("1 spans" in note and "widened" in note for note in task.reading.notes)


@pytest.mark.parametrize(
    ("spans", "told"),
    [
        ([[0, 3, "PER"], [0, 7, "X"]], ["row 1", "two spans", "'Ann'"]),
        ([[0, 99, "PER"]], ["row 1", "99", "7 characters"]),
        ([[3, 4, "PER"]], ["row 1", "no word"]),
        ({"start": 0, "end": 3}, ["text", "words"]),
        ([[0, 3]], ["text", "words"]),
    ],
)
def test_spans_that_make_no_tags_are_refused(written, spans, told):
    with pytest.raises(UserError, match=says(*told)):
        written([{"text": "Ann saw", "spans": spans}], kind="tokens")


def test_class_names_of_a_parquet_file_are_used(tmp_path):
    import datasets

    features = datasets.Features(
        tokens=datasets.Sequence(datasets.Value("string")),
        ner_tags=datasets.Sequence(datasets.ClassLabel(names=["O", "B-PER", "I-PER"])),
    )
    rows = {"tokens": [["Ann", "left"], ["It", "rains"]], "ner_tags": [[1, 0], [0, 0]]}
    for name in ("train", "validation"):
        datasets.Dataset.from_dict(rows, features=features).to_parquet(str(tmp_path / f"{name}.parquet"))
    task = load_task(TaskSpec(name=str(tmp_path)))

    assert (task.label_names, task.metric) == (("O", "B-PER", "I-PER"), "entity_f1")
    assert tags_of(task) == [("B-PER", "O"), ("O", "O")]


def test_tags_that_mark_no_entities_are_scored_by_accuracy_and_that_is_said(written):
    task = written([{"words": ["a", "b"], "pos_tags": [3, 5]}])

    assert (task.metric, task.extra_metrics, task.label_names) == ("accuracy", ("f1_macro",), ("3", "5"))
    assert any("entities" in note for note in task.reading.notes)
    with pytest.raises(UserError, match=says("entity_f1", "accuracy", "tokens")):
        written([{"words": ["a", "b"], "pos_tags": [3, 5]}], metric="entity_f1")


def test_several_columns_of_tags_are_a_question(written):
    rows = [{**row, "pos_tags": row["ner_tags"]} for row in ROWS]
    with pytest.raises(UserError, match=says("pos_tags", "ner_tags", "task.label")):
        written(rows)
    assert written(rows, label="ner_tags").metric == "entity_f1"


@pytest.mark.parametrize(
    ("train", "validation", "told"),
    [
        ([*ROWS, {"tokens": ["a", "b"], "ner_tags": ["O"]}], None, ["row 4", "2 words", "1 tags"]),
        (ROWS, [{"tokens": ["a"], "ner_tags": ["B-ORG"]}], ["validation", "row 1", "'B-ORG'", "train", "B-PER"]),
        (ROWS, [{"tokens": ["a"], "ner_tags": [None]}], ["validation", "row 1", "None"]),
        ([{"tokens": ["a", "b"], "ner_tags": [0, -100]}], None, ["row 1", "-100", "words"]),
        ([{"tokens": ["a", 3], "ner_tags": ["O", "B-X"]}], None, ["row 1", "3", "word"]),
        ([{"tokens": ["a", "b"], "ner_tags": ["O", "O"]}], None, ["'O'", "two"]),
        ([{"tokens": [], "ner_tags": []}], None, ["no row", "tokens"]),
        ([{"tokens": ["a", "b"], "ner_tags": ["O", 1]}], None, ["ner_tags", "numbers", "words"]),
    ],
)
def test_bad_rows_are_named(written, train, validation, told):
    with pytest.raises(UserError, match=says(*told)):
        written(train, validation)


def test_sentences_without_words_are_skipped_and_that_is_said(written):
    task = written([*ROWS, {"tokens": [], "ner_tags": []}])

    assert len(task.train) == 3
    assert any("1 row" in note for note in task.reading.notes)


def test_an_inner_tag_may_occur_in_evaluation_alone_if_its_entity_was_trained(written):
    train = [{"tokens": ["Rome", "fell"], "ner_tags": ["B-LOC", "O"]}]
    task = written(train, [{"tokens": ["New", "York"], "ner_tags": ["B-LOC", "I-LOC"]}])

    assert task.label_names == ("B-LOC", "I-LOC", "O")
    facts = data_facts(task, split(task, Training()))
    assert any("I-LOC" in found for rule, _, _, found in facts.problems() if rule == "untrained-class")


def test_settings_of_other_kinds_are_refused(written):
    for setting in ({"positive": "O"}, {"no_label": "O"}):
        with pytest.raises(UserError, match=says(f"task.{next(iter(setting))}", "one class")):
            written(ROWS, **setting)
    with pytest.raises(UserError, match=says("task.kind", "classification", "regression")):
        written([{"text": "a", "label": "x"}, {"text": "b", "label": "y"}], kind="regression")
    with pytest.raises(UserError, match=says("task.kind", "acceptability")):
        load_task(TaskSpec(name="acceptability", kind="tokens"))
    with pytest.raises(UserError, match=says("'token'", "'tokens'")):
        written(ROWS, kind="token")


def test_a_file_of_lines_tells_columns_documents_and_comments(tmp_path):
    (tmp_path / "train.txt").write_text(CONLL)
    table = read_table(tmp_path / "train.txt")

    assert table.columns["tokens"] == [["Ann", "saw"], ["Rome"], ["#"]]
    assert table.columns["column_2"] == [["NNP", "VBD"], ["NNP"], ["NN"]]
    assert table.columns["tags"] == [["B-PER", "O"], ["B-LOC"], ["O"]]
    assert table.columns["document"] == [1, 1, 2]
    assert [table.where(row).rpartition(" ")[2] for row in range(3)] == ["3", "8", "12"]


def test_documents_can_be_the_groups(written):
    task = written(CONLL, suffix="conll", group="document")

    assert task.train.groups.tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a O\nb O O\nc O\n", ["line 2", "3 columns", "2"]),
        ("word\nword\n", ["not a file of tagged words"]),
        ("1 a O\n2 b O\n\n1 c B-X\n", ["first column", "counts"]),
    ],
)
def test_lines_that_are_no_tagged_words_are_refused(tmp_path, text, told):
    (tmp_path / "train.conll").write_text(text)
    with pytest.raises(UserError, match=says(*told)):
        read_table(tmp_path / "train.conll")


def test_a_text_file_beside_a_table_is_not_read(written, tmp_path):
    (tmp_path / "train.txt").write_text("a story of its own")

    assert written(ROWS).kind == "tokens"


def test_data_are_counted_in_sentences_and_halved_by_sentence(written):
    rows = [{"tokens": [f"w{at}", "x"], "ner_tags": ["B-A", "O"]} for at in range(10)]
    task = written(rows)
    splits = split(task, Training(select_checkpoint=True, train_size=4))

    assert (len(splits.train), len(splits.select), len(splits.measure)) == (4, 5, 5)
    assert not {*splits.select.parts} & {*splits.measure.parts}
    assert "4 for training, 5 measured" in data_facts(task, splits).described()[0]
    with pytest.raises(UserError, match=says("stratified", "several")):
        split(task, Training(train_size=4, split="stratified"))


def test_a_classification_of_columns_with_these_names_stays_one(written):
    task = written([{"tokens": "a b", "label": 0}, {"tokens": "c", "label": 1}])

    assert task.kind == "classification"
    assert task.train.labels.dtype == np.int64


def test_one_sentence_that_was_taken_for_columns_is_not_read_as_words(tmp_path):
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (tmp_path / "validation.jsonl").write_text(json.dumps(ROWS[0]) + "\n")
    with pytest.raises(UserError, match=says("train", "validation", "tokens", "lists", "texts")):
        load_task(TaskSpec(name=str(tmp_path)))
