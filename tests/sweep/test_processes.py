import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from commands import PATIENCE, Started, command, runs_in, wait_for
from made_runs import VERSIONS, made_specs, made_store, made_study
from saying import names, says
from sweeps import FAST, Heard, check_whole, run_files, same_results, tiny_study

from steadytune.cli import main as cli_main
from steadytune.errors import UserError
from steadytune.records import RunStore
from steadytune.sweep.execute import run
from steadytune.sweep.executors import processes
from steadytune.sweep.executors.processes import Processes
from steadytune.sweep.job import packed
from steadytune.sweep.plan import jobs

NUMBERS = [signal.SIGTERM, signal.SIGHUP]
NAME = "STARTED_BY_THIS_TEST"
TESTS = Path(__file__).parents[1]
PRETENDING = (sys.executable, str(TESTS / "sweep" / "pretending_worker.py"))


@pytest.fixture(autouse=True)
def worker_environment(monkeypatch, request):
    monkeypatch.setenv("PYTHONPATH", str(TESTS), prepend=os.pathsep)
    # Tells workers from what else this process has started.
    monkeypatch.setenv(NAME, request.node.name)


@pytest.fixture
def pretending(monkeypatch):
    monkeypatch.setattr(processes, "_COMMAND", PRETENDING)


def begun(path, **content):
    study = made_study(**content)
    return RunStore.create(path, study, VERSIONS), made_specs(study)


def living():
    """Return the workers of this process."""
    children = [child for child in psutil.Process().children() if not ended(child)]
    return [child for child in children if child.environ().get(NAME) == os.environ[NAME]]


def ended(process):
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class Killer(Heard):
    """Kills the only worker when it starts a run that still has kills to come."""

    def __init__(self, kills):
        super().__init__()
        self.kills = dict(kills)

    def started(self, run_id):
        super().started(run_id)
        if self.kills.get(run_id, 0):
            self.kills[run_id] -= 1
            (worker,) = living()
            worker.kill()


@pytest.mark.usefixtures("pretending")
def test_several_processes_share_the_runs_and_everything_is_told(tmp_path):
    store, specs = begun(tmp_path / "out", seeds=6)
    heard = Heard()
    Processes(2).run(jobs(specs), store, heard)
    expected = {spec.id for spec in specs}
    assert runs_in(store.path) == expected
    assert sorted(heard.of("started")) == sorted(heard.of("finished")) == sorted(expected)
    # Two at a time: one began before the one before it ended.
    at_work = np.cumsum([1 if name == "started" else -1 for name, _ in heard.events])
    assert at_work.max() == 2
    assert heard.of("elsewhere") == []
    assert max(heard.shares) > 0
    assert living() == []


@pytest.mark.usefixtures("pretending")
def test_workers_are_as_nice_as_their_watcher_and_deaf_to_its_terminal(tmp_path):
    store, specs = begun(tmp_path / "out", seeds=2)
    seen = []

    class Looking(Heard):
        def started(self, run_id):
            super().started(run_id)
            seen.extend((os.getsid(one.pid), os.getpgid(one.pid), one.pid, one.nice()) for one in living())

    Processes(1).run(jobs(specs), store, Looking())
    assert seen
    for session, group, pid, nice in seen:
        # Linux gives each session the same share of the processors, whatever the priority of its processes.
        assert session == os.getsid(0)
        assert group == pid, "an interrupt of the terminal reaches a whole group"
        assert nice == os.nice(0)


@pytest.mark.usefixtures("pretending")
def test_a_worker_that_is_killed_costs_a_run_a_second_try_and_a_third_is_not_made(tmp_path):
    store, specs = begun(tmp_path / "out", seeds=4)
    once, twice = specs[0].id, specs[2].id
    heard = Killer({once: 1, twice: 2})
    Processes(1).run(jobs(specs), store, heard)
    fates = {record.spec.id: record.status for record in store.records()}
    assert fates == {spec.id: "crashed" if spec.id == twice else "done" for spec in specs}
    reason = store.record(twice).reason
    assert names(reason, "2", "SIGKILL", "memory")
    assert heard.of("started").count(once) == heard.of("started").count(twice) == 2
    assert sorted(heard.of("finished")) == sorted(fates), "each run is told once"
    assert not [name for name in os.listdir(store.path / "runs") if name.startswith(".")]


@pytest.mark.usefixtures("pretending")
def test_a_killed_worker_does_not_stop_the_other(tmp_path):
    store, specs = begun(tmp_path / "out", seeds=5)

    class KillFirst(Heard):
        def started(self, run_id):
            super().started(run_id)
            if len(self.events) == 1:
                # Whichever it was: the one that says it first.
                living()[0].kill()

    Processes(2).run(jobs(specs), store, KillFirst())
    assert {record.status for record in store.records()} == {"done"}
    assert len(store.records()) == 5


@pytest.mark.usefixtures("pretending")
def test_the_runs_of_a_process_outside_are_told_too(tmp_path):
    store = made_store(tmp_path / "out")
    specs = made_specs(store.study)
    heard = Heard()
    Processes(1).run(jobs(specs), store, heard)
    assert heard.events == [("elsewhere", spec.id) for spec in specs]


@pytest.mark.parametrize(
    ("code", "how"), [("import sys; sys.exit(3)", "exit code 3"), ("import os; os.abort()", "SIGABRT")]
)
def test_processes_that_cannot_start_end_the_sweep_and_not_in_a_loop(tmp_path, monkeypatch, code, how):
    store, specs = begun(tmp_path / "out")
    monkeypatch.setattr(processes, "_COMMAND", (sys.executable, "-c", code))
    with pytest.raises(UserError, match=says("process", f"({how})")):
        Processes(2).run(jobs(specs), store, Heard())
    assert store.records() == []


def test_a_mistake_of_the_user_that_a_worker_meets_is_said_and_ends_all(tmp_path, monkeypatch):
    store, specs = begun(tmp_path / "out", seeds=4)
    say = """import json, sys, time
sys.stdin.read()
print(json.dumps({"event": "error", "text": "the model is at fault"}), flush=True)
time.sleep(1e4)"""
    monkeypatch.setattr(processes, "_COMMAND", (sys.executable, "-c", say))
    with pytest.raises(UserError, match="the model is at fault"):
        Processes(2).run(jobs(specs), store, Heard())
    assert living() == []


def test_a_worker_whose_watcher_is_gone_ends_and_blames_no_run(tmp_path):
    store, specs = begun(tmp_path / "out", seeds=30)
    process = subprocess.Popen(PRETENDING, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(packed(jobs(specs), store).encode())
    process.stdin.close()
    process.stdout.readline()
    # The pipe is all that ties them: this is what a kill of the watcher does.
    process.stdout.close()
    assert process.wait(PATIENCE) == 1
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    assert {record.status for record in store.records()} <= {"done"}
    # It trains 30 if nothing stops it: how many it began until the pipe was closed is up to the machine.
    assert len(store.records()) < 30


def test_killed_with_its_workers_orphaned_and_started_again_it_trains_what_is_missing(tiny_model, tiny_task, tmp_path):
    seeds, out = 10, tmp_path / "out"
    given = tiny_study(tiny_model, tiny_task, seeds=seeds)
    settings = [word for key, value in FAST.items() for word in ("--set", f"training.{key}={value}")]
    words = ["run", "--model", tiny_model, "--task", tiny_task, "--seeds", seeds, "--out", out, *settings]
    process = Started(*words, "--workers", 2, folder=tmp_path)
    process.wait_for_runs(out, 2)
    orphans = psutil.Process(process.pid).children(recursive=True)
    assert len(orphans) == 2
    process.kill()
    # Nobody tells them: they notice that nobody listens.
    wait_for(lambda: all(ended(orphan) for orphan in orphans), what="the end of the orphans")
    assert 2 <= len(runs_in(out)) < seeds
    assert {record.status for record in RunStore(out).records()} == {"done"}
    before = run_files(out)
    result = Started(*words, "--workers", 1, folder=tmp_path).wait()
    assert result.code == 0, result.out
    assert re.search(rf"^{seeds - len(before) // 2} runs\b.*\b{len(before) // 2}\b", result.out, re.MULTILINE)
    after = run_files(out)
    assert {path: after[path] for path in before} == before
    store = check_whole(out, given)
    # How many trained at the same time is no part of a result.
    same_results(store, run(given, tmp_path / "alone"))


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_ends_a_sweep_and_its_workers_at_once(tiny_model, tiny_task, tmp_path, name):
    number, out = getattr(signal, name), tmp_path / "out"
    words = ["run", "--model", tiny_model, "--task", tiny_task, "--seeds", 50, "--workers", 2, "--out", out]
    process = Started(*words, folder=tmp_path)
    process.wait_for_runs(out, 1)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) == 2
    os.kill(process.pid, number)
    result = process.wait()
    assert [child for child in children if not ended(child)] == [], "they end before the command does"
    assert result.code == 128 + number
    *_, kept, last = result.out.splitlines()
    assert names(kept, "finished runs", "kept")
    assert names(last, name)
    assert "Traceback" not in result.out


def test_a_command_that_was_started_to_ignore_the_end_of_its_terminal_goes_on_ignoring_it(monkeypatch):
    seen = []
    monkeypatch.setattr(cli_main, "_run", lambda words: seen.append([signal.getsignal(one) for one in NUMBERS]) or 0)
    held = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        command("ls")
    finally:
        signal.signal(signal.SIGHUP, held)
    command("ls")
    assert seen == [[cli_main._stop, signal.SIG_IGN], [cli_main._stop, cli_main._stop]]
    assert [signal.getsignal(one) for one in NUMBERS] == [signal.SIG_DFL, held]


def test_an_interrupt_ends_a_sweep_in_a_line_and_keeps_what_is_done(tiny_model, tiny_task, tmp_path):
    words = ["run", "--model", tiny_model, "--task", tiny_task, "--seeds", 50, "--workers", 1]
    process = Started(*words, "--out", tmp_path / "out", folder=tmp_path)
    process.wait_for_runs(tmp_path / "out", 1)
    os.kill(process.pid, signal.SIGINT)
    result = process.wait()
    assert result.code == 130
    said, last = result.out.splitlines()[-2:]
    assert names(said, "finished runs", "kept")
    assert names(last, "Ctrl-C")
    assert "Traceback" not in result.out
    assert not [name for name in os.listdir(tmp_path / "out" / "runs") if name.startswith(".")]
