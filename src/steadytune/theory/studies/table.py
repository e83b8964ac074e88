"""Data sets, each under every setting, as one table; and several hundred generated ones."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from steadytune.errors import UserError
from steadytune.files import read_arrays, write_arrays
from steadytune.sweep.executors import Executor, do_jobs
from steadytune.sweep.job import Job
from steadytune.sweep.listener import Listener, Share
from steadytune.theory.studies.dataset import DataSet
from steadytune.theory.studies.results import Results
from steadytune.theory.studies.synthetic import SyntheticSpec, generate
from steadytune.theory.studies.varied import Grid, Row, studied

if TYPE_CHECKING:
    import pandas as pd

GENERATED = "generated"
DESIGN = ("task", "n", "d", "classes", "shift", "anisotropy", "label_noise", "minimal_margin", "data_seed")
"""The columns that say where a data set comes from. What generated data alone have is NaN for a real task."""
SETTINGS = ("steps", "rate", "learning_rate", "init_scale", "init_sd", "kind", "heads", "alpha", "left_out")
VALUES = (
    "loo_directions",
    "seed_directions",
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

# What the store of a study holds besides the rows of each data set.
_GRID, _DATA = "grid", "data"
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
    executor: str | Executor | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> pd.DataFrame:
    """Study every data set under every setting.

    Args:
        specs: The data sets; those of `default_specs` unless given.
        grid: How heads are trained; `Grid()` unless given.
        workers: Data sets that are studied at the same time, each with one thread. The numbers do not depend on it.
        executor: Who does it, as `steadytune.run` has it.
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
    return study_table(data, grid or Grid(), workers=workers, executor=executor, progress=progress)


def study_table(
    data: Sequence[tuple[Row, DataSet]],
    grid: Grid,
    *,
    workers: int = 1,
    executor: str | Executor | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> pd.DataFrame:
    """Study every data set under every setting; see `synthetic_study`.

    Args:
        data: The `DESIGN` of each, and the data set.
        grid: How heads are trained.
        workers: Data sets that are studied at the same time, each with one thread.
        executor: Who does it, as `steadytune.run` has it.
        progress: Called with the share that is done, 0 to 1.
    """
    import pandas as pd

    jobs = [_Study(str(place), _effort(one)) for place, (_, one) in enumerate(data)]
    efforts = {job.name: job.effort for job in jobs}
    # The largest first, so that no process is left alone with one at the end.
    order = sorted(jobs, key=lambda job: -job.effort)
    with tempfile.TemporaryDirectory(prefix="steadytune-") as folder:
        results = Results(Path(folder))
        results.write(_GRID, asdict(grid))
        for job, (design, one) in zip(jobs, data, strict=True):
            arrays = {"features": one.features, "labels": one.labels}
            checksum = write_arrays(_file(results, job.name), arrays)
            results.write(f"{job.name}-{_DATA}", [checksum, design, one.seed, one.scale])
        do_jobs(order, results, Share(efforts, progress), executor, workers)
        found = [results.read(job.name) for job in jobs]
    rows = [{"dataset": place, **row} for place, of_data_set in enumerate(found) for row in of_data_set]
    return pd.DataFrame(rows, columns=["dataset", *DESIGN, "separable", "part", *SETTINGS, *VALUES])


def _file(results: Results, name: str) -> Path:
    return results.path / f"{name}-{_DATA}.safetensors"


def _effort(data: DataSet) -> float:
    """Return about how long a data set takes."""
    classes = len(np.unique(data.labels))
    return float(sum(data.features.shape) * (1 if classes == 2 else classes))


@dataclass(frozen=True)
class _Study(Job[Results]):
    """One data set under every setting; the data and the grid lie in the store.

    Attributes:
        name: Its id.
        effort: About how long it takes.
    """

    name: str
    effort: float

    @property
    def ids(self) -> tuple[str]:
        """Its name alone."""
        return (self.name,)

    def plain(self) -> dict[str, Any]:
        """Return its attributes."""
        return asdict(self)

    def do(self, ids: Sequence[str], store: Results, listener: Listener) -> None:
        """Train the heads and record the rows."""
        listener.started(self.name)
        checksum, design, seed, scale = store.read(f"{self.name}-{_DATA}")
        arrays = read_arrays(_file(store, self.name), checksum)
        # Copies: what is mapped from a file cannot be written to, and torch warns of it.
        data = DataSet(np.array(arrays["features"]), np.array(arrays["labels"]), seed, scale)
        values: Any = {
            name: tuple(value) if isinstance(value, list) else value for name, value in store.read(_GRID).items()
        }
        grid = Grid(**values)
        with _one_thread():
            rows = [{**design, **row, "separable": data.separable} for row in studied(data, grid)]
        store.write(self.name, rows)
        listener.finished(self.name)

    def give_up(self, one: str, reason: str, store: Results) -> None:
        """Stop the study: a table without one of its data sets says something else.

        Raises:
            UserError: Always.
        """
        raise UserError(f"{reason}\nStart the command again with fewer --workers.")


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute with one thread: more make many small products no faster, and processes would be in each other's way."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(threads)
