"""Jobs on Ray, on a cluster of two nodes that is started here."""

import json
import os
import sys
from pathlib import Path

import pytest
from commands import refused, wait_for
from saying import names, says
from sweeps import Heard, check_whole, same_results, tiny_study

from steadytune.errors import UserError
from steadytune.sweep.execute import run
from steadytune.sweep.executors import find_executor, fits
from steadytune.sweep.executors import ray as on_ray
from steadytune.sweep.executors.ray import Ray
from steadytune.sweep.job import packed
from steadytune.theory.studies.results import Results

pytest.importorskip("ray", reason="Ray is not installed: pip install 'steadytune[ray]'")

import ray
import ray_cluster
from ray_jobs import Tiny

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of one processor, which see what the tests import; this process is connected to them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), str(HERE.parent)]), prepend=os.pathsep)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")
        made = ray_cluster.started()
        with on_ray._connected(ray, made.address):
            yield made
        made.shutdown()


@pytest.fixture
def store(tmp_path):
    return Results(tmp_path)


def free(store, one):
    with store.claim(one) as mine:
        return mine


def done(store, jobs, **options):
    heard = Heard()
    Ray(**options).run(jobs, store, heard)
    assert sorted([*heard.of("finished"), *heard.of("elsewhere")]) == sorted(one for job in jobs for one in job.ids)
    return heard


def test_two_nodes_do_two_jobs_at_a_time_and_all_is_told(cluster, store, capfd):
    jobs = [Tiny("a", "meet"), Tiny("b", "meet"), *(Tiny(name) for name in "cdef")]
    heard = done(store, jobs)
    assert sorted(heard.of("started")) == [*"abcdef"]
    assert 0.5 in heard.shares
    # One processor each: the two that waited for one another were on both.
    assert {store.read(one)["node"] for one in "ab"} == {node.node_id for node in cluster.list_all_nodes()}
    found = store.read("a")
    assert (found["threads"], found["nice"], found["cwd"]) == ("1", os.nice(0), str(Path.cwd()))
    # What was there before is told, not done again.
    assert done(store, [*jobs, Tiny("g")]).of("elsewhere") == [*"abcdef"]
    assert capfd.readouterr() == ("", "")


def test_one_worker_does_one_job_at_a_time(cluster, store):
    heard = done(store, [Tiny(name) for name in "abc"], workers=1)
    assert [event for event, _ in heard.events] == ["started", "finished"] * 3


def test_a_job_that_kills_its_process_is_tried_alone_and_then_given_up(cluster, store, capfd):
    heard = done(store, [Tiny("once", "kill once"), Tiny("twice", "kill"), *(Tiny(name) for name in "abcd")])
    assert heard.of("started").count("once") == heard.of("started").count("twice") == 2
    assert names(store.read("twice")["gave up"], "2", "memory")
    assert store.read("once")["node"]
    # The second tries come last, and one after the other.
    assert [event for event, _ in heard.events[-4:]] == ["started", "finished"] * 2
    assert {name for _, name in heard.events[-4:]} == {"once", "twice"}
    assert capfd.readouterr() == ("", "")


def test_a_job_that_lacks_memory_beside_others_is_tried_alone(cluster, store):
    heard = done(store, [Tiny("a", "short"), Tiny("b", "meet"), Tiny("c", "meet"), Tiny("d", "meet")])
    assert heard.events[-2:] == [("started", "a"), ("finished", "a")]
    assert heard.of("finished").count("a") == 1
    assert store.read("a")["node"]


@pytest.mark.parametrize(
    ("what", "error", "said"),
    [("raise", RuntimeError, "LookupError: a bug"), ("refuse", UserError, "the model is at fault")],
)
def test_what_a_job_raises_ends_the_sweep(cluster, store, what, error, said):
    with pytest.raises(error, match=said):
        Ray().run([Tiny("a", what), Tiny("b", "wait")], store, Heard())

    # What still waited for its file has been stopped.
    wait_for(lambda: free(store, "b"), what="the end of the other job")


def test_a_job_that_fits_on_no_node_is_refused_at_once(cluster, store):
    with pytest.raises(UserError, match=says("3 CPU", "1")):
        Ray().run([Tiny("a", threads=3)], store, Heard())
    with pytest.raises(UserError, match=says("0.5 GPU", "0")):
        Ray(gpus_per_run=0.5).run([Tiny("a")], store, Heard())
    assert list(store.path.iterdir()) == []


def test_the_job_of_a_node_that_dies_is_done_on_another(cluster, store):
    jobs = [Tiny("a", "wait"), Tiny("b", "wait"), Tiny("c")]
    lost = []

    class Killing(Heard):
        def started(self, run_id):
            super().started(run_id)
            if len(self.events) == 2:
                wait_for(lambda: len(list(store.path.glob("*.begun"))) == 2)
                (node,) = [one for one in cluster.list_all_nodes() if one is not cluster.head_node]
                lost.append(node.node_id)
                (begun,) = [path.name[0] for path in store.path.glob("*.begun") if path.read_text() == node.node_id]
                cluster.remove_node(node, allow_graceful=False)
                # Its processes end a moment later than it does.
                wait_for(lambda: free(store, begun), what="the end of the job on the node")
                (store.path / "go").touch()

    heard = Killing()
    try:
        Ray().run(jobs, store, heard)
    finally:
        ray_cluster.add_node(cluster)
    assert len(lost) == 1
    assert sorted(heard.of("finished")) == [*"abc"]
    assert {store.read(one)["node"] for one in "abc"} == {cluster.head_node.node_id}
    begun = [path.name[0] for path in store.path.glob("*.begun") if path.read_text() == lost[0]]
    assert len(begun) == 1
    assert heard.of("started").count(begun[0]) == 2


def test_a_study_leaves_the_same_bits_as_in_one_process(cluster, tiny_model, tiny_task, tmp_path):
    study = tiny_study(tiny_model, tiny_task, seeds=2)
    heard = Heard()
    run(study, tmp_path / "ray", executor="ray", workers=0, listener=heard)
    assert len(heard.of("finished")) == 2
    same_results(check_whole(tmp_path / "ray", study), run(study, tmp_path / "here"))


def test_a_stream_says_what_the_worker_of_a_process_says_and_what_a_node_lacks(store, monkeypatch):
    monkeypatch.setattr(ray, "get_runtime_context", type("", (), {"get_node_id": lambda self: "here"}))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    said = [json.loads(one) for one in on_ray._do(packed([Tiny("a")], store), str(Path.cwd()))]
    assert [one["event"] for one in said] == ["started", "advanced", "finished"]
    (said,) = [json.loads(one) for one in on_ray._do(packed([Tiny("a")], store), "/nowhere/at/all")]
    assert said["event"] == "error"
    assert names(said["text"], "node", "/nowhere/at/all")


def test_options_of_ray_are_checked_and_for_ray_alone(tiny_model, tiny_task, tmp_path):
    for wrong in ({"address": "ray://head:10001"}, {"address": " "}, {"address": 5}):
        with pytest.raises(UserError, match=says("10.0.0.1:6379", repr(next(iter(wrong.values()))))):
            Ray(**wrong)
    for wrong in (-1, 1.5, float("nan"), float("inf"), "1", True):
        with pytest.raises(UserError, match=says("gpus_per_run")):
            Ray(gpus_per_run=wrong)
    assert Ray(gpus_per_run=0.25).gpus_per_run == 0.25
    assert find_executor("ray", 0).workers == 0
    assert [fits(one) for one in ("ray", Ray(), "local", "processes", None)] == [True, True, False, False, False]
    words = ["run", "--model", tiny_model, "--task", tiny_task, "--out", tmp_path / "out"]
    assert names(refused(*words, "--gpus-per-run", 0.5), "--gpus-per-run", "--executor ray")
    assert names(refused(*words, "--ray-address", "auto", "--executor", "local"), "--ray-address", "--executor ray")


def test_without_ray_its_name_says_how_to_get_it(store, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=says("'ray'", "steadytune[ray]")):
        Ray().run([Tiny("a")], store, Heard())
