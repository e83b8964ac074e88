import os
import signal
from pathlib import Path

import pytest
from made_runs import VERSIONS, made_record, made_specs, made_study
from saying import says
from sweeps import Heard

from steadytune.errors import UserError
from steadytune.records import RunStore
from steadytune.study import RunSpec
from steadytune.sweep.executors import EXECUTORS, Executor, do_jobs, find_executor
from steadytune.sweep.executors.local import Local
from steadytune.sweep.executors.processes import Processes
from steadytune.sweep.job import Job, TrainingJob
from steadytune.sweep.listener import Share


class Made(Job):
    """A run that is not trained, in the process that does it."""

    def __init__(self, spec, what="write"):
        self.spec, self.what = RunSpec.model_validate(spec), what

    def plain(self):
        return {"spec": self.spec.model_dump(mode="json"), "what": self.what}

    @property
    def ids(self):
        return (self.spec.id,)

    def do(self, ids, store, listener):
        listener.started(self.spec.id)
        if self.what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.what == "raise":
            raise LookupError("a bug")
        store.write(made_record(self.spec, notes=(str(os.getpid()), os.environ["OMP_NUM_THREADS"])), {})
        listener.finished(self.spec.id)

    def give_up(self, one, reason, store):
        raise UserError(reason)


class Reversed(Executor):
    name = "reversed"

    def run(self, jobs, store, listener):
        Local().run(list(reversed(jobs)), store, listener)


class Idle(Executor):
    name = "idle"

    def run(self, jobs, store, listener):
        Local().run(jobs[:1], store, listener)


@pytest.fixture(autouse=True)
def workers_find_the_tests(monkeypatch):
    monkeypatch.setenv(
        "PYTHONPATH",
        os.pathsep.join(map(str, Path(__file__).parents[:2])),
        prepend=os.pathsep,
    )


@pytest.fixture
def made(tmp_path):
    study = made_study(seeds=3)
    return RunStore.create(tmp_path / "out", study, VERSIONS), made_specs(study)


def notes(store):
    return [record.notes for record in store.records()]


def test_jobs_of_any_kind_are_done_here_or_in_processes_with_a_thread_each(made):
    store, specs = made
    Local().run([Made(specs[0])], store, Heard())
    assert notes(store) == [(str(os.getpid()), os.environ["OMP_NUM_THREADS"])]
    heard = Heard()
    Processes(1).run([Made(spec) for spec in specs], store, heard)
    assert heard.of("elsewhere") == [specs[0].id]
    assert sorted(heard.of("finished")) == sorted(spec.id for spec in specs[1:])
    assert {note[1] for note in notes(store)[1:]} == {"1"}
    assert str(os.getpid()) not in {note[0] for note in notes(store)[1:]}


def test_a_job_that_kills_its_process_is_given_up_in_its_own_words(made):
    store, specs = made
    with pytest.raises(UserError, match=says("2", "SIGKILL")):
        Processes(1).run([Made(specs[0], "kill")], store, Heard())


def test_what_a_job_should_not_raise_is_raised_with_its_traceback(made):
    store, specs = made
    with pytest.raises(RuntimeError, match="LookupError: a bug"):
        Processes(1).run([Made(specs[0], "raise")], store, Heard())
    with pytest.raises(LookupError, match="a bug"):
        Local().run([Made(specs[0], "raise")], store, Heard())


def test_an_executor_is_found_by_its_name_or_given_and_by_default_the_workers_say(made):
    assert list(EXECUTORS) == ["local", "processes", "ray"]
    assert isinstance(find_executor(None, 1), Local)
    assert isinstance(find_executor(None, 3), Processes)
    assert find_executor("processes", 3).workers == 3
    with pytest.raises(UserError, match=says("executor", "'proceses'", "'processes'")):
        find_executor("proceses", 1)
    with pytest.raises(UserError, match=says("executor", "'processes'", "int")):
        find_executor(3, 1)
    with EXECUTORS.added(Reversed):
        store, specs = made
        heard = Heard()
        find_executor("reversed", 1).run([Made(spec) for spec in specs], store, heard)
    assert heard.of("finished") == [spec.id for spec in reversed(specs)]


def test_an_executor_that_leaves_jobs_undone_is_not_believed(made):
    store, specs = made
    with pytest.raises(UserError, match=says("'idle'", "2 of 3")):
        do_jobs([Made(spec) for spec in specs], store, Heard(), Idle())
    assert len(store.records()) == 1


def test_a_run_that_lacked_memory_can_be_forgotten_and_no_other(made):
    store, specs = made
    reasons = {
        "OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB": True,
        "MemoryError": True,
        "RuntimeError: [enforce fail at alloc_cpu.cpp:119] . DefaultCPUAllocator: can't allocate memory": True,
        "ValueError: MemoryError": False,
    }
    job, one = TrainingJob(specs[:1]), specs[0].id
    for reason, short in reasons.items():
        store.write(made_record(specs[0], status="crashed", reason=reason), {})
        assert job.short_of_memory(one, store) is short
        job.forget(one, store)
        assert one not in store
    store.write(made_record(specs[0]), {})
    assert not job.short_of_memory(one, store)


def test_a_share_is_that_of_the_effort(made):
    told = []
    share = Share({"a": 1.0, "b": 3.0}, told.append)
    for event in (lambda: share.advanced("a", 0.5), lambda: share.finished("b"), lambda: share.elsewhere("a")):
        event()
    share.finished("of no part")
    assert told == [0.125, 0.875, 1.0]
