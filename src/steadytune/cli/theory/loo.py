"""`steadytune theory loo`: leave-one-out stability of a task, with seed stability beside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steadytune.cli.theory.folder import check_folder
from steadytune.errors import UserError

if TYPE_CHECKING:
    from steadytune.study import RunSpec


def loo(
    out: Annotated[Path, typer.Option(help="Folder for stability.csv and examples.csv.", show_default=False)],
    task: Annotated[
        list[str],
        typer.Option(help="glue/rte, super_glue/cb, a folder, or 'acceptability'. Repeatable.", show_default=False),
    ],
    model: Annotated[str, typer.Option(help="Hub id, folder, or 'minilm', the offline model.")] = "minilm",
    size: Annotated[
        list[int] | None,
        typer.Option(help="Head tuning on so many training examples. Repeatable.", show_default="all"),
    ] = None,
    recipe: Annotated[
        list[str] | None,
        typer.Option(help="A stabilizer, or names joined by '+'. Repeatable.", show_default="standard"),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds.")] = 3,
    steps: Annotated[int, typer.Option(min=1, help="Steps of full-batch gradient descent, in head tuning.")] = 500,
    learning_rate: Annotated[
        float | None, typer.Option(help="Its learning rate.", show_default="half the stability limit")
    ] = None,
    examples: Annotated[
        int | None,
        typer.Option(min=1, help="Full fine-tuning, with so many examples left out in turn.", show_default=False),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE, such as training.train_size=200. Repeatable.", show_default=False),
    ] = None,
) -> None:
    """Leave every training example out in turn, and say how far the model moves; beside it, how far another seed does.

    Head tuning: exact for every example, on the frozen features, with the bound on it and what influence functions
    predict. With --examples: full fine-tuning, on a sample of examples, the seeds held fixed.

    **Example**

    `steadytune theory loo --task path/to/folder --size 50 --size 100 --out runs/loo`

    `steadytune theory loo --task path/to/folder --examples 8 --seeds 2 --set training.epochs=3 --out runs/loo`
    """
    from rich.console import Console

    from steadytune.cli.progress import bar
    from steadytune.cli.run import put
    from steadytune.files import room_on_disk
    from steadytune.report.theory.on_task import stability_table, write_stability
    from steadytune.study import Study
    from steadytune.sweep.plan import plan
    from steadytune.theory.studies.on_task import full_task_stability, task_stability

    check_folder(out)
    content: dict[str, Any] = {"model": model, "task": task, "seeds": seeds, "recipes": recipe or ["standard"]}
    kind = "full" if examples else "head"
    content["training"] = {"setting": kind}
    for setting in settings or ():
        put(content, setting)
    if content["training"].get("setting") != kind:
        raise UserError(
            "--examples says that it is full fine-tuning, and without it is head tuning: leave the setting out"
        )
    if examples and size:
        raise UserError("--size is for head tuning: with --examples use --set training.train_size=...")
    cohorts: dict[tuple[str, str, str], list[RunSpec]] = {}
    for spec in plan(Study.parse(content, "command line")):
        cohorts.setdefault(spec.cohort, []).append(spec)
    console, found = Console(), []
    with room_on_disk(out):
        for (_, name, which), specs in cohorts.items():
            with bar(console, f"{name}, {which}") as progress:
                if examples:
                    found.append(full_task_stability(specs, examples, out / "cache", progress=progress))
                else:
                    found += task_stability(
                        specs[0],
                        out / "cache",
                        sizes=size or (),
                        seeds=seeds,
                        steps=steps,
                        learning_rate=learning_rate,
                        progress=progress,
                    )
        page = write_stability(found, out)
    console.print(stability_table(found))
    for one in found:
        console.print(f"\n{one.name}", markup=False, highlight=False)
        for sentence in one.describe():
            console.print(f"- {sentence}", markup=False, highlight=False)
    console.print(f"\nreport: {page}", markup=False, highlight=False, soft_wrap=True)
