"""Can instability be predicted: a table for the terminal, predictor.csv, and a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from steadytune.analysis.sentences import capital, chance, listed
from steadytune.measures import MEASURES
from steadytune.reporting.blocks import Claim, Panel, Section, Verdict
from steadytune.reporting.naming import MISSING, count, known
from steadytune.reporting.render import write_page
from steadytune.reporting.validity_table import NumberTable
from steadytune.theory.pages.page import page, study
from steadytune.theory.pages.prediction_figures import TITLES, ends, held_out_figure, ranks_figure, signed
from steadytune.theory.predictor.cohorts import TARGETS
from steadytune.theory.predictor.prediction import (
    LEVEL,
    RATE,
    RECIPE,
    STRONG,
    Correlation,
    Prediction,
    PredictionVerdict,
)
from steadytune.theory.predictor.quantities import QUANTITIES, Quantity

if TYPE_CHECKING:
    import pandas as pd

PAGE, TABLE = "prediction.html", "predictor.csv"
_SEEN: dict[PredictionVerdict, Verdict] = {
    "predicts": "supported",
    "predicts weakly": "mostly supported",
    "predicts, but no better than a baseline": "mixed",
    "predicts nothing": "not supported",
    "inconclusive": "inconclusive",
}
_LEGEND = (
    f"Of a predictor, seen: p is below {LEVEL:g} in tasks it has not seen, and the mean ρ at least {STRONG:g}; mostly "
    f"seen: p is below {LEVEL:g}; mixed: so it is, but {RATE} or {RECIPE}, which need no run, predict as well; "
    "not seen: it is no better than luck. Of a quantity, seen or the opposite: p is below "
    f"{LEVEL:g}, corrected for looking at all quantities. The abstract speaks of stability; here its claims are held "
    "against the instability over seeds."
)
_DEFINITIONS = {
    "SD of the score, disagreement": "Instability over seeds: the standard deviation of the score, and the share of "
    "the measured examples on which two runs differ, in the mean over pairs. Of all finished runs of a cohort but the "
    "first, which gives the quantities and would be correlated with itself.",
    "ρ": "Spearman's rank correlation, between −1 and 1. It is taken among the cohorts of one task; what stands for "
    "several tasks is the mean. What is not known takes the middle rank.",
    "p": "Share of shuffles that do as well. A shuffle exchanges the instability of the cohorts of each task. It takes "
    "cohorts as independent; recipes that train alike with equal seeds are not, which makes p too small.",
    "Pooled": "ρ over the cohorts of all tasks at once. Tasks that differ in both make it large, whatever recipes do.",
    "Held-out task": "A task whose instability the predictor has not seen. It knows how the cohorts of that task rank "
    "in each quantity, and predicts how they rank in instability.",
    "Early, late": "Means over the first and the last quarter of the curve of a run.",
    "Frozen features": "Those of the training set under the pre-trained model, untrained. γ is the margin of the "
    "max-margin head without a bias and B the largest norm; leave-one-out is how far the direction of a regularised "
    "head turns without an example, in the mean, by one Newton step.",
}


def write_prediction(table: pd.DataFrame, notes: Sequence[str], found: Sequence[Prediction], out: Path) -> Path:
    """Write predictor.csv, a row per cohort, and a page into a folder.

    Args:
        table: As `cohort_table` makes it.
        notes: What was left out.
        found: What `predict_instability` says of each target.
        out: The folder.

    Returns:
        The path of the page.

    Raises:
        UserError: There is no room on the disk.
    """
    tasks = list(dict.fromkeys(table["task"]))
    sections = [_section(one) for one in found]
    made = page(
        f"Instability predicted from one run, on {count(len(tasks), 'task')}",
        facts={
            "Studies": str(table["study"].nunique()),
            "Models": listed(list(dict.fromkeys(table["model"]))),
            "Tasks": listed(tasks),
            "Cohorts": str(len(table)),
            "Runs": f"{table['runs'].sum()}" + (f", and {lost} lost" if (lost := table["lost"].sum()) else ""),
            "Quantities": f"{sum(not one.runs for one in QUANTITIES)} of no run, {sum(one.runs for one in QUANTITIES)} "
            "of one run",
        },
        notes=[*(sentence for one in found for sentence in describe(one)[:1]), *notes],
        sections=sections,
        legend=_LEGEND,
        surprises=("contradicted",),
        numbers=numbers(found),
        definitions=_DEFINITIONS,
        tables={TABLE: table},
    )
    return write_page(made, out, PAGE)


def describe(found: Prediction) -> list[str]:
    """Return sentences: the verdict with its numbers, the baselines beside it, and how far seeds measure at all."""
    target, tasks = capital(TARGETS[found.target]), found.cohorts["task"].nunique()
    halves = found.halves
    measured = (
        f"Every second run ranks the cohorts as the other runs do with ρ = {_by_task(halves)}: so well do so few seeds "
        "measure instability at all, and what they do not measure cannot be predicted."
        if any(known(value) for value in halves.values())
        else "There are too few runs to say how well they measure instability."
    )
    held_out = found.held_out
    if held_out is None or not known(held_out.mean):
        why = "its cohorts do not differ" if held_out else "it takes two tasks with three cohorts each, to hold one out"
        return [
            f"{target}: whether it can be predicted is not to be told. There is no held-out check: {why}.",
            measured,
        ]
    verdict: str = found.verdict
    if verdict == "predicts, but no better than a baseline":
        verdict = f"predicts, but no better than {held_out.rival} ({signed(held_out.baseline(held_out.rival))})"
    sentences = [
        f"{target}: the predictor of all quantities {verdict}. In {count(tasks, 'task')}, each held out, mean "
        f"ρ of what is predicted with what is measured is {signed(held_out.mean)} ({_chance(held_out.p)}): "
        f"{_by_task(held_out.tasks)}."
    ]
    if held_out.p > 1 - LEVEL / 2:
        sentences.append(
            "It ranks cohorts the wrong way round more often than luck would: what goes with instability in one task "
            "goes against it in another."
        )
    baselines = listed([f"{name} {signed(held_out.baseline(name))}" for name in held_out.baselines])
    chosen = listed([f"{TITLES[name]} for {task}" for task, name in held_out.chosen.items()])
    sentences.append(f"Baselines, mean ρ in the same tasks: {baselines}. The best single quantity: {chosen}.")
    sentences.append(
        f"Were the run that gives the quantities counted in the target too, the mean ρ would be "
        f"{signed(found.with_first)}."
    )
    alone = [f"{TITLES[row.name]} ({signed(row.within)})" for row in found.correlations if row.p < LEVEL]
    sentences.append(
        f"On their own these go with it within these tasks, corrected for looking at all: {listed(alone)}."
        if alone
        else "On its own no quantity goes with it within these tasks, corrected for looking at all."
    )
    return [*sentences, measured]


def prediction_table(found: Sequence[Prediction]) -> Table:
    """Lay out the mean rank correlation of every quantity with every target for the terminal."""
    layout = Table(box=None, pad_edge=False, header_style="bold")
    layout.add_column("quantity", no_wrap=True)
    for one in found:
        for heading in (f"ρ, {MEASURES[one.target].short}", "p", "pooled"):
            layout.add_column(heading, justify="right")
    for place, quantity in enumerate(QUANTITIES):
        cells = [cell for one in found for cell in _cells(one.correlations[place])]
        layout.add_row(escape(quantity.title), *cells)
    return layout


def numbers(found: Sequence[Prediction]) -> NumberTable:
    """Return a line per quantity: its correlations with every target, with intervals."""
    columns = ["quantity", "runs"]
    for one in found:
        columns += [f"ρ, {MEASURES[one.target].short}", "95 % interval", "p", "pooled ρ"]
    lines = []
    for place, quantity in enumerate(QUANTITIES):
        cells = [str(quantity.runs)]
        for one in found:
            row = one.correlations[place]
            within, p, pooled = _cells(row)
            cells += [within, ends(row) or MISSING, p, pooled]
        lines.append((quantity.title, *cells))
    remark = (
        "ρ is the mean over tasks; its interval draws the cohorts of each task again and speaks of other recipes on "
        "these tasks, not of other tasks. A quantity that all recipes of every task share has no ρ within a task. "
        "Tasks are few: which task will be unstable, the pooled ρ alone speaks of, and it has no interval."
    )
    return NumberTable("Rank correlations", tuple(columns), tuple(lines), (remark,))


def _cells(row: Correlation) -> tuple[str, str, str]:
    p = "<0.01" if row.p < 0.01 else f"{row.p:.2f}"
    return signed(row.within), p if known(row.p) else MISSING, signed(row.pooled)


def _section(found: Prediction) -> Section:
    title = capital(TARGETS[found.target])
    panels = [Panel("ranks", "ρ with each quantity", ranks_figure(found))]
    if found.held_out is not None:
        panels.append(
            Panel("held-out", "Predicted and measured, each task held out", held_out_figure(found, found.held_out))
        )
    lead = (
        "First, how each quantity goes with it: the mean over tasks with its 95 % interval, and the single tasks. Then "
        "a mark per cohort, of tasks whose instability the predictor had not seen: to the right less stable by "
        "prediction, upwards by measurement. Predicted ranks compare the cohorts of one task."
    )
    return study(found.target, title, lead, panels, [_headline(found), *_quantity_claims(found)])


def _headline(found: Prediction) -> Claim:
    return Claim(
        f"One run of each recipe tells which recipes will be less stable on a task that was not seen: "
        f"{TARGETS[found.target]}.",
        "the question",
        _SEEN[found.verdict],
        " ".join(describe(found)),
    )


def _quantity_claims(found: Prediction) -> list[Claim]:
    return [
        _quantity_claim(quantity, row, found.target)
        for quantity, row in zip(QUANTITIES, found.correlations, strict=True)
        if quantity.expected
    ]


def _quantity_claim(quantity: Quantity, row: Correlation, target: str) -> Claim:
    way = "rises" if quantity.expected > 0 else "falls"
    prediction = f"{capital(TARGETS[target])} {way} with the {quantity.title}."
    varies = [value for value in row.tasks.values() if known(value)]
    if not varies:
        return Claim(
            prediction,
            quantity.source,
            "inconclusive",
            f"It is the same for all cohorts of a task, or not known. Pooled over tasks ρ is {signed(row.pooled)}.",
        )
    verdict: Verdict = "not supported"
    if row.p < LEVEL:
        verdict = "supported" if row.within * quantity.expected > 0 else "contradicted"
    spread = f", from {signed(min(varies))} to {signed(max(varies))}" if len(varies) > 1 else ""
    return Claim(
        prediction,
        quantity.source,
        verdict,
        f"ρ is {signed(row.within)} {ends(row)} in the mean over {count(len(varies), 'task')}"
        f"{spread} ({_chance(row.p)}).",
    )


def _chance(p: float) -> str:
    """Write a p-value that may be large: shuffles that nearly all do better say something, too."""
    return "p > 0.99" if p > 0.99 else chance(p)


def _by_task(values: Mapping[str, float]) -> str:
    return listed([f"{signed(value)} ({task})" for task, value in values.items()])
