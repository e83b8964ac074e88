"""Studies of the tiny model, and what tests ask of the folders that they leave."""

import os
import threading
from pathlib import Path

import numpy as np
from commands import runs_in

from steadytune.records import RunStore
from steadytune.study import Study
from steadytune.sweep.listener import Listener
from steadytune.sweep.plan import plan

FAST = {"learning_rate": 1e-2, "epochs": 1, "batch_size": 8}


def tiny_study(model, task, **content):
    training = {**FAST, **content.pop("training", {})}
    return Study.parse({"model": str(model), "task": str(task), "training": training, **content})


class Heard(Listener):
    """Keeps what it hears, as (event, run id)."""

    def __init__(self):
        self.events = []
        self.total = None
        self.ends = 0
        self.shares = []

    def began(self, store, specs, missing):
        self.total = len(specs), missing

    def started(self, run_id):
        self.events.append(("started", run_id))

    def advanced(self, run_id, share):
        self.shares.append(share)

    def finished(self, run_id):
        self.events.append(("finished", run_id))

    def elsewhere(self, run_id):
        self.events.append(("elsewhere", run_id))

    def ended(self):
        self.ends += 1

    def of(self, event):
        return [run_id for name, run_id in self.events if name == event]


def run_files(out):
    """Return what identifies each run's files: path -> (inode, time of writing)."""
    found = {path: path.stat() for path in sorted((Path(out) / "runs").glob("[!.]*/*"))}
    return {path: (stat.st_ino, stat.st_mtime_ns) for path, stat in found.items()}


def check_whole(out, study):
    """Check that a folder holds exactly the runs of a study, every byte of them, and no remains."""
    store = RunStore(out)
    expected = {spec.id for spec in plan(study)}
    assert {*os.listdir(store.path / "runs")} == expected
    for record in store.records():
        assert record.status == "done", record.reason
        arrays = store.arrays(record)
        assert arrays["logits"].shape == (24, 2)
        assert {*os.listdir(store.path / "runs" / record.spec.id)} == {"run.json", "arrays.safetensors"}
    left = [path for path in store.path.rglob(".*") if path.name != ".study.lock"]
    assert left == []
    return store


def same_results(one, other):
    """Check that two folders hold the same runs to the bit."""
    assert runs_in(one.path) == runs_in(other.path)
    for record in one.records():
        mine, theirs = one.arrays(record), other.arrays(other.record(record.spec.id))
        assert mine.keys() == theirs.keys()
        for name in mine:
            np.testing.assert_array_equal(mine[name], theirs[name])


def pause(seconds):
    threading.Event().wait(seconds)
