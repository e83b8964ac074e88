"""From measured runs to what people read: one HTML page, two CSV files, a table in the terminal."""

from __future__ import annotations

from pathlib import Path

from steadytune.analysis.compare import Comparison, compare
from steadytune.analysis.verdict import verdict
from steadytune.files import write_text
from steadytune.records import RunStore
from steadytune.report.facts import facts
from steadytune.report.html import render
from steadytune.report.tables import comparison_table, measures_csv, runs_csv

__all__ = ["comparison_table", "measures_csv", "render", "runs_csv", "write_report"]

REPORT, RUNS, MEASURES = "report.html", "runs.csv", "measures.csv"


def write_report(store: RunStore) -> tuple[Path, Comparison]:
    """Compare the runs of a folder and write report.html, runs.csv and measures.csv into it.

    Returns:
        The path of report.html, and the comparison that it shows.

    Raises:
        UserError: There are no runs yet, one of them is corrupted, or there is no room on the disk.
    """
    comparison = compare(store)
    texts = {name: store.examples_named(name) for name in {found.cohort.examples for found in comparison.profiles}}
    records = store.records()
    write_text(store.path / RUNS, runs_csv(records))
    write_text(store.path / MEASURES, measures_csv(comparison))
    page = render(comparison, verdict(comparison), facts(store.study, records), texts, tables=(RUNS, MEASURES))
    write_text(store.path / REPORT, page)
    return store.path / REPORT, comparison
