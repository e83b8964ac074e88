import json
import os
import shutil

import pytest
from commands import command, refused
from made_runs import made_store, made_study


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
    assert run(model=None) == "no model given: name one with --model, or give a study file (see steadytune run --help)"
    assert run(task=None).startswith("no task given: name one with --task")
    assert run(out=None) == "no output folder given: name one with --out, such as --out runs/x"


def test_a_study_file_that_cannot_be_read_is_named(run, file, tmp_path):
    path = file("model: [a\ntask: b")
    assert run(path).startswith(f"{path}, line 2: not YAML")
    assert run(tmp_path / "none.yaml") == f"no study file at {tmp_path / 'none.yaml'}"
    assert run(tmp_path) == f"{tmp_path} is a folder; a study is a YAML file"


def test_an_unknown_key_is_answered_with_the_closest_one(run, file):
    path = file("traning: {epochs: 3}")
    assert run(path).startswith(f"{path}: unknown key 'traning': did you mean 'training'?")
    assert run("--set", "training.epoch=3").startswith(
        "command line: training: unknown key 'epoch': did you mean 'epochs'?"
    )


def test_an_unknown_recipe_or_stabilizer_is_answered_with_the_closest_one(run, file):
    assert "unknown recipe 'mrm': did you mean 'mmr'?" in run("--recipe", "mrm")
    assert "unknown recipe 'mhlos': did you mean 'mhloss'?" in run("--recipe", "surt+mhlos")
    path = file("recipes: {mine: {stabilizers: [mhlos]}}")
    assert "recipes.mine.stabilizers: unknown stabilizer 'mhlos': did you mean 'mhloss'?" in run(path)


def test_an_unknown_task_is_answered_with_the_closest_one(run, tmp_path):
    assert "unknown task 'glue/rtee': did you mean 'glue/rte'?" in run(task="glue/rtee")
    assert "there is no such folder" in run(task=tmp_path / "none")


def test_an_unknown_model_is_answered_with_the_closest_one(run, tmp_path):
    assert run(model="minlm").startswith("unknown model 'minlm': did you mean 'minilm'?")
    assert run(model=tmp_path / "none") == f"no model folder at {tmp_path / 'none'}"
    assert run(model="org/none").startswith("model 'org/none' could not be had from the hub: ")


def test_a_column_that_is_missing_is_named(run, task):
    folder = task([0, 1, 0, 1])
    assert "'gold'" in run("--set", "task.label=gold", task=folder)
    assert "'text'" in run("--set", "task.columns=[text]", task=folder)


def test_data_that_nothing_can_be_learnt_from_is_named(run, task):
    folder = task([1, 1, 1, 1])
    assert "train.jsonl: every 'label' is 1; there is nothing to learn" in run(task=folder)
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
    assert run(model=model).startswith(f"model '{model}': {weights} is not whole safetensors (")
    weights.rename(model / "pytorch_model.bin")
    assert "pytorch_model.bin is a pickle, which is not loaded" in run(model=model)
    (model / "pytorch_model.bin").unlink()
    assert run(model=model) == f"model '{model}': {model} holds no *.safetensors weights"
    weights.write_bytes(content)
    (model / "tokenizer.json").unlink()
    assert "holds no tokenizer" in run(model=model)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--set", "training.epochs"],
            "--set takes KEY=VALUE, such as training.learning_rate=5e-5, not 'training.epochs'",
        ),
        (["--set", "=3"], "--set takes KEY=VALUE"),
        (["--set", "training.epochs=[3"], "--set training.epochs: '[3' is not a YAML value"),
        (["--set", "seeds.init=3"], "--set seeds.init: 'seeds' holds 5, which has no keys"),
        (["--set", "training.epochs=three"], "command line: training.epochs: should be a valid integer"),
        (["--set", "training.=3"], "command line: training: unknown key ''"),
        (["--set", "training.pooling.x=3"], "command line: training.pooling: should be "),
        (["--seeds", "0"], "command line: seeds: at least one is needed"),
        (["--seeds", "-3"], "command line: seeds: at least one is needed"),
        (["--set", "training.train_size=1000"], "training.train_size is 1000, but task"),
        (["--set", "task.metric=acuracy"], "unknown metric 'acuracy': did you mean 'accuracy'?"),
        (["--recipe", "mmr", "--set", "training.mode=head"], "command line: recipe 'mmr': mmr moves the encoder's"),
    ],
)
def test_a_value_that_cannot_be_is_named(run, words, said):
    words = ["--seeds", "5", *words] if "seeds.init=3" in words else words
    assert run(*words).startswith(said)


def test_an_output_folder_that_cannot_be_used_is_left_as_it_is(tiny_model, tiny_task, tmp_path):
    other = made_store(tmp_path / "other").path
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("x")
    words = ["run", "--model", tiny_model, "--task", tiny_task, "--workers", 1, "--out"]
    assert refused(*words, other).startswith(f"error: {other} belongs to another study: its model is a-model, not ")
    assert refused(*words, foreign) == f"error: {foreign} is not empty and holds no study: choose another --out"
    assert refused(*words, foreign / "thesis.txt") == f"error: {foreign / 'thesis.txt'} is a file: --out names a folder"
    assert refused(*words, foreign / "thesis.txt" / "x").startswith("error: cannot write into the folder ")
    assert os.listdir(foreign) == ["thesis.txt"]


@pytest.mark.parametrize("name", ["ls", "report", "measure"])
def test_a_folder_that_holds_no_study_or_broken_runs_is_named_by_every_command(tmp_path, name):
    assert "holds no study.yaml" in refused(name, tmp_path)
    store = made_store(tmp_path / "out", made_study(seeds=3))
    run_id = store.records()[1].spec.id
    (store.path / "runs" / run_id / "run.json").write_text("{}")
    (store.path / "runs" / "stray").mkdir()
    result = command(name, store.path)
    assert result.code == 0
    assert f"note: left out: run {run_id} in {store.path} is corrupted: run.json cannot be read" in result.err
    assert "stray is no run" in result.err
    assert len(result.err.splitlines()) == 3
    (store.path / "study.yaml").write_text("nonsense")
    assert refused(name, store.path).startswith(f"error: {store.path / 'study.yaml'}: a study is a mapping")


@pytest.mark.parametrize("name", ["report", "measure"])
def test_a_folder_without_runs_is_named(tmp_path, name):
    store = made_store(tmp_path / "out")
    shutil.rmtree(store.path / "runs")
    assert "no run" in refused(name, store.path)
    assert command("ls", store.path).code == 0
