"""One run of a command as a job: what its log says last, and what the job says of itself."""

import json

import pytest
from sweeps import Heard

from steadytune.external.commands.store import CommandStore
from steadytune.external.commands.sweep import Sweep
from steadytune.sweep.command_job import CommandJob, end_of_log
from steadytune.sweep.commands import seconds_of, seeds_of, words_of
from steadytune.sweep.job import packed, unpacked

TRACEBACK = """Traceback (most recent call last):
  File "train.py", line 3, in <module>
    main()
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB

"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ""),
        ("one\ntwo\n\n", "two"),
        (TRACEBACK, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB"),
        (f"{TRACEBACK}Root cause:\n====\n", "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB"),
        ("KeyError\n", "KeyError"),
        ("10%|x\r20%|xx\r30%|xxx", "30%|xxx"),
        ("\x1b[31mtrain.py: error: no seed\x1b[0m\n", "train.py: error: no seed"),
        ("a\n[steadytune] 1 process ended\n", "a"),
        (f"start\n{'x' * 10**5}", f"{'x' * 197}..."),
        ("The Error of my ways: none\n", "The Error of my ways: none"),
    ],
)
def test_the_end_of_a_log_is_its_last_error_or_its_last_line(tmp_path, text, said):
    log = tmp_path / "log.txt"
    log.write_text(text)
    assert end_of_log(log) == said


def test_bytes_that_are_no_text_do_no_harm(tmp_path):
    log = tmp_path / "log.txt"
    log.write_bytes(b"\xff\xfe\x00 words\n")
    assert end_of_log(log).endswith("words")


def made(folder):
    sweep = Sweep(command=("true", "{seed}", "{out}"), folder=str(folder), seeds=(0, 1))
    return CommandStore.create(folder / "out", sweep, {})


def test_another_process_makes_the_same_job_of_what_it_says(tmp_path):
    store = made(tmp_path)
    job = CommandJob(3, {"lr": "1e-5"}, 7.5)
    (again,), found = unpacked(packed([job], store))
    assert (again.ids, again.plain()) == (job.ids, job.plain())
    assert json.loads(json.dumps(job.plain())) == job.plain()
    assert (type(found), found.path) == (CommandStore, store.path)
    assert job.threads == 0, "its environment is left alone"


def test_a_job_that_kills_its_process_is_given_up(tmp_path):
    store = made(tmp_path)
    CommandJob(1, {}).give_up("seed-1", "the process died", store)
    (record,) = store.records()
    assert (record.seed, record.status, record.reason) == (1, "crashed", "the process died")


@pytest.mark.slow
def test_a_program_that_is_gone_by_now_is_the_fate_of_the_run(tmp_path):
    sweep = Sweep(command=("./gone", "{seed}", "{out}"), folder=str(tmp_path), seeds=(0, 1))
    store, heard = CommandStore.create(tmp_path / "out", sweep, {}), Heard()
    CommandJob(0, {}).do(["seed-0"], store, heard)
    assert "No such file" in store.record("seed-0").reason
    assert heard.of("finished") == ["seed-0"]


def test_words_seeds_and_times_are_read():
    assert words_of("python 'a b.py' --x={seed}") == ("python", "a b.py", "--x={seed}")
    assert seeds_of(3) == (0, 1, 2)
    assert seeds_of([5, 2]) == (5, 2)
    times = {"90": 90, 1.5: 1.5, "30m": 1800, "1.5h": 5400, "2d": 172800, "10 s": 10, "5min": 300, None: None}
    assert {given: seconds_of(given) for given in times} == times
