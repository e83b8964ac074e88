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

from steadytune.analysis.comparison.compare import Comparison, DifferenceRow, MeasureRow, Row
from steadytune.analysis.comparison.difference import Difference
from steadytune.analysis.comparison.significance import SIGNIFICANT
from steadytune.analysis.components import ComponentRow, component_rows
from steadytune.analysis.flips import FlipRow, flip_rows
from steadytune.analysis.value import Value
from steadytune.records import RunRecord
from steadytune.report.explore import Texts
from steadytune.report.words import MEASURES, MISSING, PAIRWISE, TEXTS_ALONE, called, interval, known, number, seconds

_TERMINAL_NAME = 26


class Cell(NamedTuple):
    """One cell of a table of the page.

    Attributes:
        value: What is written large.
        notes: Lines written small under it.
        marked: Whether it is what the table is read for.
    """

    value: str
    notes: tuple[str, ...] = ()
    marked: bool = False


def grouped(comparison: Comparison) -> dict[tuple[str, str], list[Row]]:
    """Return the rows by model and task, in the order of the study."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in comparison.rows():
        groups.setdefault((row.model, row.task), []).append(row)
    return groups


def pairwise(rows: Sequence[Row]) -> list[str]:
    """Return the measures that compare runs with one another and belong into a table of these cohorts."""
    texts = any(row.profile.cohort.kind == "generation" for row in rows)
    return [name for name in PAIRWISE if texts or name not in TEXTS_ALONE]


def comparison_lines(rows: Sequence[Row]) -> tuple[list[str], list[list[Cell]]]:
    """Lay out what each recipe scores and how unstable it is: column headings, and a line of cells per recipe."""
    names = pairwise(rows)
    headings = ["Mean score", "Score SD", "Failed runs", *(MEASURES[name].title for name in names), "Time per run"]
    return headings, [_cells(row, names) for row in rows]


def _cells(row: Row, names: Sequence[str]) -> list[Cell]:
    return [
        Cell(number(row.mean.value, points=True), _lines(interval(row.mean.low, row.mean.high, points=True))),
        Cell(number(row.sd.value, points=True), _lines(interval(row.sd.low, row.sd.high, points=True))),
        Cell(f"{row.failed} of {row.runs}", _lines(f"and {row.lost} lost" if row.lost else "")),
        *(_measure_cell(row.profile.last(name)) for name in names),
        Cell(seconds(row.seconds)),
    ]


def _measure_cell(value: Value) -> Cell:
    share = _null_share(value)
    return Cell(number(value.value), _lines(interval(value.low, value.high), share and f"{share} of null"))


def _null_share(value: Value) -> str:
    return f"{100 * value.value / value.null:.0f} %" if value.null > 0 and known(value.value) else ""


def _with_share(value: Value) -> str:
    share = _null_share(value)
    return f"{number(value.value)} ({share})" if share else number(value.value)


def difference_lines(rows: Sequence[Row]) -> tuple[list[str], list[tuple[Row, list[Cell]]]]:
    """Lay out by what each recipe differs from the baseline: column headings, and a line of cells per recipe."""
    names = pairwise(rows)
    headings = ["Mean score", "Score SD", "Failed runs", *(MEASURES[name].title for name in names)]
    keys = ("mean", "sd_ratio", "failed", *names)
    others = [row for row in rows if not row.is_baseline]
    return headings, [(row, [_difference_cell(row.differences.get(key)) for key in keys]) for row in others]


def _difference_cell(found: Difference | None) -> Cell:
    if found is None or not known(found.interval.value):
        return Cell(MISSING)
    value, low, high = found.interval
    if found.measure == "sd_ratio":
        written, ends = f"{value:.2f}×", f"[{low:.2f}, {high:.2f}]" if known(low) else ""
    elif found.measure in ("mean", "failed"):
        written, ends = _signed(value, points=True), interval(low, high, points=True)
    else:
        written, ends = _signed(value), interval(low, high)
    p = f"p = {found.p_adjusted:.2g}" if known(found.p_adjusted) else ""
    return Cell(written, _lines(ends, p), marked=found.p_adjusted < SIGNIFICANT)


def _signed(value: float, points: bool = False) -> str:
    written = number(abs(value), points)
    # What rounds to nothing has no sign to speak of.
    if written.startswith("<") or not float(written):
        return written
    return f"{'−' if value < 0 else '+'}{written}"


def _lines(*lines: str) -> tuple[str, ...]:
    return tuple(filter(None, lines))


def comparison_table(comparison: Comparison) -> Table:
    """Lay the comparison out for 80 columns: per model and task the scores, and below them the measures."""
    layout = Table.grid()
    for (model, task), rows in grouped(comparison).items():
        name = " on ".join(filter(None, (model, task)))
        titles = (
            f"{f'{name}: ' if name else ''}{rows[0].metric} in points [95 % interval]",
            f"instability, 0 is stable (representations: {_of_states(rows)})",
        )
        # Lines of their own: as a table's title they would be wrapped to its width.
        for title, table in zip(titles, (_scores(rows), _measures(rows)), strict=True):
            for line in (Text(title, style="bold"), table, ""):
                layout.add_row(line)
    return layout


def _of_states(rows: Sequence[Row]) -> str:
    """Say what stands in the columns of the representation measures."""
    if all(row.profile.cohort.frozen_encoder for row in rows):
        return "none, as the encoder is frozen"
    return "last layer, share of null"


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
    names = pairwise(rows)
    for name in names:
        table.add_column(MEASURES[name].short, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(escape(called(row.recipe)), *(_with_share(row.profile.last(name)) for name in names))
    return table


def _table() -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    # Folded, not cut: two recipes may differ in their last letters alone.
    table.add_column("recipe", overflow="fold", max_width=_TERMINAL_NAME)
    return table


def measures_csv(comparison: Comparison) -> str:
    """Return measures.csv: a row per cohort, measure and layer; scores as fractions, empty for what is unknown."""
    return csv_text(MeasureRow._fields, (row._asdict() for row in comparison.measures_rows()))


def differences_csv(comparison: Comparison) -> str:
    """Return differences.csv: a row per recipe but the baseline, measure and test."""
    return csv_text(DifferenceRow._fields, (row._asdict() for row in comparison.difference_rows()))


def flips_csv(comparison: Comparison, texts: Texts) -> str:
    """Return flips.csv: a row per cohort and example, those that flip most first."""
    rows = flip_rows((profile.cohort for profile in comparison.profiles), texts)
    return csv_text(FlipRow._fields, (row._asdict() for row in rows))


def components_csv(comparison: Comparison) -> str:
    """Return components.csv: a row per cohort, measure and source of luck; without rows where no seeds form a grid."""
    rows = component_rows(profile.cohort for profile in comparison.profiles)
    return csv_text(ComponentRow._fields, (row._asdict() for row in rows))


def runs_csv(records: Sequence[RunRecord]) -> str:
    """Return runs.csv: a row per run, then a column for each further metric, measurement and timing of any run."""
    rows = [_run_row(record) for record in records]
    columns = dict.fromkeys(name for row in rows for name in row)
    return csv_text(tuple(columns), rows)


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
        "data_seed": spec.seeds.data,
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


def csv_text(columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> str:
    """Return rows as CSV with a line of column names; what is unknown is empty."""
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
