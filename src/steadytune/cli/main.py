"""The command line: assembles the commands, one file each, and turns user errors into exit code 2."""

from __future__ import annotations

import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from steadytune.cli.compare import compare
from steadytune.cli.demo import demo
from steadytune.cli.doctor import doctor
from steadytune.cli.ls import ls
from steadytune.cli.measure import measure
from steadytune.cli.report import report
from steadytune.cli.run import run
from steadytune.cli.sweep import sweep
from steadytune.cli.validate import validate
from steadytune.errors import FolderWarning, UserError, machine_fault
from steadytune.terminal.lines import complain, say, show_warning
from steadytune.theory.commands import theory

app = typer.Typer(
    help="Measure how much a fine-tuned model owes to luck, and make it owe less.",
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        say(f"steadytune {version('steadytune')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


for command in (demo, run, sweep, measure, compare, validate, report, ls, doctor):
    # What follows the first word of another's command are its own options.
    app.command(context_settings={"allow_interspersed_args": command is not sweep})(command)
app.add_typer(theory, name="theory")

# Raised for an unknown option or command; typer has no public name for it.
_UsageError: Any = typer.BadParameter.__base__


_received: list[int] = []
"""Signals that asked this process to stop."""


def _stop(number: int, frame: object) -> None:
    _received.append(number)
    raise KeyboardInterrupt


@contextmanager
def _listening_to_signals() -> Iterator[None]:
    """Make SIGTERM and SIGHUP act like Ctrl-C, unless the process was started to ignore them, as by nohup."""
    _received.clear()
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    mine = [number for number in numbers if before[number] in (signal.SIG_DFL, signal.default_int_handler)]
    if threading.current_thread() is not threading.main_thread():
        mine = []
    for number in mine:
        signal.signal(number, _stop)
    try:
        yield
    finally:
        for number in mine:
            signal.signal(number, before[number])


def main() -> None:
    """Run the command line and exit with its code.

    User errors and machine faults are reported in a line or two, with exit code 2. A command stopped by a signal
    exits with 128 plus the number of the signal. Any other exception is a bug of ours.
    """
    with _listening_to_signals(), warnings.catch_warnings():
        warnings.showwarning = show_warning
        warnings.simplefilter("always", FolderWarning)
        code = _run(sys.argv[1:] or ["--help"])
    sys.exit(code)


def _run(words: list[str]) -> int:
    code = 2
    try:
        # Without standalone mode the exit code is returned, 130 after an interrupt.
        given: object = app(words, prog_name="steadytune", standalone_mode=False)
        code = given if isinstance(given, int) else 0
    except UserError as error:
        complain(f"error: {error}")
    except _UsageError as error:
        command = error.ctx.command_path if error.ctx else "steadytune"
        complain(f"error: {error.format_message()}\nSee {command} --help")
    except MemoryError as error:
        complain(f"error: not enough memory ({str(error) or 'none is left'})")
    except OSError as error:
        # A command whose terminal is gone cannot write; that is not a fault of the disk.
        if not _received:
            complain(f"error: {machine_fault(error)}")
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):
            raise
        complain(f"error: code of another package ended the command: sys.exit({end.code!r})")
    if _received:
        name = signal.Signals(_received[0]).name
        complain(f"stopped by {'Ctrl-C' if name == 'SIGINT' else name}")
        code = 128 + _received[0]
    return code
