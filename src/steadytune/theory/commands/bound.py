"""`steadytune theory bound`: measure every term of the full fine-tuning bound on a model and its data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from steadytune.theory.commands.folder import check_folder

if TYPE_CHECKING:
    from steadytune.study import RunSpec


def bound(
    study: Annotated[Path | None, typer.Argument(help="Study file (YAML).", show_default=False)] = None,
    *,
    out: Annotated[Path, typer.Option(help="Folder for bound.html and CSV files.", show_default=False)],
    task: Annotated[
        list[str] | None,
        typer.Option(help="glue/rte, super_glue/cb, a folder, or 'acceptability'. Repeatable.", show_default=False),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="Hub id, folder, 'minilm' or 'smollm2' (offline). Repeatable.", show_default="minilm"),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps of gradient descent.")] = 50,
    learning_rate: Annotated[
        float | None, typer.Option(help="Its learning rate.", show_default="1/β at the start")
    ] = None,
    points: Annotated[int, typer.Option(min=2, help="Points on the path at which terms are measured.")] = 5,
    products: Annotated[int, typer.Option(min=1, help="Hessian-vector products at each point.")] = 20,
    left_out: Annotated[int, typer.Option(min=0, help="Number of examples to leave out, one at a time.")] = 0,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE, such as training.train_size=64. Repeatable.", show_default=False),
    ] = None,
) -> None:
    """Train all weights by plain gradient descent, and measure every term of the stability bound.

    Each model and task is trained once, with its first seed, on the whole training set at every step. The page shows
    which assumptions fail. It also compares the loss with its second-order expansion, on which the theory rests. With
    --left-out the bound is compared with the effect of leaving an example out of the same training.

    **Example**

    `steadytune theory bound --task path/to/folder --set training.train_size=64 --steps 50 --out runs/bound`

    `steadytune theory bound study.yaml --left-out 4 --out runs/bound`
    """
    from steadytune.files import room_on_disk
    from steadytune.study import OFFLINE_MODEL, Study
    from steadytune.sweep.plan import plan
    from steadytune.terminal.console import Console
    from steadytune.terminal.progress import bar
    from steadytune.terminal.study_options import study_content
    from steadytune.theory.full.bound import check_arguments
    from steadytune.theory.full.task_bound import check_run, task_bound
    from steadytune.theory.pages.bound import bound_table, write_bounds

    check_folder(out)
    check_arguments(learning_rate, steps, points, products)
    content = study_content(
        study, {"model": model, "task": task}, assignments, defaults={"model": OFFLINE_MODEL}, command="theory bound"
    )
    cohorts: dict[tuple[str, str, str], RunSpec] = {}
    for spec in plan(Study.parse(content, str(study or "command line"))):
        cohorts.setdefault(spec.cohort, spec)
    for spec in cohorts.values():
        check_run(spec, left_out)
    console, found = Console(), []
    with room_on_disk(out):
        for (_, name, _), spec in cohorts.items():
            with bar(console, name) as progress:
                found.append(
                    task_bound(
                        spec,
                        steps=steps,
                        learning_rate=learning_rate,
                        points=points,
                        products=products,
                        left_out=left_out,
                        progress=progress,
                    )
                )
            # Written now, so that finished work is kept if a later one fails.
            page = write_bounds(found, out)
    console.print(bound_table(found))
    for one in found:
        console.print(f"\n{one.name}", markup=False, highlight=False)
        for sentence in one.describe():
            console.print(f"- {sentence}", markup=False, highlight=False)
    console.print(f"\nreport: {page}", markup=False, highlight=False, soft_wrap=True)
