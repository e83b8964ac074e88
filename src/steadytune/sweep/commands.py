"""Running any command over seeds and values."""

from __future__ import annotations

import math
import os
import platform
import re
import shlex
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from steadytune.errors import UserError, check_path, door, type_of
from steadytune.external.columns import Choices
from steadytune.external.commands.store import CommandStore
from steadytune.external.commands.sweep import Sweep
from steadytune.sweep.capacity import processors
from steadytune.sweep.command_job import CommandJob
from steadytune.sweep.executors import Executor, check_executor, do_jobs, fits
from steadytune.sweep.listener import Listener

# Words that only a shell understands.
_SHELL = {"|", "||", "&", "&&", ";", ">", ">>", "<", "2>", "2>&1", "&>"}
_UNITS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


@door
def run_command(
    command: str | Sequence[str],
    *,
    seeds: int | Sequence[int],
    out: str | Path,
    values: Mapping[str, Sequence[Any]] | None = None,
    results: str | None = None,
    metric: str | None = None,
    positive: str | int | None = None,
    columns: Mapping[str, str] | None = None,
    timeout: float | str | None = None,
    workers: int = 1,
    executor: str | Executor | None = None,
    listener: Listener | None = None,
    retry_failed: bool = False,
) -> CommandStore:
    """Run a command once for every seed and combination of values that its folder does not contain yet.

    `steadytune sweep` in Python. A run that fails is recorded, and the others continue; if everything is killed, the
    same call goes on. `st.compare` and `st.report` take what is returned, or the folder.

    Args:
        command: Program and arguments, in which {seed}, {out} and the names of values stand for those of a run. It is
            run in the current folder, without a shell, in this process's environment; a text is split into words.
        seeds: Number of seeds, from 0; or the seeds.
        out: Folder of the runs; created if missing. Seeds and values may be added to it.
        values: Name of a placeholder -> its values. Every combination is run.
        results: Pattern of the file to measure, relative to {out}, or to the current folder if the command does not
            mention {out}; then it must mention {seed} and each of the values. By default it is looked for in {out}.
        metric: As in `read_runs`, and so are `positive` and `columns`.
        positive: Positive class of the metric.
        columns: Meaning of columns.
        timeout: Time limit of a run: seconds, or a text such as "30m" or "2h".
        workers: Number of concurrent runs; 0 means one per processor, with Ray one per processor of the cluster.
        executor: As in `run`.
        listener: Receives progress events.
        retry_failed: Run those again that failed or left nothing to be measured.

    Raises:
        UserError: The input is wrong, all runs would fail or be the same, or the machine failed. Finished runs are
            kept.
    """
    check_executor(executor)
    check_path(out, "out")
    asked = sweep_of(
        command, seeds=seeds, values=values, results=results, metric=metric, positive=positive, columns=columns
    )
    limit = seconds_of(timeout)
    store = CommandStore.create(out, asked, {"steadytune": version("steadytune"), "python": platform.python_version()})
    runs = list(asked.runs())
    if retry_failed:
        store.forget_failed(run.id for run in runs)
    missing = [run for run in runs if run.id not in store]
    with listener or Listener() as hears:
        hears.began(store, runs, len(missing))
        work = [CommandJob(run.seed, dict(run.values), limit) for run in missing]
        do_jobs(work, store, hears, executor, workers or (0 if fits(executor) else processors()))
    return store


def sweep_of(
    command: str | Sequence[str],
    *,
    seeds: int | Sequence[int],
    values: Mapping[str, Sequence[Any]] | None = None,
    results: str | None = None,
    metric: str | None = None,
    positive: str | int | None = None,
    columns: Mapping[str, str] | None = None,
) -> Sweep:
    """Return what `run_command` would run, checked.

    Raises:
        UserError: The input is wrong, or all runs would fail or be the same.
    """
    asked = Sweep(
        command=words_of(command),
        folder=str(Path.cwd()),
        seeds=seeds_of(seeds),
        values={str(name): _texts(name, some) for name, some in (values or {}).items()},
        results=results,
        metric=metric,
        positive=None if positive is None else str(positive),
        columns=dict(columns or {}),
    )
    asked.check()
    Choices.parse(asked.columns)
    return asked


def words_of(command: str | Sequence[str]) -> tuple[str, ...]:
    """Return the words of a command; a text is split as a shell does, which does not run it.

    Raises:
        UserError: There are none, or one is for a shell.
    """
    if isinstance(command, str):
        try:
            words = shlex.split(command)
        except ValueError as error:
            raise UserError(f"the command cannot be split into words ({error}): give a list of them") from None
        if odd := [word for word in words if word in _SHELL]:
            raise UserError(
                f"no shell runs the command, so that {odd[0]} would be one of its arguments: for a shell, give "
                "sh -c '...' as the command"
            )
    elif isinstance(command, Sequence) and all(isinstance(word, (str, os.PathLike)) for word in command):
        words = list(map(os.fspath, command))
    else:
        raise UserError(f"a command must be a text or a list of words, not {type_of(command)}")
    if not words or not words[0]:
        raise UserError("no command given: write it after --, as in -- python train.py --seed {seed} --output {out}")
    return tuple(words)


def seeds_of(given: Any) -> tuple[int, ...]:
    """Return seeds from their number, or as they are.

    Raises:
        UserError: They are neither, there are none, or one is given twice.
    """
    seeds = given
    if isinstance(given, int) and not isinstance(given, bool):
        seeds = range(given)
    whole = isinstance(seeds, Sequence) and not isinstance(seeds, str)
    if not whole or not all(isinstance(seed, int) and not isinstance(seed, bool) and seed >= 0 for seed in seeds):
        raise UserError(f"seeds must be their number, or a list of numbers from 0, not {given!r:.60}")
    if not seeds:
        raise UserError("no seeds: give at least one")
    if len(set(seeds)) < len(seeds):
        raise UserError("seeds: a seed is given twice, which would be the same run")
    return tuple(seeds)


def seconds_of(given: float | str | None) -> float | None:
    """Return a time limit in seconds, from a number or a text such as "90", "30m" or "1.5h".

    Raises:
        UserError: It is neither, or not positive.
    """
    if given is None:
        return None
    found = re.fullmatch(r"([\d.]+)\s*([a-z]*)", str(given).strip().lower())
    try:
        seconds = float(found[1]) * _UNITS[found[2]] if found else math.nan
    except (KeyError, ValueError):
        seconds = math.nan
    if isinstance(given, bool) or not 0 < seconds < math.inf:
        raise UserError(f"a time limit is a number of seconds, or such as 30m or 2h, not {given!r:.60}")
    return seconds


def _texts(name: Any, values: Any) -> tuple[str, ...]:
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Sequence) or not values:
        raise UserError(f"the values of {name} must be a list, not {values!r:.60}")
    return tuple(map(str, values))
