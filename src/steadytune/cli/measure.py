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
        try:
            _check(run)
            _check_fit(run, first, paths[0])
        except ValueError as error:
            raise UserError(f"{path}: {error}") from None
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
    import numpy as np

    if not path.exists():
        raise UserError(f"no file {path}")
    if path.is_dir():
        raise UserError(f"{path} is a folder: measure one folder of a study, or .npz files")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("logits", "labels", "representations") if name in file}
            held = ", ".join(file) or "nothing"
    except Exception as error:  # a file from anywhere can break the reader of zip archives in many ways
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{path} cannot be read as .npz without pickles: {reason}") from None
    for name in ("logits", "labels"):
        if name not in arrays:
            raise UserError(f"{path}: no array '{name}'; it holds {held}")
    return arrays


def _check(run: Arrays) -> None:
    """Raise ValueError if the arrays of one run are not what `measure` takes."""
    import numpy as np

    for name, array in run.items():
        if array.dtype.kind not in "fiu":
            raise ValueError(f"{name} must be real numbers, not {array.dtype}")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} hold NaN or infinity: a diverged run cannot be measured")
    logits, labels, representations = run["logits"], run["labels"], run.get("representations")
    if logits.ndim != 2 or not len(logits) or logits.shape[1] < 2:
        raise ValueError(f"logits must be (examples, two or more classes), not {logits.shape}")
    if labels.shape != logits.shape[:1]:
        raise ValueError(f"labels must be ({len(logits)},), one for each row of logits, not {labels.shape}")
    if (labels != labels.astype(np.int64)).any() or labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise ValueError(f"labels must be 0 to {logits.shape[1] - 1}, the columns of logits")
    if representations is not None and (representations.ndim != 3 or representations.shape[1] != len(logits)):
        raise ValueError(f"representations must be (layers, {len(logits)}, width), not {representations.shape}")


def _check_fit(run: Arrays, first: Arrays, name: Path) -> None:
    """Raise ValueError if a run does not fit the first one, which was read from the file `name`."""
    import numpy as np

    if run["logits"].shape != first["logits"].shape:
        raise ValueError(f"logits of shape {run['logits'].shape}, but {name} has {first['logits'].shape}")
    if not np.array_equal(run["labels"], first["labels"]):
        raise ValueError(f"labels differ from those of {name}: the runs measured other examples")
    layers, others = (len(one["representations"]) if "representations" in one else 0 for one in (run, first))
    if layers != others:
        raise ValueError(f"representations of {layers} layers, but {name} has {others}")
