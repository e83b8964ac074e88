"""The comparison of recipes as rows of a page and as a table in the terminal, and the two CSV files."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from steadytune.analysis.compare import Comparison, MeasureRow, Row
from steadytune.analysis.value import Value
from steadytune.records import RunRecord
from steadytune.report.words import MEASURES, PAIRWISE, called, interval, known, number, seconds

_TERMINAL_NAME = 26


class Cell(NamedTuple):
    """One cell of the page's comparison table.

    Attributes:
        value: What is written large.
        notes: Lines written small under it.
    """

    value: str
    notes: tuple[str, ...] = ()


def grouped(comparison: Comparison) -> dict[tuple[str, str], list[Row]]:
    """Return the rows by model and task, in the order of the study."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in comparison.rows():
        groups.setdefault((row.model, row.task), []).append(row)
    return groups


def headings() -> list[str]:
    """Return the column headings that go with `cells`."""
    return ["Mean score", "Score SD", "Failed runs", *(MEASURES[name].title for name in PAIRWISE), "Time per run"]


def cells(row: Row) -> list[Cell]:
    """Return one recipe's line of the page's comparison table."""
    return [
        Cell(number(row.mean.value, points=True), _lines(interval(row.mean.low, row.mean.high, points=True))),
        Cell(number(row.sd.value, points=True), _lines(interval(row.sd.low, row.sd.high, points=True))),
        Cell(f"{row.failed} of {row.runs}", _lines(f"and {row.lost} lost" if row.lost else "")),
        *(_measure_cell(row.measures[name]) for name in PAIRWISE),
        Cell(seconds(row.seconds)),
    ]


def _measure_cell(value: Value) -> Cell:
    share = f"{100 * value.value / value.null:.0f} % of null" if value.null > 0 and known(value.value) else ""
    return Cell(number(value.value), _lines(interval(value.low, value.high), share))


def _lines(*lines: str) -> tuple[str, ...]:
    return tuple(filter(None, lines))


def comparison_table(comparison: Comparison) -> Table:
    """Lay the comparison out for 80 columns: per model and task the scores, and below them the measures."""
    layout = Table.grid()
    for (model, task), rows in grouped(comparison).items():
        name = " on ".join(filter(None, (model, task)))
        titles = (
            f"{f'{name}: ' if name else ''}{rows[0].metric} in points [95 % interval]",
            "instability, 0 is stable (representations: last layer)",
        )
        # Lines of their own: as a table's title they would be wrapped to its width.
        for title, table in zip(titles, (_scores(rows), _measures(rows)), strict=True):
            for line in (Text(title, style="bold"), table, ""):
                layout.add_row(line)
    return layout


def _scores(rows: Sequence[Row]) -> Table:
    table = _table()
    for heading in ("mean", "SD", "failed", "time/run"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        failed = f"{row.failed}/{row.runs}" + (f" +{row.lost} lost" if row.lost else "")
        table.add_row(
            escape(called(row.recipe)),
            f"{number(row.mean.value, points=True)} {interval(row.mean.low, row.mean.high, points=True)}".strip(),
            f"{number(row.sd.value, points=True)} {interval(row.sd.low, row.sd.high, points=True)}".strip(),
            f"[bold red]{failed}[/]" if row.failed or row.lost else failed,
            seconds(row.seconds),
        )
    return table


def _measures(rows: Sequence[Row]) -> Table:
    table = _table()
    for name in PAIRWISE:
        table.add_column(MEASURES[name].short, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(escape(called(row.recipe)), *(number(row.measures[name].value) for name in PAIRWISE))
    return table


def _table() -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    # Folded, not cut: two recipes may differ in their last letters alone.
    table.add_column("recipe", overflow="fold", max_width=_TERMINAL_NAME)
    return table


def measures_csv(comparison: Comparison) -> str:
    """Return measures.csv: a row per cohort, measure and layer; scores as fractions, empty for what is unknown."""
    return _csv(MeasureRow._fields, (row._asdict() for row in comparison.measures_rows()))


def runs_csv(records: Sequence[RunRecord]) -> str:
    """Return runs.csv: a row per run, then a column for each further metric, measurement and timing of any run."""
    rows = [_run_row(record) for record in records]
    columns = dict.fromkeys(name for row in rows for name in row)
    return _csv(tuple(columns), rows)


def _run_row(record: RunRecord) -> dict[str, Any]:
    spec = record.spec
    return {
        "run": spec.id,
        "model": spec.model,
        "task": spec.task.name,
        "recipe": spec.recipe,
        "seed": spec.seeds.label,
        "init_seed": spec.seeds.init,
        "order_seed": spec.seeds.order,
        "dropout_seed": spec.seeds.dropout,
        "status": record.status,
        "failed": record.failed,
        "metric": record.metric,
        "score": record.score,
        "majority_score": record.majority_score,
        "seconds": record.seconds,
        "reason": record.reason,
        **{f"scores.{name}": value for name, value in record.scores.items() if name != record.metric},
        **{f"measurements.{name}": value for name, value in record.measurements.items()},
        **{f"timings.{name}": value for name, value in record.timings.items() if name != "total"},
    }


def _csv(columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_field(row.get(name)) for name in columns])
    return text.getvalue()


def _field(value: Any) -> Any:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return str(value).lower() if isinstance(value, bool) else value
