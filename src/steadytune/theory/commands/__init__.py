"""`steadytune theory`: compare predictions of the theory of stability with measurements."""

import typer

from steadytune.theory.commands.bound import bound
from steadytune.theory.commands.features import features
from steadytune.theory.commands.loo import loo
from steadytune.theory.commands.predict import predict
from steadytune.theory.commands.synthetic import synthetic

theory = typer.Typer(
    help="Compare predictions of the theory of stability with measurements.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
for command in (synthetic, features, bound, loo, predict):
    theory.command()(command)
