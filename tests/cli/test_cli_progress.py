import io
import re

import pytest
from made_runs import made_record, made_specs, made_study
from rich.console import Console
from saying import names

from steadytune.terminal import progress
from steadytune.terminal.progress import ConsoleListener


@pytest.fixture
def clock(monkeypatch):
    """Set the time that the listener sees."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])

    def set_to(seconds):
        now[0] = 100.0 + seconds

    return set_to


class Records(dict):
    """Stands in for a store: what is told of was recorded before."""

    def record(self, run_id):
        return self[run_id]


def told(listener, event, spec, **fields):
    listener.store[spec.id] = made_record(spec, **fields)
    getattr(listener, event)(spec.id)


def listen(specs, terminal=False):
    stream = io.StringIO()
    listener = ConsoleListener(Console(file=stream, force_terminal=terminal, width=60, color_system=None))
    listener.began(Records(), specs, len(specs))
    return listener, stream


def test_every_run_has_a_line_with_its_outcome_and_what_is_left(clock):
    specs = made_specs(made_study(seeds=4))
    with listen(specs)[0] as listener:
        stream = listener.console.file
        clock(30)
        listener.started(specs[0].id)
        told(listener, "finished", specs[0], score=0.754, timings={"total": 29.6})
        clock(600)
        told(listener, "finished", specs[1], score=0.5)
        told(listener, "finished", specs[2], status="diverged", score=None, reason="the loss [was] not finite")
        told(listener, "elsewhere", specs[3])
    began, *ended = stream.getvalue().strip().splitlines()
    assert began.startswith("4 runs")
    said = [
        ("accuracy 75.4", "30 s", "2 min"),
        ("accuracy 50.0", "failed", "2 s", "10 min"),
        ("diverged", "the loss [was] not finite", "2 s", "3 min"),
        ("accuracy 75.0", "2 s", "process"),
    ]
    assert len(ended) == len(said)
    for n, (line, tokens) in enumerate(zip(ended, said, strict=True)):
        assert line.startswith(f"[{n + 1}/4] standard, seed {n}: ")
        assert names(line, *tokens)
        assert ("failed" in line, "min" in line, "process" in line) == (n == 1, n < 3, n == 3)


def test_what_is_left_is_told_by_how_far_the_runs_have_come(clock):
    specs = made_specs(made_study(seeds=2))
    listener, stream = listen(specs)
    listener.advanced(specs[1].id, 0.5)
    clock(15)
    told(listener, "finished", specs[0])
    assert stream.getvalue().endswith("; about 5 s left\n")


def test_runs_of_several_tasks_are_told_apart():
    specs = made_specs(made_study(task=["one", "two"], seeds=1))
    listener, stream = listen(specs)
    told(listener, "finished", specs[1])
    assert "[1/2] two, standard, seed 0: " in stream.getvalue()


def test_runs_that_are_there_are_counted():
    specs = made_specs(made_study(seeds=3))
    stream = io.StringIO()
    listener = ConsoleListener(Console(file=stream))
    listener.began(Records(), specs, 1)
    assert re.fullmatch(r"1 run\b[^\n]*\b2\b[^\n]*\n", stream.getvalue())


def test_a_terminal_shows_a_bar_per_run_and_one_for_all_and_takes_them_away():
    specs = made_specs(made_study(seeds=2, recipes={"[/b] odd [bold]": {}}))
    listener, stream = listen(specs, terminal=True)
    with listener:
        listener.started(specs[0].id)
        listener.advanced(specs[0].id, 0.5)
        listener.progress.refresh()
        shown = stream.getvalue()
        assert "all runs" in shown
        assert "[/b] odd [bold], seed 0" in shown
        assert "50%" in shown
        told(listener, "finished", specs[0])
        listener.started(specs[1].id)
        told(listener, "finished", specs[1])
        assert len(listener.progress.tasks) == 1
    assert re.search(r"\[2/2\] \[/b\] odd \[bold\], seed 1: accuracy 75\.0, 2 s", stream.getvalue())


def test_the_cursor_is_back_however_a_sweep_ends():
    specs = made_specs(made_study(seeds=1))
    for error in (KeyboardInterrupt, RuntimeError, None):
        stream = io.StringIO()
        listener = ConsoleListener(Console(file=stream, force_terminal=True, width=60))
        try:
            with listener:
                listener.began(Records(), specs, 1)
                listener.started(specs[0].id)
                if error:
                    raise error
        except (KeyboardInterrupt, RuntimeError):
            pass
        # Hidden while bars are shown, then shown.
        assert re.findall(r"\x1b\[\?25([hl])", stream.getvalue())[-1] == "h"
        assert "\x1b[?25l" in stream.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (5399, "90 min"), (5400, "1.5 h"), (90000, "25.0 h")],
)
def test_durations_are_read_at_a_glance(seconds, text):
    assert progress._duration(seconds) == text
