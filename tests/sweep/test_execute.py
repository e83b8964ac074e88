import errno
import itertools
import os
import random
import re
import shutil
import sys
import time

import pytest
from commands import PATIENCE, Started, runs_in
from saying import says
from sweeps import FAST, Heard, check_whole, pause, run_files, same_results, tiny_study

from steadytune.errors import UserError
from steadytune.records import RunStore
from steadytune.sweep.execute import run
from steadytune.training import run as training_run

OPTIONS = [word for key, value in FAST.items() for word in ("--set", f"training.{key}={value}")]


@pytest.fixture
def study(tiny_model, tiny_task):
    def make(**content):
        return tiny_study(tiny_model, tiny_task, **content)

    return make


@pytest.fixture
def start(tiny_model, tiny_task, tmp_path):
    """Start `steadytune run` in a process of its own."""

    def begin(out, seeds, *more):
        words = ["run", "--model", tiny_model, "--task", tiny_task, "--seeds", seeds, "--out", out, *OPTIONS, *more]
        return Started(*words, folder=tmp_path)

    return begin


def test_every_run_is_trained_told_and_kept(study, tmp_path):
    heard = Heard()
    given = study(seeds=2, recipes=["standard", "mmr"])
    store = run(given, tmp_path / "out", listener=heard)
    check_whole(tmp_path / "out", given)
    assert heard.total == (4, 4)
    runs = heard.of("started")
    assert {*runs} == runs_in(store.path)
    assert heard.events == [(event, run_id) for run_id in runs for event in ("started", "finished")]
    assert heard.ends == 1
    assert all(0 <= share <= 1 for share in heard.shares)
    for record in store.records():
        assert record.seconds > 0
        assert record.versions["torch"]
        assert len(record.curves["loss"]) == len(record.curves["step"]) > 0


def test_a_clock_that_is_set_back_changes_nothing(study, tmp_path, monkeypatch):
    times = itertools.count(2e9, -3600)
    monkeypatch.setattr(time, "time", lambda: next(times))
    store = run(study(seeds=2), tmp_path / "out")
    monkeypatch.undo()
    check_whole(tmp_path / "out", study(seeds=2))
    assert next(times) < 2e9, "nobody asked"
    assert all(0 < record.seconds < PATIENCE for record in store.records())
    same_results(store, run(study(seeds=2), tmp_path / "other"))


def test_a_second_start_trains_nothing_and_touches_nothing(study, tmp_path):
    run(study(seeds=2), tmp_path / "out")
    before = run_files(tmp_path / "out")
    heard = Heard()
    run(study(seeds=2), tmp_path / "out", listener=heard)
    assert run_files(tmp_path / "out") == before
    assert heard.total == (2, 0)
    assert heard.events == []


def test_more_seeds_train_the_new_ones_alone(study, tmp_path):
    run(study(seeds=2), tmp_path / "out")
    before = run_files(tmp_path / "out")
    heard = Heard()
    run(study(seeds=[1, 2]), tmp_path / "out", listener=heard)
    after = run_files(tmp_path / "out")
    assert {path: after[path] for path in before} == before
    assert len(after) == len(before) + 2
    assert heard.total == (2, 1)
    check_whole(tmp_path / "out", study(seeds=3))


def test_a_run_that_was_removed_comes_back_with_the_same_bits(study, tmp_path):
    given = study(seeds=2)
    store = run(given, tmp_path / "out")
    shutil.copytree(store.path, tmp_path / "copy")
    shutil.rmtree(store.path / "runs" / store.records()[1].spec.id)
    same_results(run(given, store.path), RunStore(tmp_path / "copy"))


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("mat1 and mat2\nshapes cannot be multiplied"), "RuntimeError: mat1 and mat2"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_a_run_that_raises_is_recorded_with_its_reason_and_the_sweep_goes_on(
    study, tmp_path, monkeypatch, error, reason
):
    train_once = training_run.train_once

    def fail_once(specs, cache, progress):
        if specs[0].seeds.init == 1:
            raise error
        return train_once(specs, cache, progress)

    monkeypatch.setattr(training_run, "train_once", fail_once)
    heard = Heard()
    store = run(study(seeds=3), tmp_path / "out", listener=heard)
    assert [(record.status, record.reason) for record in store.records()] == [
        ("done", None),
        ("crashed", reason),
        ("done", None),
    ]
    assert len(heard.of("finished")) == 3
    # It is a result like any other: the next start does not try it again.
    monkeypatch.setattr(training_run, "train_once", None)
    assert len(run(study(seeds=3), tmp_path / "out").records()) == 3
    # Unless it is asked for, and then it alone.
    monkeypatch.setattr(training_run, "train_once", train_once)
    heard = Heard()
    check_whole(run(study(seeds=3), tmp_path / "out", listener=heard, retry_failed=True).path, study(seeds=3))
    assert heard.total == (3, 1)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EACCES, errno.EIO, errno.EROFS, errno.ENOENT])
def test_what_the_machine_refuses_stops_the_sweep_and_is_no_fate_of_a_run(study, tmp_path, monkeypatch, number):
    def fail(specs, cache, progress):
        raise RuntimeError("wrapped") from OSError(number, os.strerror(number), "some/file")

    monkeypatch.setattr(training_run, "train_once", fail)
    with pytest.raises(UserError, match=says("some/file", os.strerror(number), "\n")):
        run(study(seeds=2), tmp_path / "out")
    assert RunStore(tmp_path / "out").records() == []
    monkeypatch.undo()
    check_whole(run(study(seeds=2), tmp_path / "out").path, study(seeds=2))


@pytest.mark.parametrize("setting", ["full", "head"])
def test_a_file_in_the_place_of_the_cache_stops_the_sweep_until_it_is_gone(study, tmp_path, setting):
    surt = {"stabilizers": [{"surt": {"epochs": 1, "head_epochs": 1}}]}
    given = study(seeds=1, training={"mode": setting}, recipes={"surt": surt})
    store = RunStore.create(tmp_path / "out", given, {})
    store.cache.write_text("in the way")
    with pytest.raises(UserError, match=says(str(store.cache), "file", "remove")):
        run(given, store.path)
    assert store.records() == []
    store.cache.unlink()
    assert [record.status for record in run(given, store.path).records()] == ["done"]


def test_a_method_that_calls_sys_exit_is_the_fate_of_its_run(study, tmp_path, monkeypatch):
    monkeypatch.setattr(training_run, "train_once", lambda *arguments: sys.exit(0))
    (record,) = run(study(seeds=1), tmp_path / "out").records()
    assert (record.status, record.reason) == ("crashed", "SystemExit: 0")


@pytest.mark.parametrize("setting", ["full", "head"])
def test_a_loss_that_is_no_number_is_recorded_with_its_step_and_the_sweep_goes_on(study, tmp_path, setting):
    # At this rate the second step leaves the range of single precision.
    wild = {"training": {"learning_rate": 1e30, "epochs": 2}}
    given = study(seeds=2, training={"mode": setting}, recipes={"wild": wild, "standard": {}})
    store = run(given, tmp_path / "out")
    fates = [(record.spec.recipe, record.status) for record in store.records()]
    assert fates == [("wild", "diverged")] * 2 + [("standard", "done")] * 2
    for record in store.records()[:2]:
        assert record.reason is not None
        found = re.search(r"\b(\d+) of 10\b", record.reason)
        assert found is not None
        assert 1 < int(found[1]) <= 10
        assert store.arrays(record) == {}
        assert record.failed


def test_a_mistake_of_the_user_stops_the_sweep_and_is_no_fate_of_a_run(study, tmp_path, monkeypatch):
    def refuse(*arguments):
        raise UserError("the model is at fault")

    monkeypatch.setattr(training_run, "train_once", refuse)
    with pytest.raises(UserError, match="the model is at fault"):
        run(study(seeds=2), tmp_path / "out")
    assert RunStore(tmp_path / "out").records() == []
    monkeypatch.undo()
    check_whole(run(study(seeds=2), tmp_path / "out").path, study(seeds=2))


@pytest.mark.parametrize("method", [{"freeze": {"blocks": 3}}, {"reinit": {"blocks": 3}}])
def test_a_method_that_does_not_fit_the_model_is_refused_before_anything_is_trained(
    tiny_model, tiny_task, tmp_path, method
):
    study = tiny_study(tiny_model, tiny_task, seeds=2, recipes={"mmr": None, "deep": {"stabilizers": [method]}})
    with pytest.raises(UserError, match=says("'deep'", "model", "3", "2")) as caught:
        run(study, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not run_files(tmp_path / "out")


def test_heads_are_trained_together_and_only_those_that_are_missing(study, tmp_path):
    given = study(seeds=4, training={"mode": "head"}, recipes=["standard", "mhloss"])
    heard = Heard()
    store = run(given, tmp_path / "out", listener=heard)
    assert [name for name, _ in heard.events] == (["started"] * 4 + ["finished"] * 4) * 2
    shutil.copytree(store.path, tmp_path / "copy")
    for record in store.records()[1:3]:
        shutil.rmtree(store.path / "runs" / record.spec.id)
    before = run_files(store.path)
    heard = Heard()
    run(given, store.path, listener=heard)
    after = run_files(store.path)
    assert {path: after[path] for path in before} == before
    assert [name for name, _ in heard.events] == ["started"] * 2 + ["finished"] * 2
    same_results(store, RunStore(tmp_path / "copy"))


def test_a_run_that_another_process_holds_is_waited_for_and_told(study, tmp_path, monkeypatch):
    given = study(seeds=2)
    store = run(given, tmp_path / "whole")
    other = run(study(seeds=1), tmp_path / "out")
    held = store.records()[1]
    monkeypatch.setattr("steadytune.sweep.executors.local._POLL_SECONDS", 0.01)
    polls = iter(range(3))

    def finish_elsewhere(seconds):
        if next(polls) == 2:
            other.write(held, store.arrays(held))

    monkeypatch.setattr("steadytune.sweep.executors.local.time.sleep", finish_elsewhere)
    heard = Heard()
    with other.claim(held.spec.id) as mine:
        assert mine
        run(given, other.path, listener=heard)
    assert heard.events == [("elsewhere", held.spec.id)]


def test_killed_at_any_moment_and_started_again_it_trains_what_is_missing(study, start, tmp_path):
    seeds = 12
    given = study(seeds=seeds)
    out = tmp_path / "out"
    rng = random.Random(0)
    kept = {}
    kills = 0
    for attempt in range(6):
        process = start(out, seeds, "--workers", 1)
        done = len(runs_in(out))
        process.wait_for_runs(out, done + 1)
        if attempt % 2:
            # Somewhere in the next run, which takes a few tenths of a second.
            pause(rng.uniform(0, 0.3))
        else:
            # While the next run is written.
            names = set(os.listdir(out / "runs"))
            while process.running and {*os.listdir(out / "runs")} <= names:
                pass
        process.kill()
        if len(runs_in(out)) == seeds:
            break
        kills += 1
        after = run_files(out)
        assert {path: after[path] for path in kept} == kept, "a finished run was touched"
        kept = after
        # A run that is there is whole.
        store = RunStore(out)
        for record in store.records():
            store.arrays(record)
    # How many of the six it survives unfinished is up to the machine.
    assert kills
    missing = seeds - len(runs_in(out))
    last = start(out, seeds, "--workers", 1).wait()
    assert last.code == 0, last.out
    assert re.search(rf"^{missing} runs\b", last.out, re.MULTILINE)
    after = run_files(out)
    assert {path: after[path] for path in kept} == kept
    store = check_whole(out, given)
    same_results(store, run(given, tmp_path / "unharmed"))


def test_killed_between_writing_and_renaming_it_leaves_no_run_and_no_remains_after_the_next(study, start, tmp_path):
    out = tmp_path / "out"
    given = study(seeds=2)
    (first, _) = run(given, tmp_path / "other").records()
    half = out / "runs" / f".{first.spec.id}-half"
    run(study(seeds=[1]), out)
    half.mkdir()
    (half / "run.json").write_text("{")
    assert len(RunStore(out).records()) == 1
    run(given, out)
    check_whole(out, given)


def test_two_processes_started_on_one_folder_share_the_work(study, start, tmp_path):
    seeds = 8
    given = study(seeds=seeds)
    out = tmp_path / "out"
    processes = [start(out, seeds, "--workers", 1) for _ in range(2)]
    results = [process.wait() for process in processes]
    assert [result.code for result in results] == [0, 0], results
    check_whole(out, given)
    lines = [line for result in results for line in result.out.splitlines() if re.match(r"\[\d+/\d+\] ", line)]
    # No record is written over (test_store.py), so that a run trained twice would have ended its process.
    mine = [line.partition("] ")[2].partition(":")[0] for line in lines if "process" not in line]
    assert sorted(mine) == [f"standard, seed {seed}" for seed in range(seeds)], "each run is trained once"
    for result in results:
        assert result.out.count("report: ") == 1
    (out / "report.html").read_text(encoding="utf-8")
