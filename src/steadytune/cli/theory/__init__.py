"""`steadytune theory`: what the theory of stability predicts, beside what is measured."""

import typer

from steadytune.cli.theory.bound import bound
from steadytune.cli.theory.features import features
from steadytune.cli.theory.loo import loo
from steadytune.cli.theory.predict import predict
from steadytune.cli.theory.synthetic import synthetic

theory = typer.Typer(
    help="Set what the theory of stability predicts beside what is measured.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
for command in (synthetic, features, bound, loo, predict):
    theory.command()(command)
