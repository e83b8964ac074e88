"""Report leave-one-out stability of full fine-tuning over the cohorts of a study: terminal, CSV files and a page."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import pandas as pd

from steadytune.analysis.sentences import listed
from steadytune.reporting.blocks import Section
from steadytune.reporting.naming import MISSING, known
from steadytune.reporting.render import write_page
from steadytune.reporting.validity_table import NumberTable
from steadytune.theory.loo.full import HOW
from steadytune.theory.pages.full_sections import full_sections
from steadytune.theory.pages.full_series import design
from steadytune.theory.pages.page import page
from steadytune.theory.pages.task_loo import EXAMPLES, PAGE, SUMMARY
from steadytune.theory.studies.full_cohorts import CohortStability

_LEFT_OUT = (
    "Leave-one-out: a sample of training examples, one at a time, had weight 0 in the training loss, while "
    "initialisation, order and dropout kept their seeds."
)
_DEFINITIONS = {
    "Leave-one-out instability": "Train on all examples and on all but one, with the same seeds of initial weights, "
    "order and dropout, and compare the two models; the mean over the left-out examples and the seeds. Only the "
    "data change.",
    "Seed instability": "Train on the same examples with two seeds, and compare the models; the mean over pairs of "
    "seeds. It is a different quantity from leave-one-out instability, and the two are never mixed.",
    "Weights": "Euclidean distance between all weights of two models.",
    "Predictions": "Share of the measured examples with a different predicted class.",
    "Loss": "Difference in nats: for leave-one-out on the left-out example, which is the pointwise hypothesis "
    "stability; over seeds the mean over the same examples.",
    "Travelled": "‖w_0 − w_T‖, the distance between the encoder's weights at the start and end of fine-tuning; the "
    "mean over seeds.",
    "±": "Standard error over the left-out examples, which are sampled at random: about how far the mean over all "
    "examples lies from the mean over these. It does not cover other seeds.",
    "Series": "Cohorts of one task that differ only in the factor under study, and in what follows from it.",
}


def write_cohorts(cohorts: Sequence[CohortStability], out: Path) -> tuple[Path, list[Section]]:
    """Write stability.csv (a row per cohort), examples.csv (a row per seed and left-out example) and a page.

    If no cohort finished there is no examples.csv, and an older one is deleted.

    Returns:
        The path of the page, and its sections.

    Raises:
        UserError: The disk is full.
    """
    table = design(cohorts)
    examples = pd.DataFrame([row for cohort in cohorts for row in cohort.examples()])
    tables = {SUMMARY: table.drop(columns=["retrained", "rest"])} | ({} if examples.empty else {EXAMPLES: examples})
    if examples.empty:
        (out / EXAMPLES).unlink(missing_ok=True)
    tasks = list(dict.fromkeys(table["task"]))
    done = [cohort for cohort in cohorts if cohort.exact is not None]
    facts = {
        "Model": listed(list(dict.fromkeys(table["model"]))),
        "Tasks": listed(tasks),
        "Mode": "full fine-tuning",
        "Cohorts": f"{len(cohorts)}"
        + (f", {len(cohorts) - len(done)} of them unfinished" if len(done) < len(cohorts) else ""),
        "Examples": listed(sorted(set(table["n"]))),
        "Left out": _counts(table["left_out"]),
        "Seeds": _counts(table["seeds"]),
    }
    sections = full_sections(table)
    made = page(
        f"Leave-one-out stability of {listed(tasks)} in full fine-tuning",
        facts,
        [_LEFT_OUT, *HOW],
        sections,
        numbers(cohorts),
        tables,
        _DEFINITIONS,
    )
    return write_page(made, out, PAGE), sections


def _counts(column: pd.Series[int]) -> str:
    """List the counts of finished cohorts; unfinished ones have 0."""
    return listed(sorted(set(column[column > 0]))) if (column > 0).any() else MISSING


def outcome(cohort: CohortStability) -> str:
    """Return the outcome of a cohort in one line."""
    if cohort.exact is None:
        return f"{cohort.name}: {cohort.status}: {cohort.reason}"
    row = cohort.summary()
    return (
        f"{cohort.name}: weights differ by {row['loo_weights']:.3g} without an example, by "
        f"{_cell(row['seed_weights'])} with another seed"
    )


def numbers(cohorts: Sequence[CohortStability]) -> NumberTable:
    """Return a line per cohort with both instabilities of some quantities, and why some cohorts have none."""
    trained = {"n": "n", "epochs": "epochs", "steps": "steps", "learning_rate": "rate", "frozen": "frozen blocks"}
    kinds = {"loo": "leave-one-out", "seed": "seed"}
    measured = {f"{kind}_{name}": f"{title} {name}" for name, (kind, title) in product(_SHOWN, kinds.items())}
    columns = {**trained, "travelled": "travelled", **measured}
    several = len({cohort.spec.model for cohort in cohorts}) > 1
    lines = []
    for cohort in cohorts:
        row = cohort.summary()
        name = cohort.name if several else f"{row['task']}, {row['recipe']}"
        lines.append((name, *(_cell(row[column], row.get(f"{column}_error")) for column in columns)))
    lost = [f"{cohort.name}: {cohort.status}: {cohort.reason}." for cohort in cohorts if cohort.exact is None]
    return NumberTable("Leave-one-out and seed instability", ("cohort", *columns.values()), tuple(lines), tuple(lost))


_SHOWN = ("weights", "predictions", "loss")
"""Quantities shown on the page; the CSV file also has directions."""


def _cell(value: float, error: float | None = None) -> str:
    if not known(value):
        return MISSING
    return f"{value:.3g}" + (f" ± {error:.2g}" if error is not None and known(error) else "")
