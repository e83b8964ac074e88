"""The studies, on generated data or on features of real tasks, as one HTML page and a CSV file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from steadytune.analysis.sentences import listed, percent
from steadytune.reporting.blocks import (
    Cell,
    Claim,
    Claims,
    Definitions,
    Facts,
    Figures,
    Page,
    Panel,
    Section,
    Table,
    Text,
)
from steadytune.reporting.naming import number
from steadytune.reporting.render import write_page
from steadytune.reporting.validity_table import NumberTable
from steadytune.theory.pages import claims as theory_claims
from steadytune.theory.pages import figures as theory_figures
from steadytune.theory.pages import method_claims
from steadytune.theory.pages.claims import base, part
from steadytune.theory.pages.figures import task_names
from steadytune.theory.pages.trends import FEWEST, FLAT
from steadytune.theory.studies.table import DESIGN

if TYPE_CHECKING:
    import pandas as pd

PAGE, TABLE = "theory.html", "studies.csv"
DEFINITIONS = {
    "Leave-one-out instability": "Train on all examples and on all but one, from the same seed, and compare the "
    "directions of the two heads; the mean over the left-out examples. Only the data change.",
    "Seed instability": "Train on the same examples with two seeds, and compare the directions; the mean over pairs of "
    "seeds. Only the initial weights or the order of the examples change. It is a different quantity from "
    "leave-one-out instability, and the two are never mixed.",
    "Direction": "The weights of a head scaled to length 1, so that a distance lies between 0 and 2; unrelated "
    "directions are about 1.41 apart.",
    "Separable": "Some head without bias classifies every example correctly. Then descent converges in direction "
    "to the max-margin head, and the bound applies. Otherwise it converges to the unique minimum of the loss.",
    "β": "Lipschitz constant of the gradient of the mean loss. Gradient descent with a rate of 1/β never raises "
    "the loss; 2/β is the stability limit.",
    "B/γ": "Largest norm of an example divided by the margin of the max-margin head. It is invariant to the scale of "
    "the features.",
}
_LEGEND = (
    f"Supported: in at least 90 % of the data sets or series; mostly supported: in 60 %. No effect: in 60 % the change "
    f"is below {percent(FLAT)}. Fewer than {FEWEST} are inconclusive; untested: no cohorts vary only in this factor. A "
    "bound is supported if it is never exceeded. The abstract is about stability; here each claim is tested on both "
    "instabilities."
)
_SURPRISES = ("contradicted", "not supported")


def study(key: str, title: str, lead: str, panels: Sequence[Panel], claims: Sequence[Claim]) -> Section:
    """Return one study as a section: an introduction, its figures and its claims."""
    return Section(key, title, [Text(lead, "lead"), Figures(panels, beside=True), Claims(claims)])


def write_synthetic_report(table: pd.DataFrame, out: Path) -> tuple[Path, list[Section]]:
    """Write the table of `theory.studies.synthetic_study` and its page into a folder.

    Returns:
        The path of the page, and its sections.

    Raises:
        UserError: The disk is full.
    """
    shifts = listed([f"{shift:g}" for shift in sorted(table["shift"].unique())])
    title = f"Stability theory on {table['dataset'].nunique()} generated data sets"
    return _write(table, out, title, {"Class shift": shifts}, [])


def write_feature_report(table: pd.DataFrame, model: str, out: Path) -> tuple[Path, list[Section]]:
    """Write the table of `theory.studies.features.feature_study` and its page into a folder.

    Args:
        table: The table.
        model: Whose features they are.
        out: The folder.

    Returns:
        The path of the page, and its sections.

    Raises:
        UserError: The disk is full.
    """
    names = task_names(table)
    facts = {"Model": model, "Tasks": listed([*names.values()])}
    note = (
        "A data set is a subsample of a task's training set, stratified by class with at least two examples of each; "
        "within a draw the smaller ones are subsets of the larger ones. Features are frozen and not transformed. "
        "Where not all examples are left out in turn, those that are were sampled at random."
    )
    return _write(table, out, f"Stability theory on {model} features of {listed([*names.values()])}", facts, [note])


def _write(
    table: pd.DataFrame, out: Path, title: str, facts: Mapping[str, str], notes: Sequence[str]
) -> tuple[Path, list[Section]]:
    sections = study_sections(table)
    note = "Lines are medians over data sets; whiskers are quartiles. Heads have no bias, as in the theory."
    made = page(title, {**facts, **_facts(table)}, [note, *notes], sections, properties(table), {TABLE: table})
    return write_page(made, out, PAGE), sections


def _facts(table: pd.DataFrame) -> dict[str, str]:
    geometry, trained, heads = (part(table, name) for name in ("geometry", "training", "heads"))
    unit = (trained["init_sd"] / trained["init_scale"])[trained["init_scale"] > 0].median()
    whole = bool((trained["left_out"] == trained["n"]).all())
    in_turn = "all" if whole else f"up to {trained['left_out'].max():g} per data set"
    return {
        "Data sets": f"{len(geometry)}, {int(geometry['separable'].sum())} of them separable",
        "Examples": listed(sorted(table["n"].unique())),
        "Features": listed(sorted(table["d"].unique())),
        "Classes": listed(sorted(table["classes"].unique())),
        "Steps": listed([f"{steps:g}" for steps in sorted(trained["steps"].unique())]),
        "Initial weights": f"scale 1 is a standard deviation of {unit:g}",
        "Left out in turn": f"{in_turn}; {heads['left_out'].max():g} where H or α vary; all of max-margin heads",
        "Rows": f"{len(table) - len(geometry)}",
    }


def study_sections(table: pd.DataFrame) -> list[Section]:
    """Return every study with its figures and claims."""
    here = base(table)
    at_end = f"after {here['steps']:g} steps"
    rate = f"at a rate of {here['rate']:g}/β"
    drawn = f"{theory_claims.part(table, 'training')['init_scale'].iloc[0]:g}"
    studies: tuple[
        tuple[str, str, str, Callable[[pd.DataFrame], list[Panel]], Callable[[pd.DataFrame], list[Claim]]], ...
    ] = (
        (
            "size",
            "Sample size, margin and the bound",
            f"Trained heads {at_end} {rate}. Initial weights of scale {drawn} or 0.",
            theory_figures.size_panels,
            theory_claims.size_claims,
        ),
        (
            "steps",
            "Number of steps",
            f"Full-batch gradient descent {rate}. Initial weights of scale {drawn} or 0.",
            theory_figures.step_panels,
            theory_claims.step_claims,
        ),
        (
            "rate",
            "Learning rate",
            f"Full-batch gradient descent {at_end}, and stochastic gradient descent from zero, whose seeds set the "
            "order of the examples and whose rate decays to zero.",
            theory_figures.rate_panels,
            theory_claims.rate_claims,
        ),
        (
            "scale",
            "Scale of the initial weights",
            f"Full-batch gradient descent {at_end} {rate}.",
            theory_figures.scale_panels,
            theory_claims.scale_claims,
        ),
        (
            "heads",
            "Heads of MHLoss, and two controls",
            f"Full-batch gradient descent {at_end} {rate}, initial weights of scale {drawn}. The controls are one head "
            "that starts at 1/√H of the scale, and one that starts at zero.",
            theory_figures.head_panels,
            method_claims.head_claims,
        ),
        (
            "time",
            "Directions over time",
            f"Full-batch gradient descent {rate}, initial weights of scale {drawn} or 0.",
            theory_figures.time_panels,
            method_claims.time_claims,
        ),
        (
            "mmr",
            "MMR over α",
            "Features tuned by a linear adapter that starts as the identity, together with the head. The max-margin "
            "head and its bound are those of the adapted features, held fixed.",
            theory_figures.mmr_panels,
            method_claims.mmr_claims,
        ),
    )
    return [study(key, title, lead, panels(table), claims(table)) for key, title, lead, panels, claims in studies]


def page(
    title: str,
    facts: Mapping[str, str],
    notes: Sequence[str],
    sections: Sequence[Section],
    numbers: NumberTable,
    tables: Mapping[str, pd.DataFrame],
    definitions: Mapping[str, str] = DEFINITIONS,
    legend: str = _LEGEND,
    surprises: Sequence[str] = _SURPRISES,
) -> Page:
    """Lay out studies as a page.

    Args:
        title: Its heading.
        facts: What was run.
        notes: Remarks on all figures.
        sections: The studies.
        numbers: A table below them.
        tables: Names and contents of the CSV files written next to the page.
        definitions: Definitions of terms.
        legend: What the verdicts mean.
        surprises: The verdicts that stand out.
    """
    claims = [
        [Cell(claim.prediction), Cell(claim.source), Cell(claim.verdict, marked=claim.verdict in surprises)]
        for section in sections
        for claim in section.claims
    ]
    verdict = Table("Predictions and results", ("Prediction", "Source", "Here"), claims, look="claims", caption=legend)
    table = Table(
        numbers.title, numbers.columns, [[*map(Cell, row)] for row in numbers.rows], caption=" ".join(numbers.remarks)
    )
    terms = [(term, "", meaning) for term, meaning in definitions.items()]
    return Page(
        title,
        Section("run", "What was run", [Facts(facts), *(Text(note, "note") for note in notes)], look=""),
        Section("verdict", "Predictions and results", [verdict], look=""),
        [*sections, Section("properties", numbers.title, [table])],
        Section("read", "How to read this", [Definitions(terms)], look=""),
        tables,
    )


def properties(table: pd.DataFrame) -> NumberTable:
    """Return medians over the data sets that share one property."""
    here = base(table)
    geometry = part(table, "geometry")
    zero = part(table, "training", **here | {"init_scale": 0.0}).set_index("dataset")["loo_directions"]
    drawn = part(table, "training", **here).set_index("dataset")["seed_directions"]
    rows = geometry.set_index("dataset").assign(loo_trained=zero, seed_trained=drawn)
    columns = {
        "B/γ": "norm_over_margin",
        "leave-one-out, max-margin": "max_margin_loo",
        "its bound": "loo_bound",
        "leave-one-out, zero start": "loo_trained",
        "seed, initial weights": "seed_trained",
    }
    lines = []
    called = task_names(table)
    # A property shared by all data sets distinguishes none of them.
    for name in [
        name for name in DESIGN[:-1] if name == "n" or rows[name].nunique() > 1 or (name == "task" and called)
    ]:
        for value, some in rows.groupby(name):
            share = percent(float(some["separable"].mean()))
            medians = [number(float(some[column].median())) for column in columns.values()]
            words = called[str(value)] if name == "task" else f"{name.replace('_', ' ')} {value:g}"
            lines.append((words, str(len(some)), share, *medians))
    return NumberTable(
        "By property of the data",
        ("property", "data sets", "separable", *columns),
        tuple(lines),
        (
            f"Medians over data sets; the first three over separable ones only, the last two after {here['steps']:g} "
            f"steps at a rate of {here['rate']:g}/β.",
        ),
    )
