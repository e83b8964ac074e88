"""Find cohorts of full fine-tuning that differ in only one factor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from steadytune.files import canonical_json
from steadytune.theory.studies.full_cohorts import CohortStability

if TYPE_CHECKING:
    import pandas as pd

DESIGN = ("model", "task", "n", "epochs", "steps", "learning_rate", "frozen", "retrained", "rest")
"""The factors of a cohort; steps follow from n, epochs and the batch size, which is part of the rest."""
_READ_APART = {"train_size", "epochs", "learning_rate"}


def design(cohorts: Sequence[CohortStability]) -> pd.DataFrame:
    """Return a row per cohort: its summary, and in "retrained" and "rest" the factors without a column.

    "retrained" holds the parameters of surt, empty without it.
    """
    import pandas as pd

    rows = []
    for cohort in cohorts:
        entries = {method.name: method.entry() for method in cohort.spec.stabilizers}
        retrained, frozen = entries.pop("surt", None), entries.pop("freeze", None)
        # The number of frozen blocks is a column; embeddings without blocks, or the reverse, are other methods.
        alone = None
        if frozen is not None and frozen["freeze"]["embeddings"] != (cohort.frozen > 0):
            alone = "blocks" if cohort.frozen else "embeddings"
        training = cohort.spec.training.model_dump(mode="json", exclude=_READ_APART)
        rest = {"training": training, "methods": list(entries.values()), "frozen_alone": alone}
        rows.append({**cohort.summary(), "retrained": _spelled(retrained), "rest": _spelled(rest)})
    return pd.DataFrame(rows)


def _spelled(content: object) -> str:
    return canonical_json(content).decode() if content else ""


def series(table: pd.DataFrame, x: str, free: Sequence[str] = ()) -> pd.DataFrame:
    """Return the cohorts that differ from others in only one factor; "dataset" numbers their series.

    Args:
        table: From `design`.
        x: Column of the factor that differs.
        free: Further columns that may differ with it.
    """
    known = table[table["status"] == "done"]
    grouped = known.groupby([name for name in DESIGN if name not in (x, *free)], sort=False)
    several = grouped[x].transform("nunique") > 1
    return known.assign(dataset=grouped.ngroup())[several]


def longest(rows: pd.DataFrame, x: str) -> pd.DataFrame:
    """Return for each model and task the series with the most values, for drawing."""
    lengths = rows.groupby("dataset")[x].transform("nunique")
    best = rows.assign(length=lengths).sort_values("length", ascending=False, kind="stable")
    chosen = best.groupby(["model", "task"], sort=False)["dataset"].first()
    return rows[rows["dataset"].isin(chosen)]
