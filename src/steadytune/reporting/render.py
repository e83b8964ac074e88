"""Render a page as one self-contained HTML file: text, figures, their data and the script that draws them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from steadytune.files import write_text
from steadytune.reporting.blocks import Distances, Flipping, Page
from steadytune.reporting.drawing import plain_data
from steadytune.reporting.frames import frame_csv

_SPOKEN = 6
"""With more sentences than this, the verdict would crowd out everything else."""


def write_page(page: Page, folder: Path, name: str) -> Path:
    """Write a page and its tables into a folder.

    Returns:
        The path of the page.

    Raises:
        OSError: The folder is not writable.
    """
    for table, frame in page.tables.items():
        write_text(folder / table, frame_csv(frame))
    write_text(folder / name, render(page))
    return folder / name


def render(page: Page) -> str:
    """Return a page as one self-contained HTML document."""
    data = {
        "figures": {f"{part.key}-{panel.key}": panel.figure for part in page.parts for panel in part.panels},
        "distances": {part.key: found for part in page.parts if (found := part.on_demand(Distances)) is not None},
        "flips": {part.key: found for part in page.parts if (found := part.on_demand(Flipping)) is not None},
    }
    text: str = _template("page.html.j2").render(
        page=page,
        spoken=_SPOKEN,
        breakable=_breakable,
        style=Markup(_part("style.css")),
        script=Markup(_part("script.js")),
        # As a file: whoever only reads the script does not wait for the library to be imported.
        plotly=Markup(files("plotly").joinpath("package_data", "plotly.min.js").read_text(encoding="utf-8")),
        data=Markup(_json(data)),
    )
    return text


def _json(data: Mapping[str, Any]) -> str:
    """Return data as JSON in which no text of an example can end the script element."""
    text = json.dumps(plain_data(data), separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("/", "\\u002f")


def _breakable(name: str) -> Markup:
    """Allow a line break after each plus in the name of a sum of stabilizers."""
    return Markup("+<wbr>").join(map(escape, name.split("+")))


@cache
def _part(name: str) -> str:
    return files("steadytune.reporting").joinpath("page", name).read_text(encoding="utf-8")


@cache
def _template(name: str) -> Any:
    loader = PackageLoader("steadytune.reporting", "page")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(name)
