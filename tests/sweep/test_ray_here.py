"""A sweep that starts Ray on this machine by itself."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from commands import wait_for
from sweeps import Heard

from steadytune.sweep.executors.ray import Ray
from steadytune.theory.studies.results import Results

pytest.importorskip("ray", reason="Ray is not installed: pip install 'steadytune[ray]'")

import ray
import ray_cluster
from ray_jobs import Tiny

HERE = Path(__file__).parent
NUMBERS = [signal.SIGINT, signal.SIGTERM]


def test_ray_is_started_for_a_sweep_on_this_machine_alone_and_ends_with_it(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), str(HERE.parent)]), prepend=os.pathsep)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
    handlers, environment = [signal.getsignal(one) for one in NUMBERS], dict(os.environ)
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    open_to = set()

    class Looking(Heard):
        def started(self, run_id):
            super().started(run_id)
            for child in psutil.Process().children(recursive=True):
                if child.pid not in before:
                    found = child.net_connections(kind="inet")
                    open_to.update(one.laddr.ip for one in found if one.status == psutil.CONN_LISTEN)
            # What it changed to start is as it was before anything runs.
            assert [signal.getsignal(one) for one in NUMBERS] == handlers

    heard = Looking()
    with ray_cluster.patient():
        Ray().run([Tiny("a"), Tiny("b")], Results(tmp_path), heard)
    assert sorted(heard.of("finished")) == ["a", "b"]
    assert open_to
    assert {address.removeprefix("::ffff:") for address in open_to} == {"127.0.0.1"}
    assert not ray.is_initialized()
    assert dict(os.environ) == environment
    after = [child for child in psutil.Process().children(recursive=True) if child.pid not in before]
    _, alive = psutil.wait_procs(after, timeout=600)
    assert alive == []
    assert capfd.readouterr() == ("", "")
    assert Results(tmp_path).read("a")["nice"] == os.nice(0)


SWEEP = """
import sys
from pathlib import Path
import ray_cluster
from ray_jobs import Tiny
from steadytune.sweep.executors.ray import Ray
from steadytune.sweep.listener import Listener
from steadytune.theory.studies.results import Results

with ray_cluster.patient():
    Ray().run([Tiny("a", "wait")], Results(Path(sys.argv[1])), Listener())
"""


def test_what_ray_started_ends_with_a_sweep_that_is_killed_and_its_claims_are_free(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), str(HERE.parent)]), prepend=os.pathsep)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    process = subprocess.Popen([sys.executable, "-c", SWEEP, str(tmp_path)])
    wait_for(lambda: process.poll() is not None or list(tmp_path.glob("*.begun")), what="the beginning of the job")
    started = psutil.Process(process.pid).children(recursive=True)
    store = Results(tmp_path)
    with store.claim("a") as mine:
        assert not mine
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(started, timeout=600)
    assert alive == []
    with store.claim("a") as mine:
        assert mine
