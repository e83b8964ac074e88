"""The bound of full fine-tuning on real tasks: a table for the terminal, CSV files, and a page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from steadytune.analysis.sentences import capital, listed, percent
from steadytune.reporting.blocks import Claim, Section, Verdict
from steadytune.reporting.naming import MISSING, count
from steadytune.reporting.render import write_page
from steadytune.reporting.validity_table import NumberTable
from steadytune.theory.full.task_bound import TaskBound
from steadytune.theory.full.taylor import LIMIT
from steadytune.theory.pages.bound_figures import left_out_panels, path_panels, taylor_panel
from steadytune.theory.pages.page import page, study
from steadytune.theory.pages.trends import bounded

PAGE, TERMS, PATH, TAYLOR, EXAMPLES = "bound.html", "bound.csv", "path.csv", "taylor.csv", "left_out.csv"
DEFINITIONS = {
    "Leave-one-out stability": "Train on all examples and on all but one, by the same gradient descent from the same "
    "weights, and take the distance of the ends; the mean over the left-out examples. Its unit is that of the weights.",
    "L": "Largest norm of the gradient of one example's loss on the path. It stands for the Lipschitz constant.",
    "β": "Largest eigenvalue of the Hessian of the mean loss, found by Lanczos, with the margin of too few products. "
    "Gradient descent at a rate of 1/β never raises the loss, and 2/β is the limit of stability.",
    "μ": "Smallest eigenvalue of the Hessian. The restricted μ asks only how much the loss curves from points of the "
    "path towards its end, and can be positive where μ is not.",
    "‖w₀ − w_T‖": "How far the weights travel. It stands for the distance to the nearest minimiser.",
    "Tight, Lipschitz and convex form": "Three bounds on one quantity; the smallest counts. The first two use the "
    "restricted μ, the second one L, the third neither.",
    "Sum over the path": "The first line of the bound's proof, with the measured gradients of single examples and the "
    "measured curvature in the place of the assumptions: an estimate that asks for no convexity, and no bound.",
    "Expansion": "The loss at w₀, its slope and its curvature along the straight line from w₀ through w_T.",
}
_TERMS = {
    "n": "examples n",
    "size": "trained weights P",
    "idle": "of them with a gradient of 0 at w₀",
    "learning_rate": "learning rate η",
    "steps": "steps T",
    "first_loss": "loss at w₀",
    "last_loss": "loss at w_T",
    "lipschitz": "L, largest gradient of an example",
    "mean_gradient": "largest mean of these gradients",
    "beta": "β, with its margin",
    "margin": "the margin",
    "residual": "largest residual of Lanczos",
    "example_beta": "β of single examples",
    "mu": "μ, less its margin",
    "restricted_mu": "restricted μ",
    "distance": "‖w₀ − w_T‖",
    "bound_tight": "bound, tight form",
    "bound_lipschitz": "bound, Lipschitz form",
    "bound_convex": "bound, convex form",
    "path_sum": "sum over the path",
    "loo_weights": "leave-one-out stability, measured",
    "left_out": "examples left out",
    "taylor_limit": "expansion 10 % off at a distance of",
}


def write_bounds(found: Sequence[TaskBound], out: Path) -> Path:
    """Write what was found into a folder.

    bound.csv has a row of terms per training, path.csv a row per point of a path, taylor.csv a row per point of an
    expansion, left_out.csv a row per left-out example if there are any, and bound.html is a page.

    Returns:
        The path of the page.

    Raises:
        UserError: There is no room on the disk.
    """
    import pandas as pd

    tables = {
        TERMS: [one.summary() for one in found],
        PATH: [row for one in found for row in one.path()],
        TAYLOR: [row for one in found for row in one.curve()],
        EXAMPLES: [row for one in found for row in one.examples()],
    }
    written = {name: pd.DataFrame(rows) for name, rows in tables.items() if rows}
    for name in tables.keys() - written.keys():
        # That of an earlier command would seem to belong to this page.
        (out / name).unlink(missing_ok=True)
    first = found[0].bound
    facts = {
        "Models": listed(sorted({one.model for one in found})),
        "Tasks": listed(sorted({one.task for one in found})),
        "Examples": listed(sorted({one.bound.n for one in found})),
        "Steps": f"{first.steps}, of gradient descent",
        "Learning rate": listed([f"{one.bound.learning_rate:.3g}" for one in found]),
        "Points of the path": str(len(first.terms.step)),
        "Examples left out": str(len(found[0].rows)),
    }
    notes = list(dict.fromkeys(sentence for one in found for sentence in one.bound.notes))
    sections = [section for k, one in enumerate(found) for section in _sections(one, str(k), len(found) > 1)]
    title = f"The bound of full fine-tuning on {listed(sorted({one.task for one in found}))}"
    return write_page(page(title, facts, notes, sections, numbers(found), written, DEFINITIONS), out, PAGE)


def numbers(found: Sequence[TaskBound]) -> NumberTable:
    """Return a line per term, and a column per training."""
    rows = [one.summary() for one in found]
    lines = [(name, *(_cell(row[key]) for row in rows)) for key, name in _TERMS.items()]
    lines.append(("what fails", *(row["fails"] or "nothing" for row in rows)))
    remark = (
        "As far as the terms were measured, the forms are a bound where none of the first three assumptions fails; "
        "elsewhere they are formulas."
    )
    return NumberTable("Every term", ("term", *(one.name for one in found)), tuple(lines), (remark,))


def bound_table(found: Sequence[TaskBound]) -> Table:
    """Lay out the terms of every training for the terminal."""
    table = numbers(found)
    layout = Table(box=None, pad_edge=False, header_style="bold")
    for heading in table.columns:
        layout.add_column(escape(heading), justify="left" if heading == "term" else "right")
    for row in table.rows:
        layout.add_row(*map(escape, row))
    return layout


def _cell(value: float) -> str:
    if isinstance(value, int):
        return f"{value:,}".replace(",", " ")
    return MISSING if math.isnan(value) else "∞" if math.isinf(value) else f"{value:.3g}"


def _sections(one: TaskBound, key: str, named: bool) -> list[Section]:
    where = f": {one.name}" if named else ""
    found = one.bound
    return [
        study(
            f"terms-{key}",
            f"The terms along the path{where}",
            f"Gradient descent on all {found.n} examples at a rate of {found.learning_rate:.3g}, measured at "
            f"{len(found.terms.step)} of {found.steps} steps.",
            path_panels(one),
            _assumption_claims(one),
        ),
        study(
            f"stability-{key}",
            f"The bound, and leaving an example out{where}",
            "A left-out example gets the weight 0 in the same gradient descent; all others keep 1/n.",
            left_out_panels(one),
            _bound_claims(one),
        ),
        study(
            f"taylor-{key}",
            f"The second-order expansion{where}",
            "The loss along the straight line from w₀ through w_T, and as far again beyond.",
            [taylor_panel(one)],
            [_taylor_claim(one)],
        ),
    ]


def _assumption_claims(one: TaskBound) -> list[Claim]:
    return [
        Claim(
            f"The bound assumes: {assumption.name}.",
            "derived",
            "supported" if assumption.holds else "not supported",
            assumption.finding if assumption.holds else f"{assumption.finding} {assumption.otherwise}",
        )
        for assumption in one.bound.assumptions
    ]


def _bound_claims(one: TaskBound) -> list[Claim]:
    import pandas as pd

    found, smallest = one.bound, min(one.bound.bound)
    status = (
        "" if found.proved else f" As {listed([a.name for a in found.failures if a.vital])} fails, nothing is proved."
    )
    prediction = "Leave-one-out stability, the mean of ‖w_T − w_T^i‖, is at most the smallest of the three forms."
    verdict: Verdict = "inconclusive"
    if not len(one.rows):
        measured = f"The smallest form is {_cell(smallest)}. No example was left out to compare: --left-out does."
    else:
        if math.isfinite(smallest):
            verdict = "supported" if one.instability <= smallest else "not supported"
        share = percent(one.instability / smallest) if 0 < smallest < math.inf else MISSING
        measured = (
            f"The mean over {count(len(one.rows), 'left-out example')} is {one.instability:.3g}, and the smallest form "
            f"{_cell(smallest)}: {share} of it."
        )
    table = pd.DataFrame({"value": one.distances, "bound": one.sums})
    each = bounded(
        "Leaving an example out hardly ever moves the end by more than that example's own sum over the path: an "
        "estimate and no bound, as the path is measured at a few points and without the example not at all.",
        "estimate",
        table,
        "value",
        "bound",
        "left-out examples",
        what="estimate",
    )
    return [Claim(prediction, "derived", verdict, measured + status), each]


def _taylor_claim(one: TaskBound) -> Claim:
    check = one.taylor
    way = check.error[check.distance <= check.travelled * (1 + 1e-9)]
    return Claim(
        f"Up to w_T the loss is its second-order expansion at w₀, within {percent(LIMIT)}: the analysis of full "
        "fine-tuning stands on that expansion.",
        "abstract",
        "supported" if check.limit >= check.travelled else "not supported",
        f"{capital(check.describe())} On the way to w_T it is off by {percent(float(way.max()))} at most.",
    )
