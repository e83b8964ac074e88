"""Which of a run's files is measured, in its folder or elsewhere."""

import os
import time

import numpy as np
import pytest
from saying import names, says

from steadytune.errors import UserError
from steadytune.external.commands.results import bring_home, results_of, why_unreadable
from steadytune.external.commands.sweep import CommandRun, Sweep

RUN = CommandRun.of(3, {"size": "8"})
TABLE = "label,prediction\n1,1\n0,1\n"
CURVE = "step,loss\n1,0.5\n2,0.4\n"


def swept(**content):
    return Sweep(command=("true", "{seed}", "{out}"), folder="/", seeds=(3,), **content)


def made(folder, *files):
    for name in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".npz":
            np.savez(path, predictions=[1, 0], labels=[1, 1])
        else:
            path.write_text(CURVE if "curve" in name else TABLE)


def found(folder, results=None):
    return [str(path.relative_to(folder)) for path in results_of(swept(results=results), RUN, folder)]


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        (["p.csv"], "p.csv"),
        (["p.npz"], "p.npz"),
        (["p.csv", "model.safetensors", "config.json", "trainer_state.json", "all_results.json"], "p.csv"),
        (["model.safetensors", "adapter_model.safetensors", "model-00001-of-00002.safetensors", "e/p.csv"], "e/p.csv"),
        (["p.csv", "deeper/q.csv"], "p.csv"),
        (["checkpoint-1/model.safetensors", "a/b/p.npz"], "a/b/p.npz"),
        (["p.csv", "curve.csv"], "p.csv"),
        ([".hidden.csv", ".cache/p.csv", "p.csv"], "p.csv"),
    ],
)
def test_the_only_file_that_is_a_run_is_found(tmp_path, files, wanted):
    made(tmp_path, *files)
    assert found(tmp_path) == [wanted]


def test_a_pattern_chooses_and_has_the_values_of_the_run(tmp_path):
    made(tmp_path, "dev_3_8.csv", "test_3_8.csv", "dev_4_8.csv", "deep/e/p.npz")
    assert found(tmp_path, "dev_{seed}_{size}.csv") == ["dev_3_8.csv"]
    assert found(tmp_path, "{out}/test*.csv") == ["test_3_8.csv"]
    assert found(tmp_path, "deep") == ["deep/e/p.npz"]
    assert found(tmp_path, "**/*.npz") == ["deep/e/p.npz"]


@pytest.mark.parametrize(
    ("files", "results", "said"),
    [
        ([], None, ["no files"]),
        (["model.bin"], None, ["model.bin"]),
        (["a.csv", "b.csv"], None, ["a.csv, b.csv", "--results"]),
        (["a.csv"], "b.csv", ["--results b.csv", "a.csv"]),
        (["a.csv", "b.csv"], "*.csv", ["--results", "a.csv, b.csv"]),
        ([f"{n}.txt" for n in range(9)], None, ["5 more"]),
    ],
)
def test_none_or_several_are_named(tmp_path, files, results, said):
    made(tmp_path, *files)
    with pytest.raises(UserError, match=says(*said)):
        found(tmp_path, results)


def test_logs_of_several_tasks_are_one_run(tmp_path):
    stamp = "2026-01-02T03-04-05.678"
    made(tmp_path, *(f"model/samples_{task}_{stamp}.jsonl" for task in ("one", "two")), f"model/results_{stamp}.json")
    assert len(found(tmp_path)) == 2


def test_why_a_file_cannot_be_measured_is_said(tmp_path):
    made(tmp_path, "p.csv", "curve.csv")
    assert why_unreadable([tmp_path / "p.csv"], swept()) == ""
    assert names(why_unreadable([tmp_path / "curve.csv"], swept()), "curve.csv", "prediction")
    (tmp_path / "odd.csv").write_text("gold,guess\n1,1\n0,1\n")
    assert why_unreadable([tmp_path / "odd.csv"], swept())
    assert not why_unreadable([tmp_path / "odd.csv"], swept(columns={"label": "gold", "prediction": "guess"}))


def test_what_was_written_elsewhere_is_copied_unless_it_is_older_than_the_run(tmp_path):
    out = tmp_path / "home"
    out.mkdir()
    made(tmp_path, "away/3/p.csv", "away/3/deep/q.csv", "away/4/p.csv")

    def bring(results, began=0.0):
        bring_home(
            Sweep(command=("true", "{seed}"), folder=str(tmp_path), seeds=(3,), results=results), RUN, out, began
        )
        return sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())

    assert bring("away/{seed}/*.csv") == ["p.csv"]
    assert bring("away/{seed}") == ["3/deep/q.csv", "3/p.csv", "p.csv"]
    assert bring(str(tmp_path / "away/{seed}/p.csv")) == ["3/deep/q.csv", "3/p.csv", "p.csv"]
    with pytest.raises(UserError, match=says("away/3/*.npz")):
        bring("away/{seed}/*.npz")
    old = tmp_path / "away/3/deep/q.csv"
    os.utime(old, (1e9, 1e9))
    assert bring("away/{seed}/*.csv", time.time())
    with pytest.raises(UserError, match=says("q.csv", "older")):
        bring("away/{seed}", time.time())
