"""`steadytune theory loo`: measure leave-one-out stability of a task, and seed stability."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steadytune.errors import UserError
from steadytune.theory.commands.folder import check_folder

if TYPE_CHECKING:
    from rich.console import Console

    from steadytune.study import RunSpec, Study
    from steadytune.theory.studies.task_loo import TaskStability


def loo(
    study: Annotated[Path | None, typer.Argument(help="Study file (YAML).", show_default=False)] = None,
    *,
    out: Annotated[Path, typer.Option(help="Folder for stability.csv and examples.csv.", show_default=False)],
    task: Annotated[
        list[str] | None,
        typer.Option(help="glue/rte, super_glue/cb, a folder, or 'acceptability'. Repeatable.", show_default=False),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="Hub id, folder, 'minilm' or 'smollm2' (offline). Repeatable.", show_default="minilm"),
    ] = None,
    size: Annotated[
        list[int] | None,
        typer.Option(help="Number of training examples, in head tuning. Repeatable.", show_default="all"),
    ] = None,
    recipe: Annotated[
        list[str] | None,
        typer.Option(help="A stabilizer, or names joined by '+'. Repeatable.", show_default="standard"),
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Number of seeds.", show_default="3")] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Steps of full-batch gradient descent, in head tuning.", show_default="500"),
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Its learning rate.", show_default="half the stability limit")
    ] = None,
    examples: Annotated[
        int | None,
        typer.Option(min=1, help="Use full fine-tuning, with this many examples left out in turn.", show_default=False),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE, such as training.train_size=200. Repeatable.", show_default=False),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0, help="Processes, in full fine-tuning; 0 means as many as the machine can hold.", show_default="0"
        ),
    ] = None,
    executor: Annotated[
        str | None,
        typer.Option(
            help="How to train, in full fine-tuning: 'local', 'processes', 'ray', or one from another package.",
            show_default="local for one worker, else processes",
        ),
    ] = None,
) -> None:
    """Leave each training example out in turn, and measure how far the model moves, compared with another seed.

    Head tuning: exact for every example on the frozen features, with the bound and the predictions of influence
    functions. All recipes use the same descent, set by --steps and --learning-rate: they may differ in what makes the
    features, such as surt or training.pooling, and in mhloss.

    With --examples: full fine-tuning, leaving out a sample of examples with fixed seeds. Recipes that differ in
    training.train_size, epochs or learning_rate, in freeze or surt show the effect of each. If a study is killed, start
    the same command again.

    **Example**

    `steadytune theory loo --task path/to/folder --size 50 --size 100 --out runs/loo`

    `steadytune theory loo --task path/to/folder --examples 8 --seeds 2 --set training.epochs=3 --out runs/loo`

    `steadytune theory loo study.yaml --examples 4 --out runs/loo`
    """
    from steadytune.files import room_on_disk
    from steadytune.study import OFFLINE_MODEL, Study
    from steadytune.sweep.plan import plan
    from steadytune.terminal.console import Console
    from steadytune.terminal.study_options import study_content

    check_folder(out)
    _check_options(examples, size, steps, learning_rate, workers, executor)
    options = {"model": model, "task": task, "seeds": seeds, "recipes": recipe}
    defaults = {"model": OFFLINE_MODEL, "seeds": 3}
    content = study_content(study, options, assignments, defaults=defaults, command="theory loo")
    _set_kind(content, "full" if examples else "head")
    asked = Study.parse(content, str(study or "command line"))
    console = Console()
    with room_on_disk(out):
        if examples:
            _full(console, asked, examples, out, workers or 0, executor)
        else:
            _heads(console, plan(asked), out, sizes=size or (), steps=steps or 500, learning_rate=learning_rate)


def _check_options(
    examples: int | None,
    size: list[int] | None,
    steps: int | None,
    learning_rate: float | None,
    workers: int | None,
    executor: str | None,
) -> None:
    """Refuse options for the other kind of training."""
    if not examples:
        for name, asked in {"--workers": workers, "--executor": executor}.items():
            if asked is not None:
                raise UserError(f"{name} is for full fine-tuning: leave it out, or add --examples")
        return
    instead = {"--size": (size, "train_size"), "--steps": (steps, "epochs")}
    for option, (given, key) in {**instead, "--learning-rate": (learning_rate, "learning_rate")}.items():
        if given not in (None, []):
            raise UserError(f"{option} is for head tuning: with --examples, use --set training.{key}=...")


def _set_kind(content: dict[str, Any], kind: str) -> None:
    training = content.get("training") or {}
    # Anything but a mapping is refused when the study is read.
    if isinstance(training, dict):
        if training.get("mode", kind) != kind:
            raise UserError("--examples selects full fine-tuning, and its absence head tuning: leave out training.mode")
        content["training"] = {**training, "mode": kind}


def _full(console: Console, study: Study, examples: int, out: Path, workers: int, executor: str | None) -> None:
    from steadytune.sweep.capacity import room_for
    from steadytune.sweep.executors import fits
    from steadytune.theory.commands.told import Told
    from steadytune.theory.pages.full_tuning import write_cohorts
    from steadytune.theory.studies.full_cohorts import full_cohorts, train_cohorts

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    cohorts = full_cohorts(study, examples)
    try:
        store = train_cohorts(
            cohorts,
            study,
            out,
            workers=workers or (0 if fits(executor) else room_for(study)),
            executor=executor,
            listener=Told(console, cohorts),
        )
    except KeyboardInterrupt:
        say("finished trainings are kept, and the same command continues from here")
        raise typer.Exit(130) from None
    page, sections = write_cohorts([cohort.result(store) for cohort in cohorts], out)
    for section in sections:
        say(f"\n{section.title}")
        for claim in section.claims:
            say(f"- {claim.verdict}: {claim.prediction}")
    say(f"\nreport: {page}")


def _heads(
    console: Console,
    specs: Sequence[RunSpec],
    out: Path,
    *,
    sizes: Sequence[int],
    steps: int,
    learning_rate: float | None,
) -> None:
    from steadytune.terminal.progress import bar
    from steadytune.theory.pages.task_loo import stability_table, write_stability
    from steadytune.theory.studies.task_loo import check_recipes, task_stability

    cohorts: dict[tuple[str, str, str], list[RunSpec]] = {}
    for spec in specs:
        cohorts.setdefault(spec.cohort, []).append(spec)
    check_recipes([runs[0] for runs in cohorts.values()])
    found: list[TaskStability] = []
    for (_, name, recipe), runs in cohorts.items():
        with bar(console, f"{name}, {recipe}") as progress:
            found += task_stability(
                runs[0],
                out / "cache",
                sizes=sizes,
                seeds=len(runs),
                steps=steps,
                learning_rate=learning_rate,
                progress=progress,
            )
        # Written now, so that finished work is kept if a later one fails.
        page = write_stability(found, out)
    console.print(stability_table(found))
    for one in found:
        console.print(f"\n{one.name}", markup=False, highlight=False)
        for sentence in one.describe():
            console.print(f"- {sentence}", markup=False, highlight=False)
    console.print(f"\nreport: {page}", markup=False, highlight=False, soft_wrap=True)
