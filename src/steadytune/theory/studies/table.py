"""Study data sets under every setting, as one table, and generate several hundred of them."""

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
"""Columns that describe the origin of a data set. Those that only generated data have are NaN for a real task."""
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

# Contents of the store of a study besides the rows of each data set.
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

    The kinds are: two classes as drawn, two with a minimal margin of 0.5, two with a tenth of the labels wrong, and
    three classes. Data with many features are separable; data with few often are not.

    Args:
        sizes: Values of n.
        widths: Values of d.
        shifts: Distances between the class centres.
        anisotropies: Exponents of the variances.
        seeds: Number of draws of each.
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
        specs: The data sets; by default those of `default_specs`.
        grid: How heads are trained; by default `Grid()`.
        workers: Data sets studied at the same time, each with one thread. The results do not depend on it.
        executor: How the work is run, as for `steadytune.run`.
        progress: Called with the share that is done, 0 to 1.

    Returns:
        A row per data set and setting: "dataset", `DESIGN`, "separable", "part", and the `SETTINGS` and `VALUES` of
        that part, explained in `varied`. Columns that do not apply to a row are NaN.
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
        data: The `DESIGN` of each data set, with the data set.
        grid: How heads are trained.
        workers: Data sets studied at the same time, each with one thread.
        executor: How the work is run, as for `steadytune.run`.
        progress: Called with the share that is done, 0 to 1.
    """
    import pandas as pd

    jobs = [_Study(str(place), _effort(one)) for place, (_, one) in enumerate(data)]
    efforts = {job.name: job.effort for job in jobs}
    # The largest first, so that no single process runs on long after the others.
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
    """Return the approximate relative time that a data set takes."""
    classes = len(np.unique(data.labels))
    return float(sum(data.features.shape) * (1 if classes == 2 else classes))


@dataclass(frozen=True)
class _Study(Job[Results]):
    """One data set under every setting; the data and the grid are in the store.

    Attributes:
        name: Its id.
        effort: Approximate relative time that it takes.
    """

    name: str
    effort: float

    @property
    def ids(self) -> tuple[str]:
        """Only its name."""
        return (self.name,)

    def plain(self) -> dict[str, Any]:
        """Return its attributes."""
        return asdict(self)

    def do(self, ids: Sequence[str], store: Results, listener: Listener) -> None:
        """Train the heads and record the rows."""
        listener.started(self.name)
        checksum, design, seed, scale = store.read(f"{self.name}-{_DATA}")
        arrays = read_arrays(_file(store, self.name), checksum)
        # Copies: memory-mapped arrays are read-only, which makes torch warn.
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
        """Stop the study: a table that lacks one of its data sets would mislead.

        Raises:
            UserError: Always.
        """
        raise UserError(f"{reason}\nStart the command again with fewer --workers.")


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute with one thread: more do not speed up small products, and processes would compete for the processors."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(threads)
