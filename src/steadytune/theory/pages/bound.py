"""Report the bound of full fine-tuning on real tasks: a terminal table, CSV files and a page."""

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
    "weights, and take the distance between the end points; the mean over the left-out examples, in units of the "
    "weights.",
    "L": "Largest gradient norm of a single example's loss on the path. It approximates the Lipschitz constant.",
    "β": "Largest eigenvalue of the Hessian of the mean loss, from Lanczos, plus a margin for the limited number of "
    "products. Gradient descent with a rate of 1/β never raises the loss; 2/β is the stability limit.",
    "μ": "Smallest eigenvalue of the Hessian. The restricted μ is the curvature of the loss from points of the path "
    "towards its end only, and can be positive where μ is not.",
    "‖w₀ − w_T‖": "How far the weights travel. It approximates the distance to the nearest minimiser.",
    "Tight, Lipschitz and convex form": "Three bounds on the same quantity; the smallest is used. The first two use "
    "the restricted μ, the second uses L, the third neither.",
    "Sum over the path": "The first line of the bound's proof, with the measured gradients of single examples and the "
    "measured curvature instead of the assumptions: an estimate that needs no convexity, but not a bound.",
    "Expansion": "The second-order expansion of the loss at w₀ along the straight line from w₀ through w_T.",
}
_TERMS = {
    "n": "examples n",
    "size": "trained weights P",
    "idle": "of these, with zero gradient at w₀",
    "learning_rate": "learning rate η",
    "steps": "steps T",
    "first_loss": "loss at w₀",
    "last_loss": "loss at w_T",
    "lipschitz": "L, largest gradient of an example",
    "mean_gradient": "largest mean of these gradients",
    "beta": "β, with margin",
    "margin": "margin",
    "residual": "largest Lanczos residual",
    "example_beta": "β of single examples",
    "mu": "μ, minus margin",
    "restricted_mu": "restricted μ",
    "distance": "‖w₀ − w_T‖",
    "bound_tight": "bound, tight form",
    "bound_lipschitz": "bound, Lipschitz form",
    "bound_convex": "bound, convex form",
    "path_sum": "sum over the path",
    "loo_weights": "leave-one-out stability, measured",
    "left_out": "examples left out",
    "taylor_limit": "distance at which the expansion is 10 % off",
}


def write_bounds(found: Sequence[TaskBound], out: Path) -> Path:
    """Write the results into a folder.

    bound.csv has a row of terms per training, path.csv a row per point of a path, taylor.csv a row per point of an
    expansion, left_out.csv a row per left-out example if there are any, and bound.html is a page.

    Returns:
        The path of the page.

    Raises:
        UserError: The disk is full.
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
        # A file of an earlier command would seem to belong to this page.
        (out / name).unlink(missing_ok=True)
    first = found[0].bound
    facts = {
        "Models": listed(sorted({one.model for one in found})),
        "Tasks": listed(sorted({one.task for one in found})),
        "Examples": listed(sorted({one.bound.n for one in found})),
        "Steps": f"{first.steps} of gradient descent",
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
    lines.append(("failed assumptions", *(row["fails"] or "none" for row in rows)))
    remark = (
        "As far as the terms were measured, the forms are bounds if none of the first three assumptions fails; "
        "otherwise they are only formulas."
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
            f"The bound and leave-one-out{where}",
            "A left-out example has weight 0 in the same gradient descent; all others keep 1/n.",
            left_out_panels(one),
            _bound_claims(one),
        ),
        study(
            f"taylor-{key}",
            f"The second-order expansion{where}",
            "The loss along the straight line from w₀ through w_T, and the same distance beyond.",
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
        ""
        if found.proved
        else f" As {listed([a.name for a in found.failures if a.vital])} fails, the bound is not proved."
    )
    prediction = "Leave-one-out stability, the mean of ‖w_T − w_T^i‖, is at most the smallest of the three forms."
    verdict: Verdict = "inconclusive"
    if not len(one.rows):
        measured = f"The smallest form is {_cell(smallest)}. No example was left out for comparison; use --left-out."
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
        "Leaving an example out hardly ever moves the end point by more than that example's sum over the path: an "
        "estimate, not a bound, since the path is measured at a few points, and only with the example.",
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
        f"Up to w_T the loss equals its second-order expansion at w₀ to within {percent(LIMIT)}: the analysis of "
        "full fine-tuning rests on that expansion.",
        "abstract",
        "supported" if check.limit >= check.travelled else "not supported",
        f"{capital(check.describe())} On the way to w_T the error is at most {percent(float(way.max()))}.",
    )
