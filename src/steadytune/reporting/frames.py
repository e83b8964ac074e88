"""The tables of a page, and a table or data frame as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from steadytune.analysis.comparison.compare import Comparison, DifferenceRow, MeasureRow
from steadytune.analysis.components import ComponentRow, component_rows
from steadytune.analysis.flips import FlipRow, flip_rows
from steadytune.analysis.validity.validate import Validation, ValidityRow, validity_rows
from steadytune.records import RunRecord
from steadytune.reporting.explore import Texts

if TYPE_CHECKING:
    import pandas as pd


class Rows(NamedTuple):
    """A table of a page. It does not take pandas, whose import takes longer than a small report.

    Attributes:
        columns: Their names.
        rows: The values of each row, None if unknown.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


_FORMULAS = ("=", "+", "-", "@", "\t", "\n")


def study_frames(
    comparison: Comparison,
    records: Sequence[RunRecord],
    texts: Texts,
    validations: Mapping[tuple[str, str], Validation],
) -> dict[str, Rows]:
    """Return the tables written next to the report of a study, by file name.

    Scores are fractions, or in the metric's own unit; unknown values are None.
    """
    runs = [record.row() for record in records]
    tables = comparison_frames(comparison, texts)
    return {
        # First the columns of every run, then each further metric, measurement and timing of any run.
        "runs.csv": _frame(dict.fromkeys(name for row in runs for name in row), runs),
        "measures.csv": tables["measures.csv"],
        "differences.csv": _rows(DifferenceRow, comparison.difference_rows()),
        "flips.csv": tables["flips.csv"],
        "components.csv": _rows(ComponentRow, component_rows(profile.cohort for profile in comparison.profiles)),
        "validity.csv": _rows(ValidityRow, validity_rows(dict(validations))),
    }


def comparison_frames(comparison: Comparison, texts: Texts) -> dict[str, Rows]:
    """Return the tables written next to a report on any runs, by file name."""
    tables = {
        "measures.csv": _rows(MeasureRow, comparison.measures_rows()),
        "flips.csv": _rows(FlipRow, flip_rows((profile.cohort for profile in comparison.profiles), texts)),
    }
    if len(comparison.profiles) > 1:
        tables["differences.csv"] = _rows(DifferenceRow, comparison.difference_rows())
    return tables


def _rows(of: Any, rows: Iterable[Any]) -> Rows:
    return _frame(of._fields, (row._asdict() for row in rows))


def _frame(columns: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> Rows:
    names = list(columns)
    return Rows(names, [[_known(row.get(name)) for name in names] for row in rows])


def _known(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def frame_csv(frame: pd.DataFrame | Rows) -> str:
    """Return a table as CSV with a header line; unknown values are empty."""
    rows = frame.rows if isinstance(frame, Rows) else frame.itertuples(index=False, name=None)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([_field(name) for name in frame.columns])
    writer.writerows([_field(value) for value in row] for row in rows)
    return text.getvalue()


def _field(value: Any) -> Any:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, str):
        # The writer does not quote a carriage return, which readers take as the end of a line.
        value = value.replace("\r\n", "\n").replace("\r", "\n")
        # A spreadsheet would evaluate it, and could be made to leak data: the apostrophe marks it as text.
        return f"'{value}" if value.startswith(_FORMULAS) and not _is_number(value) else value
    return str(value).lower() if isinstance(value, (bool, np.bool_)) else value


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
