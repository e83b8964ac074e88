"""Every GLUE and SuperGLUE task, from folders laid out as the hub lays them out."""

from contextlib import nullcontext

import datasets
import huggingface_hub
import numpy as np
import pandas as pd
import pytest
from saying import says

from steadytune.errors import UserError
from steadytune.study import TaskSpec
from steadytune.tasks import hub, load_task
from steadytune.tasks.hub import BENCHMARKS, DIAGNOSTICS, REPOSITORIES, load_benchmark
from steadytune.tasks.metrics import evaluate, majority_score

pytestmark = pytest.mark.slow

ONE, PAIR, PREMISE = ["sentence"], ["sentence1", "sentence2"], ["premise", "hypothesis"]
ENTAILMENT, BOOLEAN = ["entailment", "not_entailment"], ["False", "True"]

# name -> the hub's text columns and class names, the expected metrics, the expected inputs of the first row whose
# column x holds "x 0".
TASKS = {
    "glue/cola": (ONE, ["unacceptable", "acceptable"], ["matthews"], [("sentence 0", None)]),
    "glue/sst2": (ONE, ["negative", "positive"], ["accuracy"], [("sentence 0", None)]),
    "glue/mrpc": (PAIR, ["not_equivalent", "equivalent"], ["f1", "accuracy"], [("sentence1 0", "sentence2 0")]),
    "glue/qqp": (
        ["question1", "question2"],
        ["not_duplicate", "duplicate"],
        ["f1", "accuracy"],
        [("question1 0", "question2 0")],
    ),
    "glue/stsb": (PAIR, [], ["pearson", "spearman"], [("sentence1 0", "sentence2 0")]),
    "glue/mnli": (
        PREMISE,
        ["entailment", "neutral", "contradiction"],
        ["accuracy"],
        [("premise 0", "hypothesis 0")],
    ),
    "glue/qnli": (["question", "sentence"], ENTAILMENT, ["accuracy"], [("question 0", "sentence 0")]),
    "glue/rte": (PAIR, ENTAILMENT, ["accuracy"], [("sentence1 0", "sentence2 0")]),
    "glue/wnli": (PAIR, ENTAILMENT[::-1], ["accuracy"], [("sentence1 0", "sentence2 0")]),
    "super_glue/boolq": (["question", "passage"], BOOLEAN, ["accuracy"], [("passage 0", "question 0")]),
    "super_glue/cb": (
        PREMISE,
        ["entailment", "contradiction", "neutral"],
        ["accuracy", "f1_macro"],
        [("premise 0", "hypothesis 0")],
    ),
    "super_glue/copa": (
        ["premise", "choice1", "choice2"],
        ["choice1", "choice2"],
        ["accuracy"],
        [
            ("premise 0 What was the cause of this?", "choice1 0"),
            ("premise 0 What was the cause of this?", "choice2 0"),
        ],
    ),
    "super_glue/multirc": (
        ["paragraph", "question", "answer"],
        BOOLEAN,
        ["f1a", "exact_match"],
        [("paragraph 0", "question 0 answer 0")],
    ),
    "super_glue/record": (["passage", "query"], BOOLEAN, ["record_f1", "record_em"], [("passage 0", "query 0 is Ann")]),
    "super_glue/rte": (PREMISE, ENTAILMENT, ["accuracy"], [("premise 0", "hypothesis 0")]),
    "super_glue/wic": (["word", *PAIR], BOOLEAN, ["accuracy"], [("word 0: sentence1 0", "sentence2 0")]),
    "super_glue/wsc": (
        ["text", "span1_text", "span2_text"],
        BOOLEAN,
        ["accuracy"],
        [("text 0", "span2_text 0 refers to span1_text 0")],
    ),
}
ALIASES = {
    "glue/mnli_matched": "glue/mnli",
    "glue/mnli_mismatched": "glue/mnli",
    "super_glue/wsc.fixed": "super_glue/wsc",
}


def hub_rows(name, count=6):
    """Return rows with the hub's columns."""
    fields, classes, _, _ = TASKS[ALIASES.get(name, name)]
    rows = []
    for i in range(count):
        row = {field: f"{field} {i}" for field in fields} | {"idx": i, "label": i % max(len(classes), 1)}
        if name == "glue/stsb":
            row["label"] = np.float32(i / 2)
        elif name == "super_glue/copa":
            row["question"] = ("cause", "effect")[i % 2]
        elif name == "super_glue/multirc":
            row["idx"] = {"paragraph": i // 4, "question": i // 2, "answer": i}
        elif name == "super_glue/record":
            del row["label"]
            row["query"] += " is @placeholder"
            row |= {"entities": ["Ann", "Ann Lee"], "answers": [["Ann"], ["Ann Lee"]][i % 2]}
            row["idx"] = {"passage": i, "query": i}
        rows.append(row)
    return rows


def config_and_splits(name):
    config = "mnli" if "mnli" in name else "wsc.fixed" if "wsc" in name else name.partition("/")[2]
    middle = ("validation_matched", "validation_mismatched") if config == "mnli" else ("validation",)
    return config, ("train", *middle)


def lay_out(folder, name, card=True):
    """Write a folder as the hub's repository: one folder per configuration, and a card that lists them."""
    config, splits = config_and_splits(name)
    (folder / config).mkdir(parents=True)
    lines = ["---", "configs:", f"- config_name: {config}", "  data_files:"]
    for split in splits:
        rows = hub_rows(name, 4 if split == "validation_mismatched" else 6)
        pd.DataFrame(rows).to_parquet(folder / config / f"{split}-00000-of-00001.parquet")
        lines += [f"  - split: {split}", f"    path: {config}/{split}-*"]
    if card:
        (folder / "README.md").write_text("\n".join([*lines, "---", ""]))
    return folder


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Keep what `datasets` caches in a folder of the test."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    datasets.disable_progress_bars()
    yield tmp_path / "cache"
    datasets.enable_progress_bars()


def test_the_table_has_every_task_of_both_benchmarks():
    assert set(BENCHMARKS) == set(TASKS) | set(ALIASES)
    assert set(DIAGNOSTICS) == {"glue/ax", "super_glue/axb", "super_glue/axg"}
    assert {name.partition("/")[0] for name in BENCHMARKS} == set(REPOSITORIES)


def check(name, task):
    _, classes, metrics, first = TASKS[ALIASES.get(name, name)]
    assert task.name == name
    assert task.kind == ("choice" if "copa" in name else "regression" if "stsb" in name else "classification")
    assert list(task.label_names) == classes
    assert [task.metric, *task.extra_metrics] == metrics
    assert list(task.train.candidates[0]) == first
    rows = 12 if "record" in name else 6
    assert len(task.train) == rows
    assert len(task.validation) == (4 if name.endswith("mismatched") else rows)
    if not {"stsb", "record"} & set(name.split("/")):
        assert task.train.labels.tolist() == [i % len(classes) for i in range(6)]
    perfect = (
        task.validation.labels[:, None]
        if task.kind == "regression"
        else np.eye(max(2, len(classes)))[task.validation.labels]
    )
    scores = evaluate(metrics, task.kind, {"logits": perfect}, task.validation)
    assert scores == pytest.approx(dict.fromkeys(metrics, 1.0))


@pytest.mark.parametrize("name", [*TASKS, *ALIASES])
def test_every_task_is_read_from_a_local_copy_of_the_repository(tmp_path, name):
    check(name, load_benchmark(TaskSpec(name=name, path=str(lay_out(tmp_path, name, card=False)))))


@pytest.mark.parametrize("name", [*TASKS, *ALIASES])
def test_every_task_is_read_from_what_the_hub_serves(tmp_path, cache, monkeypatch, name):
    repository = lay_out(tmp_path / "repository", name)
    asked = []

    def serve(path, config, real=datasets.load_dataset):
        asked.append((path, config))
        return real(str(repository), config)

    monkeypatch.setattr(datasets, "load_dataset", serve)
    check(name, load_benchmark(TaskSpec(name=name)))
    assert asked == [(REPOSITORIES[name.partition("/")[0]], config_and_splits(name)[0])]


def test_the_groups_and_credit_of_reading_comprehension_are_kept(tmp_path):
    multirc = load_benchmark(
        TaskSpec(name="super_glue/multirc", path=str(lay_out(tmp_path / "a", "super_glue/multirc")))
    )
    assert multirc.validation.questions.tolist() == [0, 0, 1, 1, 2, 2]
    assert multirc.validation.groups.tolist() == [0, 0, 0, 0, 1, 1]
    record = load_benchmark(TaskSpec(name="super_glue/record", path=str(lay_out(tmp_path / "b", "super_glue/record"))))
    assert record.validation.questions.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert record.train.labels[:4].tolist() == [1, 0, 0, 1]
    assert record.train.credit[:4].tolist() == pytest.approx([1.0, 2 / 3, 2 / 3, 1.0])


def test_a_group_must_not_divide_what_is_scored_together(tmp_path):
    folder = lay_out(tmp_path / "a", "super_glue/multirc")
    with pytest.raises(UserError, match=says("task.group", "'answer'", "together")):
        load_benchmark(TaskSpec(name="super_glue/multirc", path=str(folder), group="answer"))


@pytest.mark.parametrize("name", ["glue/rte", "super_glue/cb", "super_glue/copa", "super_glue/wsc", "super_glue/wic"])
def test_files_of_other_columns_get_the_labels_and_metrics_of_the_benchmark(data, name):
    task = load_benchmark(TaskSpec(name=name, path=str(data / name.partition("/")[2])))
    assert task.label_names == BENCHMARKS[name].labels
    assert (task.metric, *task.extra_metrics) == BENCHMARKS[name].metrics
    if name == "super_glue/wic":
        assert task.validation.candidates[0][0][0] == "class: An emerging professional class."


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("glue/rte", [0.527]),
        ("glue/mrpc", [0.812, 0.684]),
        ("glue/cola", [0.0]),
        ("glue/sst2", [0.509]),
        ("glue/wnli", [0.563]),
        ("glue/stsb", [0.0, 0.0]),
        ("super_glue/cb", [0.5, 0.222]),
        ("super_glue/copa", [0.55]),
        ("super_glue/wic", [0.5]),
        ("super_glue/wsc", [0.635]),
    ],
)
def test_the_majority_baselines_are_the_published_ones(data, name, expected):
    task = load_benchmark(TaskSpec(name=name, path=str(data / name.partition("/")[2])))
    scores = [majority_score(metric, task.kind, task.validation) for metric in (task.metric, *task.extra_metrics)]
    assert scores == pytest.approx(expected, abs=5e-4)


def test_a_folder_of_mismatched_files_is_preferred_where_there_are_both(tmp_path):
    folder = lay_out(tmp_path, "glue/mnli") / "mnli"
    assert len(load_benchmark(TaskSpec(name="glue/mnli_mismatched", path=str(folder))).validation) == 4
    assert len(load_benchmark(TaskSpec(name="glue/mnli", path=str(folder))).validation) == 6


def test_labels_may_be_spelled_in_a_local_file(write_splits):
    rows = [{"sentence1": "a", "sentence2": "b", "label": name} for name in ("not_entailment", "entailment")]
    task = load_benchmark(TaskSpec(name="glue/rte", path=str(write_splits(rows))))
    assert task.train.labels.tolist() == [1, 0]


def test_columns_can_be_named_for_a_local_copy(write_splits):
    rows = [{"x": "a", "y": "b", "z": "c", "gold": label} for label in (0, 1)]
    spec = TaskSpec(name="glue/rte", path=str(write_splits(rows)), columns=("y", "z"), label="gold", metric="f1")
    task = load_benchmark(spec)
    assert task.train.candidates[0] == (("b", "c"),)
    assert (task.metric, task.extra_metrics) == ("f1", ("accuracy",))


def test_a_local_copy_of_reading_comprehension_needs_the_columns_of_the_hub(write_splits):
    with pytest.raises(UserError, match=says("train.jsonl", "'passage'", "text, label")) as error:
        load_benchmark(TaskSpec(name="super_glue/record", path=str(write_splits([{"text": "a", "label": 0}]))))
    assert "--set" not in str(error.value)


def test_a_missing_copy_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere") as error:
        load_benchmark(TaskSpec(name="glue/rte", path=str(tmp_path / "nowhere")))
    assert "folder" in str(error.value)


@pytest.mark.parametrize("name", sorted(DIAGNOSTICS))
def test_a_diagnostic_set_has_nothing_to_train_on(name):
    with pytest.raises(UserError, match=says(f"'{name}'", "diagnostic")):
        load_benchmark(TaskSpec(name=name))


class NoNetwork:
    """Every answer of the network; `asked` counts how often there was none."""

    asked = 0

    def head(self, *_, **__):
        NoNetwork.asked += 1
        raise OSError("no route to host")


def test_without_a_network_the_error_comes_at_once_and_names_the_way_out(cache, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "get_session", NoNetwork)
    monkeypatch.setattr(NoNetwork, "asked", 0)
    before = datasets.config.HF_HUB_OFFLINE
    with pytest.raises(UserError, match=says("hub", "nyu-mll/glue", "rte")) as error:
        load_benchmark(TaskSpec(name="glue/rte"))
    # Asked once, and not again and again for half a minute, as `datasets` would by itself.
    assert NoNetwork.asked == 1
    assert "--set task.path=path/to/copy" in str(error.value)
    assert "--task path/to/folder" in str(error.value)
    assert len(str(error.value).splitlines()) == 2
    assert before is datasets.config.HF_HUB_OFFLINE


def test_without_a_network_a_cached_task_is_used(tmp_path, cache, monkeypatch):
    repository = lay_out(tmp_path / "nyu-mll" / "glue", "glue/rte")
    datasets.load_dataset(str(repository), "rte")
    # The cache of a hub repository differs from that of a folder in its name alone.
    (cache / "glue").rename(cache / "nyu-mll___glue")
    monkeypatch.setattr(huggingface_hub, "get_session", NoNetwork)
    check("glue/rte", load_benchmark(TaskSpec(name="glue/rte")))


def test_whatever_else_the_hub_answers_is_told_in_one_line(monkeypatch):
    def refuse(*_):
        raise RuntimeError("gated\nwith a second line")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    monkeypatch.setattr(hub, "_offline_if_unreachable", nullcontext)
    with pytest.raises(UserError, match=says("aps/super_glue", "wsc.fixed", "gated\n")):
        load_benchmark(TaskSpec(name="super_glue/wsc"))


@pytest.mark.parametrize("name", ["super_glue/copa", "super_glue/multirc", "super_glue/record"])
def test_columns_cannot_be_named_where_an_example_is_more_than_two_texts(tmp_path, name):
    with pytest.raises(UserError, match=says("task.columns", f"'{name}'")):
        load_task(TaskSpec(name=name, path=str(tmp_path), columns=("premise", "choice1")))


def test_no_answer_to_a_question_is_left_aside(tmp_path):
    with pytest.raises(UserError, match=says("task.no_label", "'super_glue/multirc'")):
        load_task(TaskSpec(name="super_glue/multirc", path=str(tmp_path), no_label="-1"))


def test_an_answer_without_a_label_is_named(tmp_path):
    rows = [{"paragraph": "p", "question": "q", "answer": f"a {n}", "label": n % 2} for n in range(4)]
    pd.DataFrame(rows).to_json(tmp_path / "train.jsonl", orient="records", lines=True)
    rows[2]["label"] = None
    pd.DataFrame(rows).to_json(tmp_path / "validation.jsonl", orient="records", lines=True)
    with pytest.raises(UserError, match=says("validation.jsonl, line 3", "label", "answers")):
        load_task(TaskSpec(name="super_glue/multirc", path=str(tmp_path)))
