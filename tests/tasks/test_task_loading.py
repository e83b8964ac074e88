import json
import os
import subprocess
import sys

import numpy as np
import pytest
from saying import says

from steadytune.errors import UserError
from steadytune.study import TaskSpec
from steadytune.tasks import GENERATED, TASKS, Examples, load_task, task_names
from steadytune.tasks.files import make_task

ROWS = [{"text": "good", "label": 1}, {"text": "bad", "label": 0}]


def test_a_folder_a_benchmark_and_generated_tasks_are_found_by_name(write_splits):
    folder = write_splits(ROWS)
    assert len(load_task(TaskSpec(name=str(folder))).train) == 2
    assert load_task(TaskSpec(name="glue/sst2", path=str(folder))).label_names == ("negative", "positive")
    for name in GENERATED:
        generated = load_task(TaskSpec(name=name, train_examples=6, validation_examples=4))
        assert (len(generated.train), len(generated.validation)) == (6, 4)


def test_all_names_are_listed():
    assert {*GENERATED, "glue/rte", "glue/ax", "super_glue/wsc.fixed"} <= set(task_names())
    assert len(set(task_names())) == len(task_names()) == 26


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("glue/rtee", "'glue/rte'"),
        ("rte", "'glue/rte'"),
        ("aceptability", "'acceptability'"),
        ("imdb", "acceptability, arithmetic, correction, glue/ax"),
        ("", "acceptability, arithmetic, correction, glue/ax"),
    ],
)
def test_an_unknown_name_gets_the_closest_one(name, hint):
    with pytest.raises(UserError, match=says(f"'{name}'", hint, "folder", "train", "validation")):
        load_task(TaskSpec(name=name))


@pytest.mark.parametrize("name", ["./nowhere", "~/nowhere", "data/nowhere", "../nowhere"])
def test_a_path_that_is_not_there_is_called_a_folder(name):
    with pytest.raises(UserError, match=says(f"'{name}'", "folder")) as error:
        load_task(TaskSpec(name=name))
    assert "acceptability" not in str(error.value)


def test_a_misspelled_benchmark_that_looks_like_a_path_is_recognised():
    with pytest.raises(UserError, match=says("'superglue/cb'", "folder", "'super_glue/cb'")):
        load_task(TaskSpec(name="superglue/cb"))


def test_a_folder_may_have_a_name_without_a_separator(write_splits, monkeypatch):
    folder = write_splits(ROWS)
    monkeypatch.chdir(folder.parent)
    assert load_task(TaskSpec(name=folder.name)).name == folder.name


def test_a_folder_named_like_a_benchmark_that_does_not_exist_is_read(tmp_path, monkeypatch):
    (tmp_path / "glue" / "mine").mkdir(parents=True)
    for name in ("train", "dev"):
        (tmp_path / "glue" / "mine" / f"{name}.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    monkeypatch.chdir(tmp_path)
    assert len(load_task(TaskSpec(name="glue/mine")).validation) == 2


def test_a_task_is_kept_until_its_files_change(write_splits):
    folder = write_splits(ROWS)
    spec = TaskSpec(name=str(folder))
    first = load_task(spec)
    assert load_task(TaskSpec(name=str(folder))) is first
    write_splits([*ROWS, {"text": "fine", "label": 1}])
    assert len(load_task(spec).train) == 3
    os.utime(folder / "train.jsonl", ns=(1, 1))
    assert load_task(spec) is not first


def test_a_relative_path_is_read_anew_from_another_place(tmp_path, monkeypatch):
    for place, rows in (("a", ROWS), ("b", ROWS * 2)):
        (tmp_path / place / "task").mkdir(parents=True)
        for name in ("train", "validation"):
            (tmp_path / place / "task" / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    sizes = []
    for place in ("a", "b"):
        monkeypatch.chdir(tmp_path / place)
        sizes.append(len(load_task(TaskSpec(name="./task")).train))
    assert sizes == [2, 4]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": "glue/rte", "train_examples": 50}, ["train_examples", "training.train_size"]),
        ({"name": "glue/rte", "metric": "acuracy"}, ["'acuracy'", "'accuracy'"]),
        ({"name": "acceptability", "path": "x"}, ["'acceptability'", "path"]),
        ({"name": "acceptability", "columns": ("a",)}, ["'acceptability'", "columns"]),
    ],
)
def test_options_that_are_unknown_or_would_do_nothing_are_refused(options, said):
    with pytest.raises(UserError, match=says(*said)):
        load_task(TaskSpec(**options))


class _Parity:
    """Another package's task: is a number even?"""

    name = "parity"

    def load(self, spec):
        numbers = np.arange(spec.train_examples)
        examples = Examples(tuple(((str(number), None),) for number in numbers), numbers % 2)
        return make_task(
            spec, ("even", "odd"), ("accuracy",), kind="classification", train=examples, validation=examples
        )


class _Nothing:
    name = "nothing"

    def load(self, spec):
        return {}


def test_another_packages_task_is_found_by_its_name():
    with pytest.raises(UserError, match=says("'parity'", "acceptability, arithmetic, correction, glue/ax")):
        load_task(TaskSpec(name="parity"))
    with TASKS.added(_Parity()):
        task = load_task(TaskSpec(name="parity", train_examples=6, metric="f1"))
        assert (task.name, task.metric, len(task.train)) == ("parity", "f1", 6)
        assert "parity" in task_names()
    with TASKS.added(_Nothing()), pytest.raises(UserError, match=says("nothing", "dict", "Task")):
        load_task(TaskSpec(name="nothing"))
    with pytest.raises(UserError, match=says("'parity'", "load(spec)")), TASKS.added(_Parity):
        pass


def test_a_folder_takes_no_path(write_splits):
    with pytest.raises(UserError, match=says("task.path", "glue/", "super_glue/")):
        load_task(TaskSpec(name=str(write_splits(ROWS)), path="x"))


def test_importing_tasks_loads_no_heavy_library():
    heavy = ("torch", "transformers", "datasets", "pandas", "pyarrow", "sklearn", "scipy", "huggingface_hub")
    code = (
        "import sys, steadytune.tasks, steadytune.tasks.hub, steadytune.tasks.builtin; "
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
