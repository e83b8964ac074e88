"""The page on compared runs, from a study or trained elsewhere: a section per model and task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from steadytune.analysis.comparison.compare import Comparison, Row
from steadytune.analysis.comparison.verdict import Statement, first_notes
from steadytune.analysis.grouping import size_words
from steadytune.analysis.sentences import capital, listed
from steadytune.analysis.validity.validate import Validation
from steadytune.kinds import KINDS
from steadytune.measures import MEASURES
from steadytune.reporting import explore
from steadytune.reporting.blocks import (
    Block,
    Cell,
    Definitions,
    Distances,
    Entries,
    Facts,
    Figures,
    Flipping,
    Page,
    Panel,
    Point,
    Points,
    Section,
    Statements,
    Table,
    Text,
)
from steadytune.reporting.figures import Look, layer_figures, looks
from steadytune.reporting.naming import called, count
from steadytune.reporting.scores import scores_figure
from steadytune.reporting.sources import best_figure, evaluation_sentence, source_sentences, sources, sources_figure
from steadytune.reporting.tables import comparison_lines, difference_lines, limits, scored_row
from steadytune.reporting.validity_section import validity_blocks

if TYPE_CHECKING:
    import pandas as pd

    from steadytune.reporting.frames import Rows

Group = tuple[str, str]

_INTRODUCTION = (
    "Runs of one recipe differ only in their seeds: the weights of new layers, the order of the examples, the dropout "
    "masks. Any difference between them is luck. Scores that are fractions are shown in points (hundredths), "
    "others in their own unit. For every measure, higher is less stable. Brackets are 95\u00a0% intervals: "
    "they cover other seeds and other examples of the same kind."
)
_TERMS = (
    (
        "Permutation null",
        "representation",
        "The value of a representation measure when the examples of each run are shuffled separately, so that nothing "
        "but chance relates two runs. A distance close to it does not distinguish these runs from unrelated ones.",
    ),
    (
        "Failed run",
        "",
        "A run that scores no better than always answering the most frequent label. An unfinished run diverged or "
        "crashed; it has no score and is not measured.",
    ),
)
_REMARK = "There, scores are not in points but as stored: fractions, or the metric’s own unit."


def study_page(
    comparison: Comparison,
    statements: Mapping[Group, Sequence[Statement]],
    run: Sequence[Block] | None = None,
    texts: explore.Texts | None = None,
    tables: Mapping[str, pd.DataFrame | Rows] | None = None,
    validations: Mapping[Group, Validation] | None = None,
) -> Page:
    """Lay out a comparison as a page.

    Args:
        comparison: Profiles of all cohorts.
        statements: (model, task) -> the verdict.
        run: What was run; None for runs trained elsewhere.
        texts: A cohort's `examples` name -> its texts and label names, if known.
        tables: Names and contents of the CSV files written next to the page.
        validations: (model, task) -> the validation of the measures.
    """
    # Each recipe looks the same throughout the page.
    styles = looks(list(dict.fromkeys(row.recipe for row in comparison.rows())))
    groups = comparison.groups()
    sections = [
        _section(f"s{place}", rows, styles, texts or {}, (validations or {}).get(group))
        for place, (group, rows) in enumerate(groups.items(), start=1)
    ]
    several = len(sections) > 1
    verdict = [
        Statements(
            [(said.about and called(said.about), said.words) for said in statements.get(group, ())],
            anchor=section.key if several else "",
            name=section.title,
        )
        for section, group in zip(sections, groups, strict=True)
    ]
    kinds = {row.profile.cohort.kind for row in comparison.rows()}
    measures = [(one.title, one.level, one.meaning) for one in MEASURES.values() if any(map(one.applies_to, kinds))]
    return Page(
        _title(groups, sections),
        Section("run", "What was run", _elsewhere([*groups.values()]) if run is None else run, look=""),
        Section("verdict", "Verdict", verdict, look="verdict"),
        sections,
        Section("read", "How to read this", [Text(_INTRODUCTION), Definitions([*measures, *_TERMS])], look=""),
        tables or {},
        _REMARK,
    )


def _title(groups: Mapping[Group, Sequence[Row]], sections: Sequence[Section]) -> str:
    if len(sections) == 1:
        return f"Stability of {sections[0].title}"
    models, tasks = (sorted({group[place] for group in groups}) for place in (0, 1))
    who = models[0] if len(models) == 1 else count(len(models), "model")
    return f"Stability of {who} on {tasks[0] if len(tasks) == 1 else count(len(tasks), 'task')}"


def _name(rows: Sequence[Row]) -> str:
    return " on ".join(filter(None, (rows[0].model, rows[0].task))) or "these runs"


def _elsewhere(groups: Sequence[Sequence[Row]]) -> list[Block]:
    """Describe what was read from runs trained elsewhere."""
    blocks: list[Block] = [Entries({_name(rows): f"{_size(rows)}, trained elsewhere" for rows in groups})]
    for rows in groups:
        if read := rows[0].profile.cohort.read:
            blocks.append(Facts(read, small=True))
        blocks += [Text(note, "note") for note in first_notes(rows)]
    return blocks


def _section(
    key: str, rows: Sequence[Row], styles: dict[str, Look], texts: explore.Texts, validation: Validation | None
) -> Section:
    profiles = [row.profile for row in rows]
    name = _name(rows)
    flips = [found for profile in profiles if (found := explore.flips(profile, texts))]
    blocks = [
        Text(f"{_size(rows)}.", "lead"),
        *_compared(rows, name),
        _scores(rows, styles),
        *_evaluation(rows, styles),
        *_sources(rows),
        _layers(rows, styles),
        Distances(explore.distance_data(profiles), title="Run by run"),
        Flipping(flips, explore.flip_data(flips), title="Examples that flip"),
        *(validity_blocks(validation, name, styles) if validation else ()),
        *_lost(rows, name),
        *_notes(rows),
    ]
    return Section(key, name, blocks)


def _size(rows: Sequence[Row]) -> str:
    runs = count(sum(row.runs + row.lost for row in rows), "run")
    cohorts = [row.profile.cohort for row in rows]
    sizes = dict.fromkeys(size_words(one) for one in cohorts if one.labels is not None or one.groups is not None)
    measured = f", each measured on {' or '.join(sizes)}" if sizes else ""
    return f"{count(len(rows), 'recipe')}, {runs}{measured}"


def _compared(rows: Sequence[Row], name: str) -> list[Block]:
    """Lay out the score and instability of each recipe, and its differences from the baseline."""
    scored = scored_row(rows)
    scale = scored.scale
    unit = " in points" if scale.unit else ""
    better = {True: "", False: ", lower is better", None: ", better direction unknown"}[scale.higher_is_better]
    headings, lines = comparison_lines(rows)
    caption = (
        f"Mean score ({scored.metric}{better}) and score SD{unit}, with 95\u00a0% intervals in brackets. For the "
        "other measures 0 is perfectly stable; representation measures are taken at the last layer, with their "
        "share of the permutation null. Failed runs score no better than a constant answer."
    )
    caption += "".join(f" {capital(words)}." for words in limits(rows))
    baseline = ("baseline",) if len(rows) > 1 else ()
    named = [Cell(called(row.recipe), baseline if row.is_baseline else ()) for row in rows]
    blocks: list[Block] = [
        Table(
            f"Recipes compared: {name}",
            ["Recipe", *headings],
            [[first, *cells] for first, cells in zip(named, lines, strict=True)],
            caption=caption,
            title="Recipes compared",
        )
    ]
    headings, differences = difference_lines(rows)
    if differences:
        blocks.append(
            Table(
                f"Differences from the baseline: {name}",
                ["Recipe", *headings],
                [[Cell(called(row.recipe)), *cells] for row, cells in differences],
                caption=_difference_caption(rows, unit, same_seed="Changed at the same seed" in headings),
                title="Against the baseline",
            )
        )
    return blocks


def _difference_caption(rows: Sequence[Row], unit: str, *, same_seed: bool) -> str:
    numbers = any(KINDS[row.profile.cohort.kind].has_numbers for row in rows)
    there = {value.measure: MEASURES[value.measure] for row in rows for value in row.profile.values}
    claimed = ["mean score", "SD", "failed runs", *(one.called for one in there.values() if one.claimed)]
    words = (
        f"Recipe minus {rows[0].baseline}: mean score{unit}, failed runs in per cent, score SD as a ratio, with "
        f"95\u00a0% intervals. Intervals and p-values of {listed(claimed)} are adjusted for all of these tests "
        "(Holm), the others for the number of recipes; p-values below .05 are bold. A value that is not bold is "
        "inconclusive, not “no difference”."
    )
    if same_seed and numbers:
        words += (
            " Changed at the same seed: root mean square difference between the outputs of the recipe’s run and the "
            "baseline’s run with the same seed, and that between two seeds of one recipe."
        )
    elif same_seed:
        words += (
            " Changed at the same seed: share of the answers that differ between the recipe’s run and the baseline’s "
            "run with the same seed, and the share that differs between two seeds of one recipe."
        )
    return words


def _scores(rows: Sequence[Row], styles: dict[str, Look]) -> Block:
    title = "Every run’s score"
    figure = scores_figure([row.profile for row in rows], styles)
    if figure is None:
        return Text(
            "No run has a score." if any(row.runs for row in rows) else "No run finished.", "absent", title=title
        )
    return Figures(
        [Panel("scores", "", figure, "Score of every run by recipe")],
        "One point per run, a cross for a failed run. The bar below the points shows the mean plus and minus one SD.",
        legend={row.recipe: styles[row.recipe] for row in rows},
        title=title,
    )


def _evaluation(rows: Sequence[Row], styles: dict[str, Look]) -> list[Block]:
    """Describe the luck due to the evaluation set, and what the best of n runs is worth."""
    profiles = [row.profile for row in rows]
    title = "What the evaluation set adds"
    said = {called(one.cohort.recipe): evaluation_sentence(one.evaluation, one.cohort.scale) for one in profiles}
    points = _points([(recipe, words) for recipe, words in said.items() if words])
    figure = best_figure(profiles, styles)
    if not points and figure is None:
        return []
    blocks: list[Block] = [
        Points(points, title=title)
        if points
        else Text(
            "These scores cannot be computed from the stored predictions, so the evaluation set’s error is unknown.",
            "absent",
            title=title,
        )
    ]
    if figure is not None:
        caption = (
            "Solid: the reported score of the best of n runs, selected and scored on the same examples. Dashed: "
            "what it is worth, selected on one half of the examples and scored on the other."
        )
        blocks.append(Figures([Panel("best", "", figure, "Score of the best of n runs")], caption))
    return blocks


def _sources(rows: Sequence[Row]) -> list[Block]:
    """Describe where the luck comes from, if seeds form a grid."""
    grid = sources([row.profile for row in rows])
    said = source_sentences(grid)
    if not said:
        return []
    blocks: list[Block] = [Points(_points(said, len(rows) > 1), title="Where the luck comes from")]
    if figure := sources_figure(grid):
        caption = (
            "Share of each source in the variance of the score, and in the disagreement of predictions, with 95\u00a0% "
            "intervals."
        )
        blocks.append(Figures([Panel("shares", "", figure, "Shares of the sources of luck")], caption))
    return blocks


def _points(said: Sequence[tuple[str, str]], named: bool | None = None) -> list[Point]:
    """Turn recipes and sentences into points; a single recipe needs no name."""
    return [Point(words, recipe if (len(said) > 1 if named is None else named) else "") for recipe, words in said]


def _layers(rows: Sequence[Row], styles: dict[str, Look]) -> Block:
    title = "Instability by layer"
    figures = layer_figures([row.profile for row in rows], styles)
    if not figures:
        frozen = any(row.profile.cohort.frozen_encoder for row in rows)
        why = ": all runs share one frozen encoder" if frozen else ""
        return Text(f"There are no hidden states to compare{why}.", "absent", title=title)
    # Intervals of many recipes would overlap and are not drawn.
    bands = any(trace.get("fill") for figure in figures.values() for trace in figure["data"])
    shade = ", with its 95\u00a0% interval shaded" if bands else ""
    return Figures(
        [
            Panel(measure, MEASURES[measure].title, figure, f"{MEASURES[measure].title} by block, a line per recipe")
            for measure, figure in figures.items()
        ],
        f"Solid: distance between two runs’ hidden states after each block, averaged over pairs{shade}. Dashed: the "
        "same when the examples of each run are shuffled separately. A value near its dashed line says only "
        "“unrelated”.",
        beside=True,
        title=title,
    )


def _lost(rows: Sequence[Row], name: str) -> list[Block]:
    cells = [
        [Cell(row.recipe), Cell(run.seed), Cell(run.status), Cell(run.reason or "not recorded")]
        for row in rows
        for run in row.profile.cohort.lost
    ]
    columns = ("Recipe", "Seed", "Status", "Reason")
    return [Table(f"Unfinished runs: {name}", columns, cells, look="", title="Unfinished runs")] if cells else []


def _notes(rows: Sequence[Row]) -> list[Block]:
    holds: dict[str, list[str]] = {}
    for row in rows:
        for note in row.profile.notes:
            holds.setdefault(note, []).append(row.recipe)
    points = [
        Point(note, recipes="" if len(rows) == 1 else "all recipes" if len(of) == len(rows) else ", ".join(of))
        for note, of in holds.items()
    ]
    return [Points(points, title="Before you trust a number")] if points else []
