"""Report whether instability can be predicted: a terminal table, predictor.csv and a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from steadytune.analysis.intervals import SIGNIFICANT
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
    f"For a predictor, supported: p is below {SIGNIFICANT:g} on held-out tasks, and the mean ρ at least {STRONG:g}; "
    f"mostly supported: p is below {SIGNIFICANT:g}; mixed: p is below {SIGNIFICANT:g}, but {RATE} or {RECIPE}, which "
    "need no run, predict as well; not supported: no better than chance. For a quantity, supported or contradicted: p "
    f"is below {SIGNIFICANT:g}, corrected for testing all quantities. The abstract is about stability; here its claims "
    "are tested on the instability over seeds."
)
_DEFINITIONS = {
    "SD of the score, disagreement": "Instability over seeds: the standard deviation of the score, and the share of "
    "the measured examples on which two runs differ, averaged over pairs. Computed from all finished runs of a cohort "
    "except the first, which gives the quantities and would be correlated with itself.",
    "ρ": "Spearman's rank correlation, between −1 and 1, among the cohorts of one task; for several tasks, the "
    "mean. Unknown values take the middle rank.",
    "p": "Share of shuffles that do as well. A shuffle permutes the instability of the cohorts within each task. It "
    "treats cohorts as independent; recipes that train similarly with equal seeds are not, which makes p too small.",
    "Pooled": (
        "ρ over the cohorts of all tasks at once. Differences between tasks make it large, whatever the recipes do."
    ),
    "Held-out task": "A task whose instability was withheld from the predictor. It knows how the cohorts of that task "
    "rank in each quantity, and predicts how they rank in instability.",
    "Early, late": "Means over the first and last quarter of a run's curve.",
    "Frozen features": "Those of the training set from the pre-trained model. γ is the margin of the max-margin head "
    "without a bias and B the largest norm; leave-one-out is how far the direction of a regularised head rotates on "
    "average without an example, by one Newton step.",
}


def write_prediction(table: pd.DataFrame, notes: Sequence[str], found: Sequence[Prediction], out: Path) -> Path:
    """Write predictor.csv, a row per cohort, and a page into a folder.

    Args:
        table: From `cohort_table`.
        notes: What was left out.
        found: The result of `predict_instability` for each target.
        out: The folder.

    Returns:
        The path of the page.

    Raises:
        UserError: The disk is full.
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
            "Runs": f"{table['runs'].sum()}"
            + (f", and {lost} that did not finish" if (lost := table["lost"].sum()) else ""),
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
    """Return sentences: the verdict with its numbers, the baselines, and how reliably seeds measure instability."""
    target, tasks = capital(TARGETS[found.target]), found.cohorts["task"].nunique()
    measured = (
        f"Split-half reliability: every second run ranks the cohorts as the other runs do with ρ = "
        f"{_by_task(found.split_half)}. "
        "What so few seeds do not measure cannot be predicted."
        if any(known(value) for value in found.split_half.values())
        else "There are too few runs to estimate how reliably they measure instability."
    )
    held_out = found.held_out
    if held_out is None or not known(held_out.mean):
        why = "its cohorts do not differ" if held_out else "holding a task out needs two tasks with three cohorts each"
        return [
            f"{target}: inconclusive. There is no held-out test: {why}.",
            measured,
        ]
    verdict: str = found.verdict
    if verdict == "predicts, but no better than a baseline":
        verdict = f"predicts, but no better than {held_out.rival} ({signed(held_out.baseline(held_out.rival))})"
    sentences = [
        f"{target}: the predictor from all quantities {verdict}. Over {count(tasks, 'task')}, each held out, the mean "
        f"ρ between predicted and measured ranks is {signed(held_out.mean)} ({_chance(held_out.p)}): "
        f"{_by_task(held_out.tasks)}."
    ]
    if held_out.p > 1 - SIGNIFICANT / 2:
        sentences.append(
            "It ranks cohorts in reverse more often than chance would: what correlates positively with instability in "
            "one task correlates negatively in another."
        )
    baselines = listed([f"{name} {signed(held_out.baseline(name))}" for name in held_out.baselines])
    chosen = listed([f"{TITLES[name]} for {task}" for task, name in held_out.chosen.items()])
    sentences.append(f"Baselines, mean ρ in the same tasks: {baselines}. The best single quantity: {chosen}.")
    sentences.append(
        f"If the run that gives the quantities also counted in the target, the mean ρ would be "
        f"{signed(found.with_first)}."
    )
    alone = [f"{TITLES[row.name]} ({signed(row.within)})" for row in found.correlations if row.p < SIGNIFICANT]
    sentences.append(
        "Quantities that correlate with it individually within these tasks, corrected for testing all: "
        f"{listed(alone)}."
        if alone
        else "No quantity correlates with it individually within these tasks, corrected for testing all."
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
        "ρ is the mean over tasks; its interval resamples the cohorts of each task and covers other recipes on these "
        "tasks, not other tasks. A quantity that is the same for all recipes of every task has no ρ within a task. "
        "With few tasks, only the pooled ρ addresses which task will be unstable, and it has no interval."
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
        "First, how each quantity correlates with it: the mean over tasks with its 95 % interval, and the single "
        "tasks. Then a mark per cohort of each held-out task: further right is less stable as predicted, further up "
        "as measured. Predicted ranks compare the cohorts of one task."
    )
    return study(found.target, title, lead, panels, [_headline(found), *_quantity_claims(found)])


def _headline(found: Prediction) -> Claim:
    return Claim(
        f"One run of each recipe predicts which recipes will be less stable on a held-out task: "
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
            f"It is the same for all cohorts of a task, or unknown. Pooled over tasks, ρ is {signed(row.pooled)}.",
        )
    verdict: Verdict = "not supported"
    if row.p < SIGNIFICANT:
        verdict = "supported" if row.within * quantity.expected > 0 else "contradicted"
    spread = f", from {signed(min(varies))} to {signed(max(varies))}" if len(varies) > 1 else ""
    return Claim(
        prediction,
        quantity.source,
        verdict,
        f"The mean ρ is {signed(row.within)} {ends(row)} over {count(len(varies), 'task')}{spread} ({_chance(row.p)}).",
    )


def _chance(p: float) -> str:
    """Format a p-value that may be large: it is informative if nearly all shuffles do better."""
    return "p > 0.99" if p > 0.99 else chance(p)


def _by_task(values: Mapping[str, float]) -> str:
    return listed([f"{signed(value)} ({task})" for task, value in values.items()])
