"""The command line: one file per command; here they are put together and users' mistakes become exit code 2."""

from __future__ import annotations

import sys
from typing import Any

import typer

from steadytune.cli.compare import compare
from steadytune.cli.demo import demo
from steadytune.cli.doctor import doctor
from steadytune.cli.ls import ls
from steadytune.cli.measure import measure
from steadytune.cli.report import report
from steadytune.cli.run import run
from steadytune.cli.theory import theory
from steadytune.cli.validate import validate
from steadytune.errors import UserError

app = typer.Typer(
    help="Measure how much a fine-tuned model owes to luck, and make it owe less.",
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
for command in (demo, run, measure, compare, validate, report, ls, doctor):
    app.command()(command)
app.add_typer(theory, name="theory")

# An option or command that does not exist; typer has no public name for it.
_UsageError: Any = typer.BadParameter.__base__


def main() -> None:
    """Run the command line; say a user's mistake in a line or two and leave with exit code 2."""
    try:
        sys.exit(app(sys.argv[1:] or ["--help"], prog_name="steadytune", standalone_mode=False))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
    except _UsageError as error:
        command = error.ctx.command_path if error.ctx else "steadytune"
        print(f"error: {error.format_message()}\nSee {command} --help", file=sys.stderr)
    except OSError as error:
        if error.filename is None:
            raise
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(2)
