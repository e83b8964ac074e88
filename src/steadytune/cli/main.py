"""The command line: one file per command; here they are put together and users' mistakes become exit code 2."""

from __future__ import annotations

import sys

import typer

from steadytune.cli.demo import demo
from steadytune.cli.ls import ls
from steadytune.cli.measure import measure
from steadytune.cli.report import report
from steadytune.cli.run import run
from steadytune.errors import UserError

app = typer.Typer(
    help="Measure how much a fine-tuned model owes to luck, and make it owe less.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
for command in (demo, run, measure, report, ls):
    app.command()(command)


def main() -> None:
    """Run the command line; say a user's mistake in a line or two and leave with exit code 2."""
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\nstopped; finished runs are kept, the same command goes on from here", file=sys.stderr)
        sys.exit(130)
