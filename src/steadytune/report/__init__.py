"""From measured runs to what people read: one HTML page, CSV files, a table in the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from steadytune.analysis.comparison.compare import Comparison, compare
from steadytune.analysis.comparison.verdict import verdict
from steadytune.analysis.validity.validate import Validation, validate
from steadytune.errors import UserError
from steadytune.files import write_text
from steadytune.records import RunStore
from steadytune.records.trained import as_trained
from steadytune.report.facts import facts
from steadytune.report.html import render
from steadytune.report.tables import (
    comparison_table,
    components_csv,
    differences_csv,
    flips_csv,
    measures_csv,
    runs_csv,
)
from steadytune.report.validity_table import validity_csv, validity_table

__all__ = ["comparison_table", "measures_csv", "render", "runs_csv", "validity_table", "write_report"]

REPORT = "report.html"
# Share of the time that measuring takes; the rest is for measuring again on fewer examples.
_MEASURING = 0.8


def write_report(
    store: RunStore | str | Path,
    comparison: Comparison | None = None,
    validations: Mapping[tuple[str, str], Validation] | None = None,
    progress: Callable[[float], None] | None = None,
    out: str | Path | None = None,
) -> tuple[Path, Comparison]:
    """Compare the runs of a folder and write report.html and the CSV files into it.

    Args:
        store: The folder, or its path.
        comparison: What `compare(store)` gave, if it is there already.
        validations: What `validate(comparison.profiles)` gave, if it is there already.
        progress: Called with the share of the work that is done.
        out: Another folder to write into; nothing is then written into the runs' own.

    Returns:
        The path of report.html, and the comparison that it shows.

    Raises:
        UserError: There are no runs yet, or the folder cannot be written into.
    """
    report = progress or (lambda share: None)
    if not isinstance(store, (RunStore, str, Path)):
        raise UserError(f"a report is that of a folder (st.RunStore or its path), not of {type(store).__name__}")
    if not isinstance(store, RunStore):
        store = RunStore(store)
    if comparison is None:
        comparison = compare(store, progress=lambda share: report(_MEASURING * share))
    if validations is None:
        rest = 1 - _MEASURING
        validations = validate(
            comparison.profiles, progress=lambda done, total: report(_MEASURING + rest * done / total)
        )
    texts = {name: store.examples_named(name) for name in {found.cohort.examples for found in comparison.profiles}}
    data = dict.fromkeys(line for entry in texts.values() for line in entry["data"])
    records = store.records()
    tables = {
        "runs.csv": runs_csv(records),
        "measures.csv": measures_csv(comparison),
        "differences.csv": differences_csv(comparison),
        "flips.csv": flips_csv(comparison, texts),
        "components.csv": components_csv(comparison),
        "validity.csv": validity_csv(validations),
    }
    study, otherwise = as_trained(store.study, records)
    page = render(
        comparison,
        verdict(comparison),
        facts(study, records, left_out=store.skipped, otherwise=otherwise, data=data),
        texts,
        tuple(tables),
        validations,
    )
    folder = Path(out) if out else store.path
    try:
        for name, content in {**tables, REPORT: page}.items():
            write_text(folder / name, content)
    except OSError as error:
        where = "" if out else "; another folder may be named with --out"
        raise UserError(f"no report can be written into {folder}: {error.strerror}{where}") from error
    return folder / REPORT, comparison
