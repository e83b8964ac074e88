"""Data sets, each under every setting, as one table; and several hundred generated ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import product
from typing import TYPE_CHECKING, Any

from steadytune.theory.studies.dataset import DataSet
from steadytune.theory.studies.processes import Progress, do_all
from steadytune.theory.studies.synthetic import SyntheticSpec, generate
from steadytune.theory.studies.varied import Grid, Row, studied

if TYPE_CHECKING:
    import pandas as pd

GENERATED = "generated"
DESIGN = ("task", "n", "d", "classes", "shift", "anisotropy", "label_noise", "minimal_margin", "data_seed")
"""The columns that say where a data set comes from. What generated data alone have is NaN for a real task."""
SETTINGS = ("steps", "rate", "learning_rate", "init_scale", "init_sd", "kind", "heads", "alpha", "left_out")
VALUES = (
    "loo_instability",
    "seed_instability",
    "descent_loo_bound",
    "max_margin_loo",
    "loo_bound",
    "sharp_loo_bound",
    "margin",
    "norm",
    "norm_over_margin",
    "centre_distance",
    "direction_error",
    "cosine_to_max_margin",
    "cosine_between_heads",
)

_KINDS: tuple[dict[str, Any], ...] = ({}, {"margin": 0.5}, {"label_noise": 0.1}, {"classes": 3})


def default_specs(
    sizes: Sequence[int] = (20, 40, 80, 160),
    widths: Sequence[int] = (10, 40),
    shifts: Sequence[float] = (1.0, 3.0),
    anisotropies: Sequence[float] = (0.0, 1.0),
    seeds: int = 2,
) -> list[SyntheticSpec]:
    """Return the data sets of the study: every combination of size, width, class shift and anisotropy, of four kinds.

    The kinds are two classes as drawn, with a minimal margin of 0.5, and with a tenth of the labels wrong, and three
    classes. Wide data are separable and narrow data often are not.

    Args:
        sizes: n.
        widths: d.
        shifts: Distances of the class centres.
        anisotropies: Exponents of the variances.
        seeds: Draws of each.
    """
    grid = product(sizes, widths, shifts, anisotropies, _KINDS, range(seeds))
    return [
        SyntheticSpec(n=n, d=d, shift=shift, anisotropy=anisotropy, seed=seed, **kind)
        for n, d, shift, anisotropy, kind, seed in grid
    ]


def synthetic_study(
    specs: Sequence[SyntheticSpec] | None = None,
    grid: Grid | None = None,
    *,
    workers: int = 1,
    progress: Callable[[float], None] = lambda share: None,
) -> pd.DataFrame:
    """Study every data set under every setting.

    Args:
        specs: The data sets; those of `default_specs` unless given.
        grid: How heads are trained; `Grid()` unless given.
        workers: Processes with a thread each, as `do_all` has it. The numbers do not depend on it.
        progress: Called with the share that is done, 0 to 1.

    Returns:
        A row per data set and setting: "dataset", `DESIGN`, "separable", "part", and the `SETTINGS` and `VALUES` of
        that part, which `varied` explains. What a row does not speak of is NaN.
    """
    specs = default_specs() if specs is None else specs
    names = {"seed": "data_seed", "margin": "minimal_margin"}
    data = []
    for spec in specs:
        design = {names.get(name, name): value for name, value in asdict(spec).items()}
        data.append(({"task": GENERATED, **design}, DataSet(*generate(spec), spec.seed)))
    return study_table(data, grid or Grid(), workers=workers, progress=progress)


def study_table(
    data: Sequence[tuple[Row, DataSet]],
    grid: Grid,
    *,
    workers: int = 1,
    progress: Callable[[float], None] = lambda share: None,
) -> pd.DataFrame:
    """Study every data set under every setting; see `synthetic_study`.

    Args:
        data: The `DESIGN` of each, and the data set.
        grid: How heads are trained.
        workers: Processes with a thread each, as `do_all` has it.
        progress: Called with the share that is done, 0 to 1.
    """
    import pandas as pd

    jobs = [(design, one, grid) for design, one in data]
    efforts = [(len(one.labels) + one.features.shape[1]) * one.outputs for _, one in data]
    found = do_all(_one, jobs, efforts, workers=workers, progress=progress)
    rows = [{"dataset": place, **row} for place, of_data_set in enumerate(found) for row in of_data_set]
    return pd.DataFrame(rows, columns=["dataset", *DESIGN, "separable", "part", *SETTINGS, *VALUES])


def _one(job: tuple[Row, DataSet, Grid], _: Progress) -> list[Row]:
    """Study one data set."""
    design, data, grid = job
    return [{**design, **row, "separable": data.separable} for row in studied(data, grid)]
