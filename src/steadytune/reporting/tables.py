"""The comparison of recipes as a table on a page and in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from steadytune.analysis.comparison.compare import Comparison, Row
from steadytune.analysis.comparison.difference import Difference
from steadytune.analysis.comparison.same_seed import SameSeed, changed_at_same_seed
from steadytune.analysis.failures import failure_words
from steadytune.analysis.grouping import size_words
from steadytune.analysis.intervals import SIGNIFICANT
from steadytune.analysis.sentences import times
from steadytune.analysis.value import Value
from steadytune.grouped import grouped
from steadytune.measures import MEASURES, declared
from steadytune.metrics import Scale
from steadytune.reporting.blocks import Cell
from steadytune.reporting.naming import MISSING, called, interval, known, number, scale_of, seconds

_TERMINAL_NAME = 26


def pairwise(rows: Sequence[Row]) -> list[str]:
    """Return the measures that compare runs and belong in a table of these cohorts."""
    there = {value.measure for row in rows for value in row.profile.values}
    return [one.name for one in declared() if one.level != "score" and one.name in there]


def comparison_lines(rows: Sequence[Row]) -> tuple[list[str], list[list[Cell]]]:
    """Lay out the score and instability of each recipe: column headings, and a line of cells per recipe."""
    names = pairwise(rows)
    headings = ["Mean score", "Score SD", "Failed runs", *(MEASURES[name].title for name in names), "Time per run"]
    return headings, [_cells(row, names) for row in rows]


def _cells(row: Row, names: Sequence[str]) -> list[Cell]:
    return [
        Cell(number(row.mean.value, row.scale), _lines(interval(row.mean.low, row.mean.high, row.scale))),
        Cell(number(row.sd.value, row.scale), _lines(interval(row.sd.low, row.sd.high, row.scale))),
        Cell(
            MISSING if row.failed is None else f"{row.failed} of {row.runs}",
            _lines(f"and {row.lost} unfinished" if row.lost else ""),
        ),
        *(_measure_cell(row.profile.last(name)) for name in names),
        Cell(seconds(row.seconds)),
    ]


def _measure_cell(value: Value) -> Cell:
    share, scale = _null_share(value), scale_of(value.measure)
    ends = interval(value.low, value.high, scale)
    return Cell(number(value.value, scale), _lines(ends, share and f"{share} of null"))


def _null_share(value: Value) -> str:
    return f"{100 * value.value / value.null:.0f} %" if value.null > 0 and known(value.value) else ""


def _with_share(value: Value) -> str:
    share = _null_share(value)
    written = number(value.value, scale_of(value.measure))
    return f"{written} ({share})" if share else written


def difference_lines(rows: Sequence[Row]) -> tuple[list[str], list[tuple[Row, list[Cell]]]]:
    """Lay out the differences from the baseline: column headings, and a line of cells per recipe."""
    names = pairwise(rows)
    headings = ["Mean score", "Score SD", "Failed runs", *(MEASURES[name].title for name in names)]
    keys = ("mean", "sd_ratio", "failed", *names)
    lines = [
        (row, [_difference_cell(row.differences.get(key), row.scale) for key in keys])
        for row in rows
        if not row.is_baseline
    ]
    if any(row.same_seed for row, _ in lines):
        headings.append("Changed at the same seed")
        lines = [(row, [*cells, _same_seed_cell(row.same_seed)]) for row, cells in lines]
    return headings, lines


def _same_seed_cell(found: SameSeed | None) -> Cell:
    if found is None:
        return Cell(MISSING)
    value, beside = changed_at_same_seed(found)
    return Cell(value, (beside, *(("almost nothing",) if found.next_to_nothing else ())))


def _difference_cell(found: Difference | None, scale: Scale) -> Cell:
    if found is None or not known(found.interval.value):
        return Cell(MISSING)
    value, low, high = found.interval.value, found.adjusted.low, found.adjusted.high
    if found.measure == "sd_ratio":
        written, ends = f"{value:.2f}×", f"[{times(low)}, {times(high)}]" if known(low) else ""
    elif found.measure in ("mean", "failed"):
        unit = scale if found.measure == "mean" else Scale("failed", "points")
        written, ends = _signed(value, unit), interval(low, high, unit)
    else:
        own = scale_of(found.measure)
        written, ends = _signed(value, own), interval(low, high, own)
    p = f"p = {found.p_adjusted:.2g}" if known(found.p_adjusted) else ""
    return Cell(written, _lines(ends, p), marked=found.p_adjusted < SIGNIFICANT)


def _signed(value: float, scale: Scale | None = None) -> str:
    written = number(abs(value), scale)
    # A value that rounds to zero gets no sign.
    if written.startswith("<") or not float(written):
        return written
    return f"{'−' if value < 0 else '+'}{written}"


def _lines(*lines: str) -> tuple[str, ...]:
    return tuple(filter(None, lines))


def comparison_table(comparison: Comparison) -> Table:
    """Lay out the comparison for 80 columns: per model and task the scores, and below them the measures."""
    layout = Table.grid()
    for (model, task), rows in comparison.groups().items():
        name = " on ".join(filter(None, (model, task)))
        score = f"{scored_row(rows).metric}{_unit(scored_row(rows).scale)} [95 % interval]"
        tables = [(f"{f'{name}: ' if name else ''}{score}", _scores(rows)), *_measures(rows)]
        # Separate lines: a table's title would be wrapped to its width.
        for title, table in tables:
            for line in (Text(title, style="bold"), table, ""):
                layout.add_row(line)
        for line in limits(rows):
            layout.add_row(Text(line))
    return layout


def scored_row(rows: Sequence[Row]) -> Row:
    """Return the first row with finished runs, which know their metric; the first of all if no run finished."""
    return next((row for row in rows if row.runs), rows[0])


def limits(rows: Sequence[Row]) -> list[str]:
    """Report what the intervals do not account for: how many runs may fail, and grouped examples."""
    named = [(called(row.recipe), failure_words(row.profile.cohort)) for row in rows]
    by_words: dict[str, list[str]] = {}
    for recipe, words in named:
        if words:
            by_words.setdefault(words, []).append(recipe)
    lines = [words if len(by_words) == 1 else f"{', '.join(recipes)}: {words}" for words, recipes in by_words.items()]
    grouped_examples = dict.fromkeys(
        size_words(row.profile.cohort) for row in rows if row.profile.cohort.groups is not None and row.runs
    )
    return lines + [f"{words}, which intervals resample as whole groups" for words in grouped_examples]


def _unit(scale: Scale) -> str:
    """Describe the unit of scores, and which direction is better unless it is obvious."""
    direction = {True: "", False: ", lower is better", None: ", better direction unknown"}[scale.higher_is_better]
    return f"{' in points' if scale.unit else ''}{direction}"


def _of_states(rows: Sequence[Row]) -> str:
    """Describe the columns of the representation measures."""
    if all(row.profile.cohort.frozen_encoder for row in rows):
        return "none: the encoder is frozen"
    return "last layer, share of null"


def _scores(rows: Sequence[Row]) -> Table:
    table = _table()
    for heading in ("mean", "SD", "failed", "time/run"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        failed = (MISSING if row.failed is None else f"{row.failed}/{row.runs}") + (
            f" +{row.lost} unfinished" if row.lost else ""
        )
        table.add_row(
            escape(called(row.recipe)),
            f"{number(row.mean.value, row.scale)} {interval(row.mean.low, row.mean.high, row.scale)}".strip(),
            f"{number(row.sd.value, row.scale)} {interval(row.sd.low, row.sd.high, row.scale)}".strip(),
            f"[bold red]{failed}[/]" if row.failed or row.lost else failed,
            seconds(row.seconds),
        )
    return table


# So many columns of measures fit into 80 characters.
_COLUMNS = 6


def _measures(rows: Sequence[Row]) -> list[tuple[str, Table]]:
    """Return tables of the measures with their titles: one, or where they are many one for each level."""
    names = pairwise(rows)
    states = f"representations: {_of_states(rows)}"
    if len(names) <= _COLUMNS:
        return [(f"instability, 0 is stable ({states})", _measured(rows, names))]
    parts = grouped(names, lambda name: MEASURES[name].level)
    titles = {"prediction": "instability of predictions, 0 is stable", "representation": f"instability of {states}"}
    return [(titles[level], _measured(rows, part)) for level, part in parts.items()]


def _measured(rows: Sequence[Row], names: Sequence[str]) -> Table:
    table = _table()
    for name in names:
        table.add_column(MEASURES[name].short, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(escape(called(row.recipe)), *(_with_share(row.profile.last(name)) for name in names))
    return table


def _table() -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    # Folded, not cut: two recipes may differ only in their last letters.
    table.add_column("recipe", overflow="fold", max_width=_TERMINAL_NAME)
    return table
