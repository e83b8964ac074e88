"""`steadytune theory features`: test the theory on frozen features of real tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steadytune.errors import UserError
from steadytune.theory.commands.folder import check_folder
from steadytune.theory.commands.synthetic import say

_FEW = (20, 40)


def features(
    out: Annotated[Path, typer.Option(help="Folder for theory.html and studies.csv.", show_default=False)],
    task: Annotated[
        list[str],
        typer.Option(help="glue/rte, super_glue/cb, a folder, or 'acceptability'. Repeatable.", show_default=False),
    ],
    model: Annotated[str, typer.Option(help="Hub id, folder, 'minilm' or 'smollm2' (offline).")] = "minilm",
    size: Annotated[
        list[int] | None,
        typer.Option(
            help="Subsample size in training examples; a smaller task gives all its examples. Repeatable.",
            show_default="50, 100, 200, 400, 800 and all",
        ),
    ] = None,
    draws: Annotated[int, typer.Option(min=1, help="Subsamples of each size; only one with all examples.")] = 2,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE, such as training.max_length=64. Repeatable.", show_default=False),
    ] = None,
    small: Annotated[bool, typer.Option(help="Small subsamples and a small grid: every figure in a minute.")] = False,
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0 means one per CPU core.")] = 0,
) -> None:
    """Test the theory on frozen features of real tasks: the same studies as `steadytune theory synthetic`.

    Each task is encoded once; with --size, only as much as needed. Heads are trained on subsamples, leaving out up to
    50 examples in turn, or all for max-margin heads. Five tasks take about twenty minutes on two cores.

    **Example**

    `steadytune theory features --task glue/rte --task glue/mrpc --out runs/theory`

    `steadytune theory features --task path/to/folder --size 50 --size 800 --draws 4 --out runs/theory`
    """
    from steadytune.files import room_on_disk
    from steadytune.study import Study
    from steadytune.sweep.capacity import processors
    from steadytune.sweep.plan import plan
    from steadytune.terminal.console import Console
    from steadytune.terminal.progress import bar
    from steadytune.terminal.study_options import study_content
    from steadytune.theory.pages.page import write_feature_report
    from steadytune.theory.studies.features import feature_study
    from steadytune.theory.studies.varied import ON_FEATURES, SMALL_ON_FEATURES

    check_folder(out)
    options = {"model": model, "task": task}
    content = study_content(None, options, assignments, defaults={"seeds": 1}, command="theory features")
    training = content.setdefault("training", {})
    if isinstance(training, dict) and training.setdefault("mode", "head") != "head":
        raise UserError("features are frozen, which means mode 'head': leave out training.mode")
    specs = plan(Study.parse(content, "command line"))
    console = Console()
    with room_on_disk(out):
        with bar(console, "features and heads") as progress:
            table = feature_study(
                specs,
                out / "cache",
                sizes=size or (_FEW if small else ()),
                draws=draws,
                grid=SMALL_ON_FEATURES if small else ON_FEATURES,
                workers=workers or processors(),
                progress=progress,
            )
        page, sections = write_feature_report(table, specs[0].model, out)
    say(console, page, sections)
