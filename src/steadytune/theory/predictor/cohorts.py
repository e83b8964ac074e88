"""Read folders of runs into one table: what is known of each cohort beforehand, and how unstable it turned out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from steadytune.errors import UserError
from steadytune.measures import disagreement, pair_mean, score_spread
from steadytune.records import Cohort, RunRecord, RunStore
from steadytune.theory.predictor.features import feature_quantities, frozen_spec
from steadytune.theory.predictor.quantities import QUANTITIES, run_quantities, spec_quantities

if TYPE_CHECKING:
    import pandas as pd

TARGETS = {"sd": "SD of the score", "disagreement": "disagreement of the predictions"}
"""Measured seed instability."""
FEWEST_RUNS = 3

NAMES = ("study", "model", "task", "recipe", "runs", "lost", "seed")
_KINDS = ("", "_all", "_even", "_odd")
COLUMNS = (*NAMES, *(one.name for one in QUANTITIES), *(f"{target}{kind}" for target in TARGETS for kind in _KINDS))


def cohort_table(
    stores: Sequence[RunStore], cache: Path, *, progress: Callable[[float], None] = lambda share: None
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Read the cohorts of several studies.

    The quantities come from the first finished run of each cohort, and its instability from the other runs, which the
    quantities have not seen: if the first run counted on both sides, its own random variation would correlate the two.
    The table also has the instability of all runs ("sd_all"), and of every second run, starting with the first
    ("sd_even") and with the second ("sd_odd"), which shows how precisely so few seeds measure it. "runs" counts the
    finished runs; those that diverged or raised an error count as "lost", and in no instability.

    Args:
        stores: Folders of studies; a cohort that is in several counts once.
        cache: Folder of cached features. Nothing is written into the studies.
        progress: Called with the share that is done, 0 to 1.

    Returns:
        A row per cohort with the columns `COLUMNS`, NaN for unknown values; and sentences that say what was left out
        and why, and which cohorts have unfinished runs.

    Raises:
        UserError: No cohort has three finished runs; or a run is corrupted.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    seen: set[str] = set()
    features: dict[str, dict[str, float]] = {}
    few, lost, unknown = [], [], []
    for place, store in enumerate(stores):
        cohorts = store.cohorts()
        first = _first_runs(store)
        for done, cohort in enumerate(cohorts):
            tell = partial(_tell, progress, (place + done / len(cohorts)) / len(stores), 1 / len(cohorts) / len(stores))
            tell(0.0)
            if cohort.lost:
                lost.append(f"{cohort.name} ({len(cohort.lost)} of {len(cohort.lost) + len(cohort)})")
            if len(cohort) < FEWEST_RUNS:
                few.append(cohort.name)
                continue
            record = first[cohort.model, cohort.task, cohort.recipe]
            if record.spec.id in seen:
                continue
            seen.add(record.spec.id)
            frozen = frozen_spec(record.spec)
            if frozen.id not in features:
                features[frozen.id] = {}
                try:
                    features[frozen.id] = feature_quantities(frozen, cache, tell)
                except UserError as error:
                    unknown.append(str(error))
            names = (
                str(store.path),
                cohort.model,
                cohort.task,
                cohort.recipe,
                len(cohort),
                len(cohort.lost),
                cohort.seeds[0],
            )
            logits = None if cohort.predictions is None else cohort.logits
            rows.append(
                {
                    **dict(zip(NAMES, names, strict=True)),
                    **spec_quantities(record.spec),
                    **features[frozen.id],
                    **run_quantities(record, None if logits is None else logits[0]),
                    **_instability(cohort),
                }
            )
    progress(1.0)
    if not rows:
        raise UserError(
            f"no cohort of {', '.join(str(store.path) for store in stores)} has {FEWEST_RUNS} finished runs: "
            "train more seeds"
        )
    notes = [f"The frozen features are unknown: {reason}." for reason in dict.fromkeys(unknown)]
    if few:
        notes.insert(0, f"Left out, with fewer than {FEWEST_RUNS} finished runs: {', '.join(few)}.")
    if lost:
        notes.append(
            "Runs that diverged or crashed do not count in the instability. These cohorts are less "
            f"stable than their numbers suggest: {', '.join(dict.fromkeys(lost))}."
        )
    return pd.DataFrame(rows, columns=list(COLUMNS)), tuple(notes)


def _tell(progress: Callable[[float], None], begun: float, part: float, share: float) -> None:
    progress(begun + part * share)


def _first_runs(store: RunStore) -> dict[tuple[str, str, str], RunRecord]:
    found: dict[tuple[str, str, str], RunRecord] = {}
    for record in store.records():
        if record.status == "done":
            found.setdefault(record.spec.cohort, record)
    return found


def _instability(cohort: Cohort) -> dict[str, float]:
    every = np.arange(len(cohort))
    parts = dict(zip(_KINDS, (every[1:], every, every[::2], every[1::2]), strict=True))
    values = {}
    for kind, runs in parts.items():
        scores = cohort.scores[runs]
        values[f"sd{kind}"] = score_spread(scores) if np.isfinite(scores).all() else math.nan
        predictions = cohort.predictions
        values[f"disagreement{kind}"] = (
            math.nan if predictions is None else float(pair_mean(disagreement(predictions[runs])))
        )
    return values
