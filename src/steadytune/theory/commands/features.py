"""`steadytune theory features`: the theory on frozen features of real tasks."""

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
    model: Annotated[str, typer.Option(help="Hub id, folder, or 'minilm', the offline model.")] = "minilm",
    size: Annotated[
        list[int] | None,
        typer.Option(
            help="Sub-samples of so many training examples; a task with fewer gives all it has. Repeatable.",
            show_default="50, 100, 200, 400, 800 and all",
        ),
    ] = None,
    draws: Annotated[int, typer.Option(min=1, help="Sub-samples of each size; all examples make one.")] = 2,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE, such as training.max_length=64. Repeatable.", show_default=False),
    ] = None,
    small: Annotated[bool, typer.Option(help="Small sub-samples and a small grid: every figure in a minute.")] = False,
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0 means one per processor.")] = 0,
) -> None:
    """Try the theory on frozen features of real tasks: the same studies as `steadytune theory synthetic`.

    Each task is encoded once, with --size no more of it than is needed. Heads are trained on sub-samples, up to 50
    examples of each left out in turn; of max-margin heads all are. Five tasks take some twenty minutes on two cores.

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
        raise UserError("features are frozen, which is mode 'head': leave training.mode out")
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
