import errno
import json
import os
import re
import shlex
import shutil
import subprocess
import sysconfig

import numpy as np
import pytest
import yaml
from commands import Started, command, refused
from saying import names, says

from steadytune.analysis.components import variance_components
from steadytune.cli import run as cli_run
from steadytune.errors import UserError
from steadytune.records import RunStore
from steadytune.terminal.study_options import put

FAST = ["--set", "training.epochs=1", "--set", "training.learning_rate=1e-2", "--set", "training.batch_size=8"]


def from_the_sweep_on(result):
    """Return the lines after those that say what was read."""
    lines = result.out.splitlines()
    return lines[next(n for n, line in enumerate(lines) if " to train" in line) :]


@pytest.fixture
def words(tiny_model, tiny_task):
    return ["run", "--model", tiny_model, "--task", tiny_task, "--workers", 1, *FAST]


def test_a_study_given_in_words_is_trained_compared_and_reported(words, tmp_path):
    out = tmp_path / "out"
    result = command(*words, "--recipe", "standard", "--recipe", "mmr", "--seeds", 2, "--out", out)
    assert result.code == 0, result.err
    lines = from_the_sweep_on(result)
    assert lines[0].startswith("4 runs ")
    for n, name in enumerate(["standard, seed 0", "mmr, seed 0", "standard, seed 1", "mmr, seed 1"]):
        left = r"; about \d+ (s|min) left" if n < 3 else ""
        assert re.fullmatch(rf"\[{n + 1}/4\] {name}: accuracy [\d.]+( \(failed run\))?, \d+ s{left}", lines[n + 1])
    assert lines[-1] == f"report: {out / 'report.html'}"
    for name in ("report.html", "runs.csv", "measures.csv", "study.yaml"):
        assert (out / name).stat().st_size > 100
    store = RunStore(out)
    assert {record.spec.training.learning_rate for record in store.records()} == {0.01}
    again = command(*words, "--recipe", "standard", "--recipe", "mmr", "--seeds", 2, "--out", out)
    assert again.code == 0
    assert re.findall(r"\d+", from_the_sweep_on(again)[0]) == ["0", "4"]
    more = command(*words, "--recipe", "surt", "--seeds", 1, "--out", out)
    assert more.code == 0
    assert list(RunStore(out).study.recipes) == ["standard", "mmr", "surt"]


def test_a_dry_run_says_what_would_be_trained_and_writes_nothing(words, tmp_path):
    out = tmp_path / "out"
    told = [*words, "--recipe", "standard", "--recipe", "mmr", "--dry-run"]
    result = command(*told, "--seeds", 2)
    assert result.code == 0, result.err
    assert re.findall(r"\d+", result.out.splitlines()[-1]) == ["4", "4"]
    assert command(*told, "--seeds", 2, "--out", out).code == 0
    assert not out.exists()
    assert command(*words, "--recipe", "standard", "--seeds", 1, "--out", out).code == 0
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    again = command(*told, "--seeds", 2, "--out", out)
    assert re.findall(r"\d+", again.out.splitlines()[-1]) == ["4", "3"]
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    assert command(*told, "--set", "training.split=stratified").code == 2


def test_a_study_file_with_words_over_it_is_trained(tiny_model, tiny_task, tmp_path):
    file = tmp_path / "study.yaml"
    training = {"epochs": 1, "mode": "head"}
    file.write_text(yaml.safe_dump({"model": "nowhere", "task": str(tiny_task), "seeds": 7, "training": training}))
    given = ["--model", tiny_model, "--seeds", 2, "--set", "training.epochs=2", "--set", "task.metric=matthews"]
    result = command("run", file, *given, "--out", tmp_path / "out")
    assert result.code == 0, result.err
    store = RunStore(tmp_path / "out")
    assert [record.metric for record in store.records()] == ["matthews"] * 2
    assert {record.spec.training.epochs for record in store.records()} == {2}
    assert store.study.model == (str(tiny_model),)
    # What a folder holds is a study file like any other.
    assert command("run", tmp_path / "out" / "study.yaml", "--out", tmp_path / "out").code == 0


def test_a_grid_of_seeds_is_trained_and_its_sources_of_luck_told_apart(words, tmp_path):
    out = tmp_path / "out"
    assert command(*words, "--vary", "init, order", "--seeds", 2, "--out", out).code == 0
    done = command(*words, "--vary", "order,init", "--seeds", 3, "--out", out)
    assert done.code == 0, done.err
    assert re.findall(r"\d+", from_the_sweep_on(done)[0]) == ["5", "4"]
    store = RunStore(out)
    assert store.study.to_dict()["seeds"] == {"vary": ["init", "order"], "values": 3}
    cohort = store.cohort("standard")
    assert set(cohort.seeds) == {"0", *(f"{init}/{order}/0" for init in range(3) for order in range(3))} - {"0/0/0"}
    score, wrong = variance_components(cohort)
    assert (score.measure, wrong.measure, wrong.runs) == ("score", "disagreement", 9)
    assert [source.factors for source in wrong.sources] == [("init",), ("order",), ("init", "order")]


@pytest.mark.parametrize("setting", ["full", "head"])
def test_runs_on_training_subsets_of_their_own_share_the_measured_examples(words, setting, tmp_path):
    out = tmp_path / "out"
    given = ["--set", f"training.mode={setting}", "--set", "training.train_size=24"]
    done = command(*words, *given, "--vary", "data", "--seeds", 2, "--out", out)
    assert done.code == 0, done.err
    cohort = RunStore(out).cohort("standard")
    assert cohort.seeds == ("0", "0/0/0/1")
    assert not np.array_equal(*cohort.logits)
    assert "0/0/0/1" in (out / "runs.csv").read_text()


def test_what_cannot_vary_is_said(words, tiny_task, tmp_path):
    given = [*words, "--out", tmp_path / "out"]
    assert names(refused(*given, "--vary", "init,ordr"), "seeds: vary.1:", "'init'", "'order'", "'dropout'", "'data'")
    assert names(refused(*given, "--vary", "data"), "training examples", f"'{tiny_task}'")
    for few in (1, 0, -1):
        said = refused(*given, "--vary", "init,order", "--seeds", few)
        assert names(said, "seeds: values:", "2")
    file = tmp_path / "study.yaml"
    file.write_text("seeds: [0, 1]")
    assert names(refused("run", file, *given[1:], "--vary", "init"), "error: --vary:", str(file), "--seeds")


@pytest.mark.parametrize(
    ("held", "wanted"),
    [
        (None, {"vary": ["order"], "values": 5}),
        (3, {"vary": ["order"], "values": 3}),
        ({"vary": ["init"], "values": 2}, {"vary": ["order"], "values": 2}),
    ],
)
def test_words_say_what_varies_over_what_a_file_says(held, wanted, monkeypatch, tmp_path):
    given = []
    monkeypatch.setattr(cli_run, "execute", lambda *arguments: given.append(arguments))
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump({"model": "minilm", "task": "acceptability", "seeds": held}))
    assert command("run", file, "--vary", "order", "--out", tmp_path / "out").code == 0
    assert given[0][0].to_dict()["seeds"] == wanted


@pytest.mark.parametrize(
    ("before", "setting", "after"),
    [
        ({}, "training.epochs=3", {"training": {"epochs": 3}}),
        ({"training": None}, "training.epochs=3", {"training": {"epochs": 3}}),
        ({"training": {"clip": 1}}, "training.epochs=3", {"training": {"clip": 1, "epochs": 3}}),
        ({}, "training.learning_rate=5e-5", {"training": {"learning_rate": "5e-5"}}),
        ({}, "seeds=[1, {init: 0}]", {"seeds": [1, {"init": 0}]}),
        ({"task": "glue/rte"}, "task.metric=f1", {"task": {"name": "glue/rte", "metric": "f1"}}),
        ({"task": ["glue/rte"]}, "task.metric=f1", {"task": {"name": "glue/rte", "metric": "f1"}}),
        ({"task": {"name": "a"}}, "task.metric=f1", {"task": {"name": "a", "metric": "f1"}}),
        ({"task": [{"name": "a"}]}, "task.label=gold=1", {"task": {"name": "a", "label": "gold=1"}}),
        ({"recipes": {"a": {}}}, "recipes.a.training.epochs=2", {"recipes": {"a": {"training": {"epochs": 2}}}}),
        ({}, "model=", {"model": None}),
    ],
)
def test_a_dotted_key_is_put_where_it_belongs(before, setting, after):
    put(before, setting)
    assert before == after


@pytest.mark.parametrize(
    ("content", "setting", "said"),
    [
        ({}, "training.epochs", says("--set", "KEY=VALUE", "'training.epochs'")),
        ({}, "=3", says("--set", "KEY=VALUE", "'=3'")),
        ({"task": ["a", "b"]}, "task.metric=f1", says("'task'", "['a', 'b']", "key")),
        ({"recipes": ["mmr"]}, "recipes.mmr=1", says("'recipes'", "['mmr']", "key")),
        ({}, "a={", says("'{'", "YAML")),
        ({}, "a=!!timestamp 2024", says("'!!timestamp 2024'", "YAML")),
    ],
)
def test_a_setting_that_cannot_be_put_is_said(content, setting, said):
    with pytest.raises(UserError, match=said):
        put(content, setting)


def test_a_half_precision_checkpoint_is_loaded_in_float32_and_that_is_said(words, tiny_model, tmp_path):
    import torch
    from safetensors.torch import load_file, save_file

    model = shutil.copytree(tiny_model, tmp_path / "half")
    weights = load_file(model / "model.safetensors")
    save_file({name: tensor.half() for name, tensor in weights.items()}, model / "model.safetensors", {"format": "pt"})
    result = command(*words, "--model", model, "--seeds", 1, "--out", tmp_path / "both")
    assert result.code == 0, result.err
    assert names(result.out, str(model), "float16", "float32")
    notes = {record.spec.model: record.notes for record in RunStore(tmp_path / "both").records()}
    assert notes[str(tiny_model)] == ()
    (note,) = notes[str(model)]
    assert names(note, "float16", "float32")
    half, whole = (RunStore(tmp_path / "both").cohort("standard", model=str(name)) for name in (model, tiny_model))
    # Trained in half precision it could not follow the other model so closely; rounding its weights alone, it does.
    torch.testing.assert_close(torch.tensor(half.logits), torch.tensor(whole.logits), atol=0.05, rtol=0)
    assert (half.logits != whole.logits).any()


def test_the_command_that_redoes_a_corrupted_run_works_as_it_is_printed(words, tmp_path):
    out = tmp_path / "it's an out folder"
    assert command(*words, "--seeds", 2, "--out", out).code == 0
    before = {record.spec.id: record.score for record in RunStore(out).records()}
    whole, broken = (out / "runs" / run_id for run_id in before)
    kept = (whole / "run.json").stat().st_ino
    (broken / "arrays.safetensors").write_bytes(b"")
    said = command("report", out)
    assert said.code == 0
    assert names(said.err, broken.name, str(out), "corrupt")
    redo = said.err.partition("Redo it: ")[2]
    environment = {**os.environ, "PATH": f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(redo, shell=True, env=environment, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^1 run\b.*\b1\b", done.stdout, re.MULTILINE)
    assert {record.spec.id: record.score for record in RunStore(out).records()} == before
    assert (whole / "run.json").stat().st_ino == kept
    assert command("report", out).code == 0


def test_a_full_disk_ends_a_sweep_in_two_lines_and_keeps_the_finished_runs(words, tmp_path):
    out = tmp_path / "out"
    assert command(*words, "--seeds", 2, "--out", out).code == 0
    before = sorted(os.listdir(out / "runs"))
    # No file may be larger than this: all that comes before a run is written fits, the run does not.
    room = min(path.stat().st_size for path in out.glob("runs/*/run.json")) - 500
    assert room > 1.2 * (out / "study.yaml").stat().st_size
    more = [*words, "--seeds", 4, "--out", out]
    result = Started(*more, folder=tmp_path, file_bytes=room).wait()
    assert result.code == 2, result.out
    lines = from_the_sweep_on(result)
    assert re.findall(r"\d+", lines[0]) == ["2", "2"]
    assert len(lines) == 2
    assert names(lines[1], "error:", "disk", str(out / "runs"), "runs are kept")
    assert sorted(os.listdir(out / "runs")) == before
    assert len(RunStore(out).records()) == 2
    freed = command(*more)
    assert freed.code == 0, freed.err
    assert len(RunStore(out).records()) == 4


def test_a_disk_that_is_full_when_the_report_is_written_keeps_the_runs(words, tmp_path, monkeypatch):
    def full(store, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("steadytune.reporting.report_of_study", full)
    text = refused(*words, "--seeds", 1, "--out", tmp_path / "out")
    assert names(text, "disk", str(tmp_path / "out"))
    assert len(RunStore(tmp_path / "out").records()) == 1


def test_the_demo_is_the_main_job_on_the_offline_model(monkeypatch, tmp_path):
    given = []
    monkeypatch.setattr(cli_run, "execute", lambda *arguments: given.append(arguments))
    assert command("demo", "--out", tmp_path, "--seeds", 3, "--workers", 1).code == 0
    ((study, out, workers),) = given
    assert (out, workers) == (tmp_path, 1)
    assert study.model == ("minilm",)
    assert study.task[0].name == "acceptability"
    assert list(study.recipes) == ["standard", "mmr", "mhloss", "surt"]
    assert len(study.seeds) == 3


def test_run_json_is_plain_and_says_everything_about_the_run(words, tmp_path):
    assert command(*words, "--seeds", 1, "--out", tmp_path / "out").code == 0
    (folder,) = (tmp_path / "out" / "runs").iterdir()
    content = json.loads((folder / "run.json").read_text())
    assert content["id"] == folder.name
    assert content["status"] == "done"
    assert {"steadytune", "torch", "transformers", "python", "device", "threads"} <= content["versions"].keys()
    assert content["arrays"] == {"logits": [24, 2], "labels": [24], "representations": [2, 24, 16]}
    assert {"loss", "step", "learning_rate"} <= content["curves"].keys()
    assert "distance_from_start" in content["measurements"]
    assert shlex.split(content["spec"]["model"]) == [content["spec"]["model"]]


def test_the_first_lines_say_what_was_read_and_what_is_wrong_with_it(tiny_model, tmp_path):
    rows = [{"sentence": f"anna sees the hat {n}", "fine": f"f{n % 4}", "label": n % 2} for n in range(16)]
    for name in ("train", "validation"):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = ["--set", "training.max_length=6", "--set", "training.mode=head"]
    result = command(
        "run", "--model", tiny_model, "--task", tmp_path, "--seeds", 2, *FAST, *given, "--out", tmp_path / "o"
    )
    assert result.code == 0, result.err
    read, aside, trained, cut, runs = result.out.splitlines()[:5]
    for word in ("text (sentence)", "label 'label': '0', '1'", "16 measured", "accuracy"):
        assert word in read
    assert names(aside, "columns", "fine")
    assert names(trained, "16", "16", "(100 %)")
    assert names(cut, "100 %", "6 tokens")
    assert runs.startswith("2 runs ")
    page = (tmp_path / "o" / "report.html").read_text()
    for word in ("fine", "16 of the 16 measured examples", "6 tokens"):
        assert word in page


def test_groups_of_a_task_reach_the_cohort(tiny_model, tmp_path):
    rows = [{"sentence": f"anna sees hat {n}", "doc": f"d{n // 4}", "label": n % 2} for n in range(16)]
    for name in ("train", "validation"):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["run", "--model", tiny_model, "--task", tmp_path, "--seeds", 2, *FAST, "--set", "task.group=doc"]
    for setting in ("head", "full"):
        out = tmp_path / setting
        result = command(*words, "--set", f"training.mode={setting}", "--out", out)
        assert result.code == 0, result.err
        cohort = RunStore(out).cohort("standard")
        assert cohort.groups.tolist() == [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4
