"""The theory on generated data: several hundred data sets, each under every setting, as one table."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from itertools import product
from typing import TYPE_CHECKING, Any

import torch
from threadpoolctl import threadpool_limits

from steadytune.theory.studies.dataset import DataSet
from steadytune.theory.studies.synthetic import SyntheticSpec, generate
from steadytune.theory.studies.varied import Row, Settings, studied

if TYPE_CHECKING:
    import pandas as pd

DESIGN = ("n", "d", "classes", "shift", "anisotropy", "label_noise", "minimal_margin", "data_seed")
"""The columns that say how a data set was generated."""
SETTINGS = ("steps", "rate", "learning_rate", "init_scale", "kind", "heads", "alpha")
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
    settings: Settings | None = None,
    *,
    workers: int = 1,
    progress: Callable[[float], None] = lambda share: None,
) -> pd.DataFrame:
    """Study every data set under every setting.

    Args:
        specs: The data sets; those of `default_specs` unless given.
        settings: How heads are trained; `Settings()` unless given.
        workers: Processes with a thread each. The numbers do not depend on it. More than 1 needs a script that can be
            imported, with its work under `if __name__ == "__main__"`.
        progress: Called with the share that is done, 0 to 1.

    Returns:
        A row per data set and setting: "dataset", `DESIGN`, "separable", "part", and the `SETTINGS` and `VALUES` of
        that part, which `varied` explains. What a row does not speak of is NaN.
    """
    import pandas as pd

    specs = default_specs() if specs is None else specs
    jobs = [(spec, settings or Settings()) for spec in specs]
    efforts = [spec.n * (1 if spec.classes == 2 else spec.classes) for spec in specs]
    # The largest first, so that no process is left alone with one of them at the end.
    order = sorted(range(len(specs)), key=lambda place: -efforts[place])
    rows: dict[int, list[Row]] = {}

    def keep(results: Iterable[list[Row]]) -> None:
        for place, found in zip(order, results, strict=True):
            rows[place] = [{"dataset": place, **row} for row in found]
            progress(sum(efforts[done] for done in rows) / sum(efforts))

    if workers == 1:
        keep(_one(*jobs[place]) for place in order)
    else:
        # Ctrl-C reaches every process of a terminal: let this one stop the others.
        spawned, ignored = multiprocessing.get_context("spawn"), (signal.SIGINT, signal.SIG_IGN)
        with ProcessPoolExecutor(workers, spawned, initializer=signal.signal, initargs=ignored) as pool:
            keep(pool.map(_one, *zip(*(jobs[place] for place in order), strict=True)))
    columns = ["dataset", *DESIGN, "separable", "part", *SETTINGS, *VALUES]
    return pd.DataFrame([row for place in range(len(specs)) for row in rows[place]], columns=columns)


def _one(spec: SyntheticSpec, settings: Settings) -> list[Row]:
    """Study one data set, with one thread: more make the many small products no faster."""
    names = {"seed": "data_seed", "margin": "minimal_margin"}
    design = {names.get(name, name): value for name, value in asdict(spec).items()}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1, user_api="blas"):
            data = DataSet(*generate(spec), spec.seed)
            return [{**design, **row, "separable": data.separable} for row in studied(data, settings)]
    finally:
        torch.set_num_threads(threads)
