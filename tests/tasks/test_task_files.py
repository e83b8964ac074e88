import json

import numpy as np
import pandas as pd
import pytest
from saying import says

from steadytune.errors import UserError
from steadytune.study import TaskSpec
from steadytune.tasks import load_task
from steadytune.tasks.files import load_folder
from steadytune.tasks.metrics import evaluate

ROWS = [{"text": "good", "label": 1}, {"text": "bad", "label": 0}, {"text": "fine", "label": 1}]

# folder -> kind, train size, validation size, classes, metric, labels of the first three validation examples
REAL = {
    "rte": ("classification", 2490, 277, 2, "accuracy", [1, 0, 1]),
    "mrpc": ("classification", 3668, 408, 2, "accuracy", [1, 0, 0]),
    "cola": ("classification", 8551, 1043, 2, "accuracy", [1, 1, 1]),
    "cb": ("classification", 250, 56, 3, "accuracy", [1, 2, 0]),
    "copa": ("choice", 400, 100, 2, "accuracy", [1, 1, 0]),
    "wnli": ("classification", 635, 71, 2, "accuracy", [0, 1, 0]),
    "wsc": ("classification", 554, 104, 2, "accuracy", [0, 1, 0]),
    "wic": ("classification", 5428, 638, 2, "accuracy", [0, 0, 0]),
    "sst2": ("classification", 67349, 872, 2, "accuracy", [1, 0, 1]),
    "stsb": ("regression", 5749, 1500, 0, "pearson", [5.0, 4.75, 5.0]),
}


def load(folder, **options):
    return load_folder(TaskSpec(name=str(folder), **options))


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_the_real_tasks_are_read_without_options(data, name):
    kind, train, validation, classes, metric, first = REAL[name]
    task = load(data / name)
    assert (task.kind, len(task.train), len(task.validation)) == (kind, train, validation)
    assert (len(task.label_names), task.metric) == (classes, metric)
    assert task.validation.labels[:3].tolist() == first
    assert task.train.labels.dtype == (np.float64 if kind == "regression" else np.int64)
    assert task.num_outputs == (classes if kind == "classification" else 1)
    paired = name not in {"cola", "sst2"}
    for candidates in (*task.train.candidates[:50], *task.validation.candidates):
        assert len(candidates) == (2 if kind == "choice" else 1)
        assert all((second is not None) == paired for _, second in candidates)


def test_a_task_carries_its_name_labels_and_texts(write_splits):
    folder = write_splits(ROWS, ROWS[:2])
    task = load(folder)
    assert task.name == str(folder)
    assert task.label_names == ("0", "1")
    assert task.train.candidates == ((("good", None),), (("bad", None),), (("fine", None),))
    assert task.validation.labels.tolist() == [1, 0]
    assert (task.metric, task.extra_metrics) == ("accuracy", ())


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet", "jsonl", "csv.gz"])
def test_the_same_rows_make_the_same_task_in_every_format(write_splits, suffix):
    folder = write_splits(ROWS)
    expected = load(folder)
    frame = pd.DataFrame(ROWS)
    for name in ("train", "validation"):
        (folder / f"{name}.jsonl").unlink()
        path = folder / f"{name}.{suffix}"
        if suffix == "parquet":
            frame.to_parquet(path)
        elif suffix == "jsonl":
            frame.to_json(path, orient="records", lines=True)
        else:
            frame.to_csv(path, index=False, sep="\t" if suffix == "tsv" else ",")
    assert load(folder).fingerprint == expected.fingerprint


def test_a_home_folder_is_expanded(write_splits, monkeypatch):
    monkeypatch.setenv("HOME", str(write_splits(ROWS)))
    assert len(load("~").train) == 3


def test_columns_and_label_can_be_named(write_splits):
    rows = [{"a": "x", "b": "y", "c": "z", "gold": label} for label in ("no", "yes")]
    task = load(write_splits(rows), columns=("c", "a"), label="gold")
    assert task.train.candidates[0] == (("z", "x"),)
    assert task.label_names == ("no", "yes")


def test_known_names_may_be_written_in_capitals(write_splits):
    pairs = [{"Sentence1": "a", "SENTENCE2": "b", "Label": n % 2, "Group": n} for n in range(2)]
    task = load(write_splits(pairs), group="Group")
    assert task.train.candidates[0] == (("a", "b"),)
    assert task.train.labels.tolist() == [0, 1]
    assert load(write_splits([{"TEXT": "a", "LABEL": n} for n in range(2)])).reading.columns == ("TEXT",)
    named = load(write_splits(pairs), columns=("SENTENCE2",), label="LABEL")
    assert named.train.candidates[0] == (("b", None),)
    both = [{"text": "a", "label": n, "Label": 5} for n in range(2)]
    assert load(write_splits(both)).train.labels.tolist() == [0, 1]


def test_the_label_is_no_group(write_splits):
    with pytest.raises(UserError, match=says("task.group", "'label'")):
        load(write_splits(ROWS), group="label")


def test_the_validation_file_needs_the_columns_of_the_training_file(write_splits):
    rows = [{"sentence1": "a", "sentence2": "b", "label": 0}, {"sentence1": "a", "sentence2": "b", "label": 1}]
    with pytest.raises(UserError, match=says("validation.jsonl", "'sentence2'", "sentence1, label")):
        load(write_splits(rows, [{"sentence1": "a", "label": 0}]))


def test_fractions_make_a_regression_scored_by_correlations(write_splits):
    task = load(write_splits([{"text": "a", "label": 0.5}, {"text": "b", "label": 3}]))
    assert (task.kind, task.metric, task.extra_metrics) == ("regression", "pearson", ("spearman",))
    assert (task.label_names, task.num_outputs) == ((), 1)


def test_a_metric_for_regressions_makes_integers_targets(write_splits):
    task = load(write_splits(ROWS), metric="spearman")
    assert (task.kind, task.metric, task.extra_metrics) == ("regression", "spearman", ("pearson",))


def test_a_chosen_metric_goes_before_the_default_one(write_splits):
    task = load(write_splits(ROWS), metric="matthews")
    assert (task.metric, task.extra_metrics) == ("matthews", ("accuracy",))


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        ("matthew", ["'matthew'", "'matthews'"]),
        ("exact_match", ["'exact_match'", "classification", "2 classes"]),
        ("record_f1", ["'record_f1'", "classification", "2 classes"]),
    ],
)
def test_a_metric_that_does_not_fit_is_refused(write_splits, metric, said):
    with pytest.raises(UserError, match=says(*said)):
        load(write_splits(ROWS), metric=metric)


def test_a_metric_for_regressions_needs_numbers(write_splits):
    with pytest.raises(UserError, match=says("'pearson'", "classification", "2 classes")):
        load(write_splits([{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]), metric="pearson")


def test_choice_labels_are_positions(write_splits):
    row = {"premise": "a", "choice1": "b", "choice2": "c", "question": "cause"}
    task = load(write_splits([{**row, "label": 0}, {**row, "label": 1}]))
    assert (task.kind, task.label_names) == ("choice", ("choice1", "choice2"))
    with pytest.raises(UserError, match=says("line 2", "label 2", "choice1, choice2")):
        load(write_splits([{**row, "label": 1}, {**row, "label": 2}]))


def test_of_two_classes_the_positive_one_is_chosen_and_becomes_class_1(tmp_path):
    rows = [{"text": f"text {n}", "label": "hate" if n % 3 == 0 else "none"} for n in range(12)]
    for name in ("train", "validation"):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    plain = load_task(TaskSpec(name=str(tmp_path), metric="f1"))
    chosen = load_task(TaskSpec(name=str(tmp_path), metric="f1", positive="hate"))
    assert (plain.label_names, chosen.label_names) == (("hate", "none"), ("none", "hate"))
    # Everybody is said to be class 1: of 4 hateful texts of 12 the F1 is 2 * 4 / (12 + 4).
    logits = {"logits": np.tile([0.0, 1.0], (12, 1))}
    assert evaluate(["f1"], "classification", logits, chosen.validation)["f1"] == pytest.approx(0.5)
    assert evaluate(["f1"], "classification", logits, plain.validation)["f1"] == pytest.approx(2 * 8 / (12 + 8))
    assert chosen.fingerprint != plain.fingerprint
    assert load_task(TaskSpec(name=str(tmp_path), metric="f1", positive="none")).fingerprint == plain.fingerprint
    with pytest.raises(UserError, match=says("'hat'", "'hate'")):
        load_task(TaskSpec(name=str(tmp_path), positive="hat"))
