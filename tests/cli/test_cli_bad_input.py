import json
import os
import shutil

import pytest
from commands import command, refused
from made_runs import made_store, made_study
from saying import names


@pytest.fixture
def run(tiny_model, tiny_task, tmp_path):
    """Run a study of the tiny model that must be refused, with words of its own; return what is said."""

    def go(*words, model=tiny_model, task=tiny_task, out=tmp_path / "out"):
        given = {"--model": model, "--task": task, "--out": out}
        words = [*words, *(word for pair in given.items() if pair[1] is not None for word in pair)]
        text = refused("run", *words, "--workers", 1)
        assert not (tmp_path / "out").exists(), "it was refused after something was made"
        return text.removeprefix("error: ")

    return go


@pytest.fixture
def file(tmp_path):
    """Write a study file."""

    def write(text):
        path = tmp_path / "study.yaml"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def task(tmp_path):
    """Write a task folder."""

    def write(train, validation=None, label="label"):
        folder = tmp_path / "task"
        folder.mkdir()
        for name, labels in (("train", train), ("validation", train if validation is None else validation)):
            rows = [{"sentence": f"sentence {name} {n}", label: value} for n, value in enumerate(labels)]
            (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return folder

    return write


def test_what_is_not_given_is_asked_for(run):
    assert names(run(model=None), "model", "--model", "steadytune run --help")
    assert names(run(task=None), "task", "--task")
    assert names(run(out=None), "folder", "--out", "--out runs/x")


def test_a_study_file_that_cannot_be_read_is_named(run, file, tmp_path):
    path = file("model: [a\ntask: b")
    assert names(run(path), f"{path}, line 2", "YAML")
    assert names(run(tmp_path / "none.yaml"), "file", str(tmp_path / "none.yaml"))
    assert names(run(tmp_path), str(tmp_path), "folder", "YAML file")


def test_an_unknown_key_is_answered_with_the_closest_one(run, file):
    path = file("traning: {epochs: 3}")
    assert names(run(path), f"{path}:", "key", "'traning'", "'training'")
    assert names(run("--set", "training.epoch=3"), "command line: training:", "'epoch'", "'epochs'")


def test_an_unknown_recipe_or_stabilizer_is_answered_with_the_closest_one(run, file):
    assert names(run("--recipe", "mrm"), "recipe", "'mrm'", "'mmr'")
    assert names(run("--recipe", "surt+mhlos"), "recipe", "'mhlos'", "'mhloss'")
    path = file("recipes: {mine: {stabilizers: [mhlos]}}")
    assert names(run(path), "recipes.mine.stabilizers:", "'mhlos'", "'mhloss'")


def test_an_unknown_task_is_answered_with_the_closest_one(run, tmp_path):
    assert names(run(task="glue/rtee"), "task", "'glue/rtee'", "'glue/rte'")
    assert names(run(task=tmp_path / "none"), f"'{tmp_path / 'none'}'", "folder")


def test_an_unknown_model_is_answered_with_the_closest_one(run, tmp_path):
    assert names(run(model="minlm"), "model", "'minlm'", "'minilm'")
    assert names(run(model=tmp_path / "none"), "model", str(tmp_path / "none"))
    assert names(run(model="org/none"), "'org/none'", "hub")


def test_a_column_that_is_missing_is_named(run, task):
    folder = task([0, 1, 0, 1])
    assert "'gold'" in run("--set", "task.label=gold", task=folder)
    assert "'text'" in run("--set", "task.columns=[text]", task=folder)


def test_data_that_nothing_can_be_learnt_from_is_named(run, task):
    folder = task([1, 1, 1, 1])
    assert names(run(task=folder), "train.jsonl", "'label'", "1")
    (folder / "train.jsonl").write_text("")
    assert "train.jsonl" in run(task=folder)
    (folder / "train.jsonl").unlink()
    assert "train" in run(task=folder)


def test_a_label_that_training_never_shows_is_named(run, task):
    assert "'maybe'" in run(task=task(["yes", "no"] * 3, ["yes", "maybe"] * 3))


def test_a_model_folder_that_lacks_something_is_named(run, tiny_model, tmp_path):
    model = shutil.copytree(tiny_model, tmp_path / "model")
    weights = model / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-100])
    assert names(run(model=model), f"model '{model}'", str(weights), "safetensors")
    weights.rename(model / "pytorch_model.bin")
    assert names(run(model=model), "pytorch_model.bin", "pickle")
    (model / "pytorch_model.bin").unlink()
    assert names(run(model=model), f"model '{model}'", "no *.safetensors")
    weights.write_bytes(content)
    (model / "tokenizer.json").unlink()
    assert names(run(model=model), f"model '{model}'", "no tokenizer")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--set", "training.epochs"],
            ("--set", "KEY=VALUE", "'training.epochs'"),
        ),
        (["--set", "=3"], ("--set", "KEY=VALUE", "'=3'")),
        (["--set", "training.epochs=[3"], ("--set training.epochs:", "'[3'", "YAML")),
        (["--set", "seeds.init=3"], ("--set seeds.init:", "'seeds'", "5")),
        (["--set", "training.epochs=three"], ("command line: training.epochs:", "integer")),
        (["--set", "training.=3"], ("command line: training:", "key ''")),
        (["--set", "training.pooling.x=3"], ("command line: training.pooling:",)),
        (["--seeds", "0"], ("command line: seeds:", "at least one")),
        (["--seeds", "-3"], ("command line: seeds:", "at least one")),
        (["--set", "training.train_size=1000"], ("training.train_size", "1000", "task")),
        (["--set", "task.metric=acuracy"], ("metric", "'acuracy'", "'accuracy'")),
        (
            ["--recipe", "mmr", "--set", "training.mode=head"],
            ("command line:", "'mmr'", "'head'", "'full'"),
        ),
    ],
)
def test_a_value_that_cannot_be_is_named(run, words, said):
    words = ["--seeds", "5", *words] if "seeds.init=3" in words else words
    assert names(run(*words), *said)


def test_an_output_folder_that_cannot_be_used_is_left_as_it_is(tiny_model, tiny_task, tmp_path):
    other = made_store(tmp_path / "other").path
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("x")
    words = ["run", "--model", tiny_model, "--task", tiny_task, "--workers", 1, "--out"]
    assert names(refused(*words, other), f"error: {other}", "model", "a-model")
    assert names(refused(*words, foreign), f"error: {foreign}", "not empty", "--out")
    assert names(refused(*words, foreign / "thesis.txt"), f"error: {foreign / 'thesis.txt'}", "file", "--out")
    assert names(refused(*words, foreign / "thesis.txt" / "x"), "error:", "write", str(foreign / "thesis.txt"))
    assert os.listdir(foreign) == ["thesis.txt"]


@pytest.mark.parametrize("name", ["ls", "report", "measure"])
def test_a_folder_that_holds_no_study_or_broken_runs_is_named_by_every_command(tmp_path, name):
    assert names(refused(name, tmp_path), str(tmp_path), "no study.yaml")
    store = made_store(tmp_path / "out", made_study(seeds=3))
    run_id = store.records()[1].spec.id
    (store.path / "runs" / run_id / "run.json").write_text("{}")
    (store.path / "runs" / "stray").mkdir()
    result = command(name, store.path)
    assert result.code == 0
    assert names(result.err, run_id, str(store.path), "corrupt", "run.json")
    assert names(result.err, "stray")
    assert len(result.err.splitlines()) == 3
    (store.path / "study.yaml").write_text("nonsense")
    assert names(refused(name, store.path), f"error: {store.path / 'study.yaml'}:", "mapping")


@pytest.mark.parametrize("name", ["report", "measure"])
def test_a_folder_without_runs_is_named(tmp_path, name):
    store = made_store(tmp_path / "out")
    shutil.rmtree(store.path / "runs")
    assert "no run" in refused(name, store.path)
    assert command("ls", store.path).code == 0
