"""One HTML file that holds everything: text, figures, their data and the script that draws them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from steadytune.analysis.comparison.compare import Comparison, Row
from steadytune.analysis.comparison.verdict import first_notes
from steadytune.analysis.grouping import size_words
from steadytune.analysis.validity.validate import Validation
from steadytune.kinds import KINDS
from steadytune.report import explore
from steadytune.report.facts import Facts
from steadytune.report.figures import Figure, Look, layer_figures, looks
from steadytune.report.naming import MEASURES, called, count
from steadytune.report.scores import scores_figure
from steadytune.report.sources import best_figure, evaluation_sentence, source_sentences, sources, sources_figure
from steadytune.report.tables import Cell, comparison_lines, difference_lines, grouped, limits
from steadytune.report.validity import convergent_remark, overall_remark, ranking_remark, validity_figures
from steadytune.report.validity_table import number_tables

_SPOKEN = 6
"""More sentences than this, and the verdict would hide everything else."""

Verdict = Mapping[tuple[str, str], Sequence[str]]


@dataclass(frozen=True)
class Section:
    """What the page says about one model on one task.

    Attributes:
        key: Names its parts in the page.
        name: Model and task.
        verdict: Recipe (or "") and what is said of it; the baseline comes first.
        size: Runs and examples, in words.
        limits: What the intervals cannot know, see `tables.limits`.
        rows: The comparison, an entry per recipe.
        compared: Column headings of the comparison table, and a line of cells per recipe.
        differences: Column headings of the table of differences from the baseline, and recipes with their cells.
        styles: How each recipe is drawn.
        scores: Figure of every run's score, if any finished.
        evaluation: Recipe and what the evaluation set adds to its luck.
        best: Figure of what the best of n runs is worth.
        sources: Recipe and where its luck comes from, where its seeds form a grid.
        shares: Figure of the same.
        layers: Measure -> figure over the blocks.
        distances: Data of the run-by-run distances, a recipe each.
        flips: The flipping examples, a recipe each.
        drawn_flips: Data of the same.
        validation: What is known about the measures, or None.
        validity: Figures of the same, by name.
    """

    key: str
    name: str
    verdict: Sequence[tuple[str, str]]
    size: str
    limits: list[str]
    rows: Sequence[Row]
    compared: tuple[list[str], list[list[Cell]]]
    differences: tuple[list[str], list[tuple[Row, list[Cell]]]]
    styles: Mapping[str, Look]
    scores: Figure | None
    evaluation: Sequence[tuple[str, str]]
    best: Figure | None
    sources: Sequence[tuple[str, str]]
    shares: Figure | None
    layers: dict[str, Figure]
    distances: list[explore.Data]
    flips: list[explore.Flips]
    drawn_flips: list[explore.Data]
    validation: Validation | None
    validity: dict[str, Figure]

    @property
    def metric(self) -> str:
        """What the scores mean."""
        return self.rows[0].metric

    @property
    def unit(self) -> str:
        """What follows "mean score": that it is in points, or nothing where it is shown as it is."""
        return " in points" if self.rows[0].scale.unit else ""

    @property
    def better(self) -> str:
        """Which way is better, where that is not a matter of course."""
        direction = self.rows[0].scale.higher_is_better
        return "" if direction else ", lower is better" if direction is False else ", better direction unknown"

    @property
    def bands(self) -> bool:
        """Whether the figures over the blocks show intervals; those of many recipes would cover one another."""
        return any(trace.get("fill") for figure in self.layers.values() for trace in figure["data"])

    @property
    def lost(self) -> list[tuple[str, Any]]:
        """Recipe and lost run, for each run that did not finish."""
        return [(row.recipe, run) for row in self.rows for run in row.profile.cohort.lost]

    @property
    def read(self) -> Mapping[str, str]:
        """What was read of files, where the runs were trained elsewhere."""
        return self.rows[0].profile.cohort.read

    @property
    def regression(self) -> bool:
        """Whether numbers are predicted, so that there are no answers to share."""
        return any(KINDS[row.profile.cohort.kind].has_numbers for row in self.rows)

    @property
    def first_notes(self) -> list[str]:
        """What must be known before any number: how files were read, copies, classes in another order."""
        return first_notes(self.rows)

    @property
    def notes(self) -> dict[str, list[str]]:
        """Note -> the recipes that it holds for."""
        notes: dict[str, list[str]] = {}
        for row in self.rows:
            for note in row.profile.notes:
                notes.setdefault(note, []).append(row.recipe)
        return notes

    @property
    def figures(self) -> dict[str, Figure]:
        """Every figure with a fixed content, by the id of its place."""
        single = {"scores": self.scores, "best": self.best, "shares": self.shares}
        named = {name: figure for name, figure in single.items() if figure} | self.layers | self.validity
        return {f"{self.key}-{name}": figure for name, figure in named.items()}


def render(
    comparison: Comparison,
    verdict: Verdict,
    facts: Facts | None = None,
    texts: explore.Texts | None = None,
    tables: Sequence[str] = (),
    validations: Mapping[tuple[str, str], Validation] | None = None,
) -> str:
    """Return the report as one HTML document that needs nothing else.

    Args:
        comparison: Profiles of all cohorts.
        verdict: (model, task) -> sentences.
        facts: What was run; None for runs that were trained elsewhere.
        texts: A cohort's `examples` name -> its texts and label names, where they are known.
        tables: Names of the CSV files that are written beside it.
        validations: (model, task) -> what is known about the measures.
    """
    sections = _sections(comparison, verdict, texts or {}, validations or {})
    data = {
        "figures": {place: figure for section in sections for place, figure in section.figures.items()},
        "distances": {section.key: section.distances for section in sections},
        "flips": {section.key: section.drawn_flips for section in sections},
    }
    return document(
        "page.html.j2",
        data,
        title=_title(sections),
        facts=facts,
        sections=sections,
        measures=MEASURES,
        number_tables=number_tables,
        remarks={"convergent": convergent_remark, "ranking": ranking_remark, "overall": overall_remark},
        tables=tables,
        spoken=_SPOKEN,
        limit=explore.DRAWN_EXAMPLES,
        count=count,
        called=called,
        breakable=lambda name: Markup("+<wbr>").join(name.split("+")),
    )


def document(template: str, data: Mapping[str, Any], **values: Any) -> str:
    """Fill a template of the page with the style, the script that draws figures, and plotly.

    Args:
        template: Its name.
        data: What the script draws: "figures", "distances" and "flips".
        **values: What else the template shows.
    """
    from plotly.io.json import to_json_plotly
    from plotly.offline import get_plotlyjs

    page: str = _template(template).render(
        **values,
        style=Markup(_part("style.css")),
        script=Markup(_part("script.js")),
        plotly=Markup(get_plotlyjs()),
        # It escapes <, > and /, so that no text of an example can end the script element.
        data=Markup(to_json_plotly(data)),
    )
    return page


def _sections(
    comparison: Comparison,
    verdict: Verdict,
    texts: explore.Texts,
    validations: Mapping[tuple[str, str], Validation],
) -> list[Section]:
    # One look per recipe in the whole page, so that a reader need not learn it anew in each section.
    styles = looks(list(dict.fromkeys(row.recipe for row in comparison.rows())))
    return [
        _section(f"s{place}", rows, verdict.get(group, ()), styles, texts, validations.get(group))
        for place, (group, rows) in enumerate(grouped(comparison).items(), start=1)
    ]


def _section(
    key: str,
    rows: Sequence[Row],
    verdict: Sequence[str],
    styles: dict[str, Look],
    texts: explore.Texts,
    validation: Validation | None,
) -> Section:
    profiles = [row.profile for row in rows]
    grid = sources(profiles)
    said = [
        (called(profile.cohort.recipe), evaluation_sentence(profile.evaluation, profile.cohort.scale))
        for profile in profiles
    ]
    flips = [found for profile in profiles if (found := explore.flips(profile, texts))]
    return Section(
        key=key,
        name=" on ".join(filter(None, (rows[0].model, rows[0].task))) or "these runs",
        verdict=[_spoken(sentence, [called(row.recipe) for row in rows]) for sentence in verdict],
        size=_size(rows),
        limits=limits(rows),
        rows=rows,
        compared=comparison_lines(rows),
        differences=difference_lines(rows),
        styles={row.recipe: styles[row.recipe] for row in rows},
        scores=scores_figure(profiles, styles),
        evaluation=[(recipe, words) for recipe, words in said if words],
        best=best_figure(profiles, styles),
        sources=source_sentences(grid),
        shares=sources_figure(grid),
        layers=layer_figures(profiles, styles),
        distances=explore.distance_data(profiles),
        flips=flips,
        drawn_flips=explore.flip_data(flips),
        validation=validation,
        validity=validity_figures(validation, styles) if validation else {},
    )


def _spoken(sentence: str, recipes: Sequence[str]) -> tuple[str, str]:
    """Split a sentence that begins with the name of a recipe, so that the page can set the name off."""
    for recipe in recipes:
        if sentence.startswith(f"{recipe}: "):
            return recipe, sentence.removeprefix(f"{recipe}: ")
    return "", sentence


def _size(rows: Sequence[Row]) -> str:
    runs = count(sum(row.runs + row.lost for row in rows), "run")
    cohorts = [row.profile.cohort for row in rows]
    sizes = dict.fromkeys(size_words(one) for one in cohorts if one.labels is not None or one.groups is not None)
    measured = f", each measured on {' or '.join(sizes)}" if sizes else ""
    return f"{count(len(rows), 'recipe')}, {runs}{measured}"


def _title(sections: Sequence[Section]) -> str:
    if len(sections) == 1:
        return f"Stability of {sections[0].name}"
    models = sorted({section.rows[0].model for section in sections})
    tasks = sorted({section.rows[0].task for section in sections})
    who = models[0] if len(models) == 1 else count(len(models), "model")
    return f"Stability of {who} on {tasks[0] if len(tasks) == 1 else count(len(tasks), 'task')}"


@cache
def _part(name: str) -> str:
    return files("steadytune.report").joinpath("page", name).read_text(encoding="utf-8")


@cache
def _template(name: str) -> Any:
    loader = PackageLoader("steadytune.report", "page")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(name)
