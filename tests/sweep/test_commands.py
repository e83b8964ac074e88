"""Any command over seeds and values, with scripts that are really run."""

import json
import os
import signal
import sys

import numpy as np
import psutil
import pytest
from commands import Started, command, refused, runs_in, wait_for
from saying import names, says
from scripts import script, words_of
from sweeps import Heard

import steadytune as st
from steadytune.errors import UserError
from steadytune.external.commands.store import CommandStore
from steadytune.sweep import commands
from steadytune.sweep.capacity import processors

pytestmark = pytest.mark.slow


def run(folder, *more, body="predict()", **given):
    given = {"seeds": 3, "out": folder / "out", **given}
    return st.run_command(words_of(script(folder, body), *more), **given)


def fates(store):
    return {record.id: record.status for record in store.records()}


def lines_of(folder):
    """Return what the runs of a script have noted, one line each."""
    path = folder / "noted"
    return path.read_text().split() if path.exists() else []


NOTE = """
with open(os.path.join(os.path.dirname(sys.argv[0]), "noted"), "a") as file:
    file.write(f"{seed}\\n")
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_every_seed_is_run_once_and_measured_by_what_it_left(tmp_path, workers):
    heard = Heard()
    store = run(tmp_path, body=NOTE + "predict()", seeds=4, workers=workers, listener=heard)
    assert sorted(lines_of(tmp_path)) == list("0123")
    assert fates(store) == {f"seed-{seed}": "done" for seed in range(4)}
    assert heard.total == (4, 4)
    assert sorted(heard.of("started")) == sorted(heard.of("finished")) == sorted(fates(store))
    (cohort,) = store.cohorts()
    assert cohort.seeds == ("0", "1", "2", "3")
    assert cohort.metric == "accuracy"
    assert cohort.lost == ()
    for seed, predictions in zip(cohort.seeds, cohort.predictions, strict=True):
        rows = (tmp_path / f"out/runs/seed-{seed}/out/predictions.csv").read_text().split()[1:]
        assert predictions.tolist() == [int(row.split(",")[2]) for row in rows]
    # It is all kept, and the same call does nothing more.
    run(tmp_path, body=NOTE + "predict()", seeds=4, workers=workers)
    assert len(lines_of(tmp_path)) == 4
    run(tmp_path, body=NOTE + "predict()", seeds=5, workers=workers)
    assert sorted(lines_of(tmp_path)) == list("01234")


def test_values_are_crossed_and_each_combination_is_a_cohort_whose_runs_are_paired_by_seed(tmp_path):
    store = run(
        tmp_path,
        "--wrong",
        "{wrong}",
        "--sort",
        "{sort}",
        body='predict(wrong=float(words["--wrong"]))',
        values={"wrong": [0.1, 0.4], "sort": ["A b"]},
        seeds=[7, 3],
    )
    assert len(fates(store)) == 4
    cohorts = store.cohorts()
    assert [cohort.recipe for cohort in cohorts] == ["sort=A b, wrong=0.1", "sort=A b, wrong=0.4"]
    assert [cohort.seeds for cohort in cohorts] == [("3", "7")] * 2
    comparison = st.compare(store.path)
    assert [row.is_baseline for row in comparison.rows()] == [True, False]
    assert comparison.rows()[1].same_seed is not None
    assert list(store.to_frame()["wrong"]) == ["0.1", "0.1", "0.4", "0.4"]


@pytest.mark.parametrize(
    ("body", "status", "code", "said"),
    [
        ("print('a'); raise ValueError('of\\nseed 1')", "crashed", 1, ["exit code 1", "ValueError: of"]),
        ("print('the last words'); sys.stdout.flush(); os._exit(7)", "crashed", 7, ["exit code 7", "the last words"]),
        ("sys.exit(0) if seed != 1 else sys.exit(3)", "crashed", 3, ["exit code 3"]),
        ("import signal; os.kill(os.getpid(), signal.SIGKILL)", "crashed", -9, ["SIGKILL", "memory"]),
        ("import signal; os.kill(os.getpid(), signal.SIGSEGV)", "crashed", -11, ["SIGSEGV"]),
    ],
)
def test_a_run_that_fails_is_a_record_with_the_end_of_its_log_and_the_others_go_on(tmp_path, body, status, code, said):
    store = run(tmp_path, body=f"predict()\nif seed == 1:\n    {body}")
    assert fates(store) == {"seed-0": "done", "seed-1": status, "seed-2": "done"}
    record = store.record("seed-1")
    assert record.code == code
    assert names(record.reason, *said)
    assert "\n" not in record.reason
    (cohort,) = store.cohorts()
    assert cohort.seeds == ("0", "2"), "what a failed run wrote is not measured"
    assert [(lost.seed, lost.reason) for lost in cohort.lost] == [("1", record.reason)]
    # What it wrote is there to be looked at.
    folder = store.path / "runs" / "seed-1"
    assert sorted(os.listdir(folder)) == ["log.txt", "partial", "run.json"]
    assert (folder / "partial/predictions.csv").exists()


def test_failed_runs_are_done_again_only_if_asked(tmp_path):
    body = f"{NOTE}\nflag = os.path.join(os.path.dirname(sys.argv[0]), 'flag')\n"
    body += "if seed == 1 and not os.path.exists(flag):\n    sys.exit(1)\npredict()"
    assert fates(run(tmp_path, body=body))["seed-1"] == "crashed"
    (tmp_path / "flag").write_text("")
    assert fates(run(tmp_path, body=body))["seed-1"] == "crashed"
    assert fates(run(tmp_path, body=body, retry_failed=True)) == {f"seed-{seed}": "done" for seed in range(3)}
    assert sorted(lines_of(tmp_path)) == ["0", "1", "1", "2"]
    assert not [name for name in os.listdir(tmp_path / "out/runs") if name.startswith(".")]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_is_ended_at_its_time_limit_with_all_that_it_started(tmp_path, workers):
    body = """
    import signal, subprocess
    if seed == 0:
        # One is deaf to a request to end, one has left the session of the command, and one its parent.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sleep = [sys.executable, "-c", "import time; time.sleep(1000)"]
        started = [os.getpid(), subprocess.Popen(sleep, start_new_session=True).pid]
        lost = subprocess.run(["sh", "-c", "sleep 1000 > /dev/null 2>&1 & echo $!"], capture_output=True, text=True)
        started.append(int(lost.stdout))
        with open(os.path.join(os.path.dirname(sys.argv[0]), "noted"), "w") as file:
            file.write(" ".join(map(str, started)))
        print("nearly there", flush=True)
        time.sleep(1000)
    predict()
    """
    store = run(tmp_path, body=body, timeout=15 if workers == 1 else "0.25min", workers=workers)
    assert fates(store) == {"seed-0": "stopped", "seed-1": "done", "seed-2": "done"}
    record = store.record("seed-0")
    assert names(record.reason, "15 s", "nearly there")
    assert record.seconds >= 15
    pids = list(map(int, lines_of(tmp_path)))
    assert len(pids) == 3
    assert not [pid for pid in pids if psutil.pid_exists(pid)]


def test_what_a_command_leaves_running_ends_with_it(tmp_path):
    body = """
    import subprocess
    left = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    with open(f"{out}/pid", "w") as file:
        file.write(str(left.pid))
    predict()
    """
    store = run(tmp_path, body=body, seeds=2)
    for record in store.records():
        assert record.status == "done"
        assert not psutil.pid_exists(int((store.path / "runs" / record.id / "out/pid").read_text()))
        assert names(store.log(record).read_text(), "[steadytune]", "1")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_command_runs_where_the_user_is_in_the_users_environment_and_reads_nothing(tmp_path, monkeypatch, workers):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.chdir(tmp_path)
    body = """
    import json
    with open(f"{out}/found", "w") as file:
        json.dump([dict(os.environ), os.getcwd(), sys.stdin.read(), os.getpgrp() == os.getpid()], file)
    """
    store = run(tmp_path, body=body, seeds=2, workers=workers)
    for record in store.records():
        found = json.loads((store.path / "runs" / record.id / "out/found").read_text())
        assert set(found[0].items()) ^ set(os.environ.items()) == set()
        assert found[1:] == [str(tmp_path), "", True]


def test_what_both_streams_print_is_the_log(tmp_path):
    store = run(tmp_path, body="print('out', seed, flush=True); print('err', seed, file=sys.stderr)", seeds=2)
    assert [store.log(record).read_text().split("\n")[:2] for record in store.records()] == [
        ["out 0", "err 0"],
        ["out 1", "err 1"],
    ]


def test_a_changed_command_or_folder_is_refused(tmp_path, monkeypatch):
    run(tmp_path)
    for more in (["--more", "1"], ["--lr", "{lr}"]):
        values = {"lr": [1]} if "{lr}" in more else {}
        with pytest.raises(UserError, match=says(tmp_path / "out", "another command", "train.py", "--out")):
            run(tmp_path, *more, values=values)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=says(tmp_path / "out", "--out")):
        run(tmp_path)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter.tex").write_text("years of work")
    with pytest.raises(UserError, match=says("thesis", "not empty", "--out")):
        run(tmp_path, out=tmp_path / "thesis")


def test_a_script_that_changed_between_runs_is_said(tmp_path):
    run(tmp_path, seeds=2)
    assert not [note for note in run(tmp_path, seeds=3).cohorts()[0].notes if "train.py" in note]
    (cohort,) = run(tmp_path, body="predict(wrong=.3)", seeds=4).cohorts()
    assert [note for note in cohort.notes if names(note, "train.py", "3 runs", "1 run ", "seed 3")]


def test_a_script_that_takes_no_notice_of_its_seed_is_said(tmp_path):
    (cohort,) = run(tmp_path, body="predict(draw=5)").cohorts()
    found = st.profile(cohort)
    assert [note for note in found.first_notes if names(note, "identical", "the seed changes nothing")]
    assert np.isnan(found.last("disagreement").interval.low)


def test_files_that_record_another_seed_than_was_given_are_said(tmp_path):
    body = """
    predict()
    text = open(f"{out}/predictions.csv").read().split()
    with open(f"{out}/predictions.csv", "w") as file:
        file.write("\\n".join([text[0] + ",seed", *(f"{line},{42 + (seed == 1)}" for line in text[1:])]))
    """
    (cohort,) = run(tmp_path, body=body).cohorts()
    assert cohort.seeds == ("0", "1", "2")
    assert [note for note in cohort.notes if names(note, "3 of 3", "seed 0: 42", "{seed}")]


def test_results_elsewhere_are_brought_home_and_old_ones_are_not_taken_for_new_ones(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = script(
        tmp_path, "os.makedirs(f'outputs/{seed}', exist_ok=True)\nif seed != 1: predict(f'outputs/{seed}/p.csv')"
    )
    (tmp_path / "outputs/1").mkdir(parents=True)
    old = tmp_path / "outputs/1/p.csv"
    old.write_text("label,prediction\n1,1\n")
    os.utime(old, (1e9, 1e9))
    words = [sys.executable, str(path), "--seed", "{seed}"]
    store = st.run_command(words, seeds=3, out="out", results="outputs/{seed}/*.csv")
    assert set(fates(store).values()) == {"done"}
    (cohort,) = store.cohorts()
    assert cohort.seeds == ("0", "2")
    assert names(store.log(store.record("seed-1")).read_text(), "older than the run")
    # Whatever happens there later.
    before = cohort.predictions.tolist()
    for seed in (0, 2):
        (tmp_path / f"outputs/{seed}/p.csv").unlink()
    assert store.cohorts()[0].predictions.tolist() == before


def test_results_that_were_changed_are_left_out(tmp_path):
    store = run(tmp_path)
    with (store.path / "runs/seed-1/out/predictions.csv").open("a") as file:
        file.write("40,1,1\n")
    (cohort,) = store.cohorts()
    assert cohort.seeds == ("0", "2")
    assert names(cohort.lost[0].reason, "checksum")


def test_runs_that_leave_nothing_are_done_and_how_to_write_something_is_said(tmp_path):
    store = run(tmp_path, body="open(f'{out}/model.bin', 'w').write('x')")
    assert set(fates(store).values()) == {"done"}
    assert names(store.unmeasured(store.record("seed-0")), "model.bin")
    with pytest.raises(UserError, match=says("3 runs", "model.bin", "label", "prediction", "steadytune measure")):
        store.cohorts()
    # With a script that was mended they are done again.
    assert not store.unmeasured(run(tmp_path, retry_failed=True).record("seed-0"))


def test_runs_whose_files_cannot_be_read_are_done_again_too(tmp_path):
    store = run(tmp_path, body="open(f'{out}/p.csv', 'w').write('step,loss\\n1,2\\n')", seeds=2)
    assert names(store.unmeasured(store.record("seed-0")), "p.csv", "prediction")
    assert not store.unmeasured(run(tmp_path, seeds=2, retry_failed=True).record("seed-0"))


@pytest.mark.parametrize(("executor", "given"), [("ray", 0), (None, processors()), ("processes", processors())])
def test_an_executor_that_knows_what_fits_is_not_limited_to_this_machine(tmp_path, monkeypatch, executor, given):
    asked = []
    monkeypatch.setattr(commands, "do_jobs", lambda jobs, store, listener, *more: asked.append(more))
    run(tmp_path, executor=executor, workers=0)
    assert asked == [(executor, given)]


def words(folder, *more, body="predict()"):
    return ["sweep", "--out", folder / "out", *more, "--", *words_of(script(folder, body))]


SLOW = NOTE + "\ntime.sleep(.3)\npredict()"


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_it_takes_its_commands_along_and_the_same_command_goes_on(tmp_path, workers):
    body = f"{SLOW}\nif seed == 3 and not os.path.exists(f'{{sys.argv[0]}}.again'):\n    time.sleep(1000)"
    given = words(tmp_path, "--seeds", 6, "--workers", workers, body=body)
    process = Started(*given, folder=tmp_path)
    wait_for(lambda: "3" in lines_of(tmp_path), what="the run that never ends")
    begun = psutil.Process(process.pid).children(recursive=True)
    assert any("train.py" in " ".join(child.cmdline()) for child in begun if child.is_running())
    process.kill()
    wait_for(lambda: not [child for child in begun if alive(child)], what="the end of all that it started")
    kept = runs_in(tmp_path / "out")
    assert "seed-3" not in kept
    # The others that were running are not.
    assert 4 - workers <= len(kept) <= 3
    (tmp_path / "train.py.again").write_text("")
    result = command(*given)
    assert result.code == 0, result.out
    assert fates(CommandStore(tmp_path / "out")) == {f"seed-{seed}": "done" for seed in range(6)}
    noted = lines_of(tmp_path)
    assert [seed for seed in noted if f"seed-{seed}" in kept] == sorted(seed.removeprefix("seed-") for seed in kept)
    assert not [name for name in os.listdir(tmp_path / "out/runs") if name.startswith(".")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_a_line_and_leaves_nothing_half(tmp_path, number):
    body = "predict()\nif seed == 1: time.sleep(1000)"
    process = Started(*words(tmp_path, "--seeds", 3, body=body), folder=tmp_path)
    process.wait_for_runs(tmp_path / "out", 1)
    wait_for(
        lambda: any("train.py" in " ".join(cmdline(child)) for child in psutil.Process(process.pid).children(True)),
        what="the second run",
    )
    begun = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, number)
    result = process.wait()
    assert result.code == 128 + number
    *_, kept, last = result.out.splitlines()
    assert names(kept, "finished runs", "kept")
    assert names(last, "Ctrl-C" if number == signal.SIGINT else "SIGTERM")
    assert "Traceback" not in result.out
    assert not [child for child in begun if alive(child)]
    assert os.listdir(tmp_path / "out/runs") == ["seed-0"]


def test_two_sweeps_at_once_share_the_runs(tmp_path):
    given = words(tmp_path, "--seeds", 8, body=SLOW)
    both = [Started(*given, folder=tmp_path) for _ in range(2)]
    results = [process.wait() for process in both]
    assert [result.code for result in results] == [0, 0], results
    assert sorted(lines_of(tmp_path)) == [str(seed) for seed in range(8)]
    for result in results:
        assert names(result.out, "[8/8]", "report:")


def test_the_command_line_reports_and_lists(tmp_path):
    result = command(*words(tmp_path, "--seeds", 4, body="if seed == 2: raise KeyError('gone')\npredict()"))
    assert result.code == 0, result.err
    assert names(
        result.out, "4 runs", "[3/4] seed 2: crashed: exit code 1: KeyError: 'gone'", "accuracy", "1 run failed"
    )
    assert names(result.out, "1 run failed", "--retry-failed -- ", "report:")
    page = (tmp_path / "out/report.html").read_text()
    assert names(page, "train.py", "3 of 4 runs finished")
    listed = command("ls", tmp_path / "out").out
    assert names(listed, "seed-2", "FAILED exit code 1: KeyError", "log.txt", "4 of 4 runs")
    assert names(command("measure", tmp_path / "out").out, "accuracy", "3, in 3 .csv files")
    assert command("report", tmp_path / "out").code == 0
    assert names(refused("compare", tmp_path / "out"), "--set")
    # Nothing is done, and all is there.
    again = command(*words(tmp_path, "--seeds", 4, body="if seed == 2: raise KeyError('gone')\npredict()"))
    assert names(again.out, "0 runs", "4 already done")


def test_it_ends_with_1_if_no_run_finished(tmp_path):
    result = command(*words(tmp_path, "--seeds", 2, body="sys.exit(4)"))
    assert result.code == 1
    assert names(result.out, "exit code 4", "2 runs failed")


def test_what_is_asked_wrong_is_refused_before_anything_is_written(tmp_path):
    path = script(tmp_path)
    out = ["--out", tmp_path / "out"]
    seeds = ["--seeds", 3]
    for given, said in [
        ([*out, "--", *words_of(path)], ["--seeds"]),
        ([*seeds, "--", *words_of(path)], ["--out"]),
        ([*seeds, *out], ["--", "python train.py"]),
        ([*seeds, *out, "--", "python {seed} {out} | tee log"], ["|", "sh -c"]),
        ([*seeds, *out, "--timeout", "soon", "--", *words_of(path)], ["soon", "30m"]),
        ([*out, "--seeds", "1,1", "--", *words_of(path)], ["twice"]),
        ([*out, "--seeds", "0", "--", *words_of(path)], ["no seeds"]),
        ([*out, "--seeds", "many", "--", *words_of(path)], ["many", "13,42,100"]),
        ([*seeds, *out, "--set", "lr", "--", *words_of(path)], ["lr=1e-5"]),
        ([*seeds, *out, "--columns", "lable=gold", "--", *words_of(path)], ["'lable'", "'label'"]),
        ([*seeds, *out, "--executor", "ry", "--", *words_of(path)], ["'ry'"]),
    ]:
        assert names(refused("sweep", *given), *said)
    assert not (tmp_path / "out").exists()


def test_a_dry_run_prints_the_commands(tmp_path):
    result = command("sweep", "--seeds", "3,5", "--dry-run", "--out", tmp_path / "out", *words_of(script(tmp_path)))
    assert [line.split(":")[0] for line in result.out.splitlines()] == ["seed 3", "seed 5"]
    assert names(result.out, "--seed 5", "runs/seed-5/out")
    assert not (tmp_path / "out").exists()


def alive(process):
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def cmdline(process):
    try:
        return process.cmdline()
    except psutil.Error:
        return []
