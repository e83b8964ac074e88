"""`steadytune measure`: the seven measures of runs that were trained elsewhere, or of a study's folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from steadytune.errors import UserError

if TYPE_CHECKING:
    from steadytune.files import Arrays
    from steadytune.records import Cohort


def measure(
    paths: Annotated[
        list[Path], typer.Argument(help="One .npz file per run, or one folder of a study.", show_default=False)
    ],
    metric: Annotated[str, typer.Option(help="Metric by which the runs in .npz files are scored.")] = "accuracy",
) -> None:
    """Measure how unstable runs are that differ in their seed alone, with 95 % intervals.

    A .npz file holds `logits` (examples x classes), `labels` (examples) and, if wanted, `representations` (layers x
    examples x width), the examples in the same order in every file.

    **Example**

    `steadytune measure a.npz b.npz c.npz`

    `steadytune measure runs/rte`
    """
    from rich.console import Console

    from steadytune.analysis.compare import compare
    from steadytune.cli.report import show
    from steadytune.records import RunStore

    if len(paths) == 1 and paths[0].is_dir():
        comparison = compare(RunStore(paths[0]))
    else:
        comparison = compare([cohort_of_files(paths, metric)])
    show(Console(), comparison)


def cohort_of_files(paths: list[Path], metric: str) -> Cohort:
    """Read one run per .npz file into a cohort named after nothing but its files.

    Raises:
        UserError: A file cannot be read, lacks an array, or does not fit the others.
    """
    import numpy as np

    from steadytune.records import Cohort
    from steadytune.tasks.base import Examples
    from steadytune.tasks.metrics import check_metric, evaluate, majority_score

    runs = [_read(path) for path in paths]
    first = runs[0]
    for path, run in zip(paths, runs, strict=True):
        if run["logits"].ndim != 2 or run["logits"].shape != first["logits"].shape:
            raise UserError(
                f"{path}: logits of shape {run['logits'].shape}; all runs need (examples, classes), "
                f"and {paths[0]} has {first['logits'].shape}"
            )
        if not np.isfinite(run["logits"]).all():
            raise UserError(f"{path}: logits hold NaN or infinity: a diverged run cannot be measured")
        if run["labels"].shape != run["logits"].shape[:1] or not np.array_equal(run["labels"], first["labels"]):
            raise UserError(f"{path}: labels differ from those of {paths[0]}: the runs measured other examples")
        if ("representations" in run) != ("representations" in first):
            raise UserError(f"{path}: representations must be in all files or in none")
    labels = first["labels"].astype(np.int64)
    examples = Examples(tuple((("", None),) for _ in labels), labels)
    check_metric(metric, "classification", first["logits"].shape[1], examples)
    majority = majority_score(metric, "classification", examples)
    scores = np.array([evaluate([metric], "classification", run["logits"], examples)[metric] for run in runs])
    return Cohort(
        scores=scores,
        logits=np.stack([run["logits"] for run in runs]),
        labels=labels,
        representations=[run["representations"] for run in runs] if "representations" in first else None,
        seeds=tuple(path.stem for path in paths),
        failed=scores <= majority,
        majority_score=majority,
        recipe="these runs",
        metric=metric,
    )


def _read(path: Path) -> Arrays:
    import zipfile

    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("logits", "labels", "representations") if name in file}
    except FileNotFoundError:
        raise UserError(f"no file {path}") from None
    except (OSError, ValueError, zipfile.BadZipFile, AttributeError, TypeError) as error:
        raise UserError(f"{path} cannot be read as .npz without pickles: {error}") from error
    for name in ("logits", "labels"):
        if name not in arrays:
            raise UserError(f"{path}: no array '{name}'; it holds {', '.join(arrays) or 'none that is known'}")
    return arrays
