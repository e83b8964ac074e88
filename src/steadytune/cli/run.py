"""`steadytune run`: train the missing runs, then measure, compare and report."""

from __future__ import annotations

import shlex
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from steadytune.errors import UserError

if TYPE_CHECKING:
    from steadytune.study import Study
    from steadytune.sweep.executors import Executor


def run(
    study: Annotated[Path | None, typer.Argument(help="Study file (YAML).", show_default=False)] = None,
    *,
    out: Annotated[Path | None, typer.Option(help="Folder of the study.", show_default=False)] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="Hub id, folder, 'minilm' or 'smollm2' (offline). Repeatable.", show_default=False),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            help="glue/rte, super_glue/cb, a folder, or a generated task such as 'acceptability'. Repeatable.",
            show_default=False,
        ),
    ] = None,
    recipe: Annotated[
        list[str] | None,
        typer.Option(help="'standard', a stabilizer, or names joined by '+'. Repeatable.", show_default=False),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(help="Number of seeds; with --vary, number of values for each.", show_default=False)
    ] = None,
    vary: Annotated[
        str | None,
        typer.Option(
            help="Seeds to cross, such as init,order: of init, order, dropout, data, decoding, replicate (repeats).",
            show_default=False,
        ),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE, such as training.learning_rate=5e-5. Repeatable.", show_default=False),
    ] = None,
    workers: Annotated[
        int, typer.Option(min=0, help="Runs trained in parallel; 0 means as many as the machine can hold.")
    ] = 0,
    executor: Annotated[
        str | None,
        typer.Option(
            help="How to train them: 'local' in this process, 'processes', 'ray', or one from another package.",
            show_default="local for one worker, else processes",
        ),
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(
            help="With --executor ray: a cluster that exists, such as 10.0.0.1:6379, whose nodes share the folder.",
            show_default="$RAY_ADDRESS, else this machine",
        ),
    ] = None,
    gpus_per_run: Annotated[
        float | None,
        typer.Option(help="With --executor ray: share of a GPU, such as 0.25.", show_default="1 if there is any"),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Also retrain runs that failed, diverged or are damaged.")
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option(
            help="I/N: train only the I-th of N parts, as a job array does. The last to finish writes the report.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything and say what would be trained, without training it.")
    ] = False,
) -> None:
    """Train the missing runs of a study, then measure, compare and report.

    If a run is killed, start the same command again. More seeds or recipes add to the folder.

    **Example**

    `steadytune run --model minilm --task path/to/folder --recipe standard --recipe mmr --seeds 5 --out runs/x`

    `steadytune run study.yaml --out runs/rte --set training.learning_rate=5e-5`

    `steadytune run study.yaml --vary init,order --seeds 4 --out runs/grid`

    `steadytune run study.yaml --shard 2/8 --out runs/rte`
    """
    from steadytune.study import Study
    from steadytune.sweep.shards import read_shard
    from steadytune.terminal.study_options import study_content

    part = None if shard is None else read_shard(shard)
    chosen = _executor(executor, workers, ray_address, gpus_per_run)

    options = {"model": model, "task": task, "recipes": recipe, "seeds": seeds}
    content = study_content(study, options, assignments, vary=vary)
    parsed = Study.parse(content, str(study or "command line"))
    if dry_run:
        check(parsed, out, part)
        return
    if out is None:
        raise UserError("no output folder: give one with --out, such as --out runs/x")
    execute(parsed, out, workers, retry_failed, chosen, part)


def _executor(name: str | None, workers: int, address: str | None, gpus: float | None) -> str | Executor | None:
    """Return the executor that the options ask for.

    Raises:
        UserError: One of them is for another executor.
    """
    if address is None and gpus is None:
        return name
    if name != "ray":
        option = "--gpus-per-run" if address is None else "--ray-address"
        raise UserError(f"{option} is for Ray: add --executor ray, or leave it out")
    from steadytune.sweep.executors.ray import Ray

    return Ray(workers, address=address, gpus_per_run=gpus)


def check(study: Study, out: Path | None, shard: tuple[int, int] | None = None) -> None:
    """Check a study as `execute` does before it trains, and print what would be trained.

    Raises:
        UserError: It cannot be run.
    """
    from steadytune.grouped import grouped
    from steadytune.records import RunStore
    from steadytune.shown import plural
    from steadytune.sweep.plan import plan
    from steadytune.sweep.shards import shard_of
    from steadytune.terminal.console import Console
    from steadytune.training.method_check import check_methods

    specs = plan(study)
    check_methods(specs)
    if shard is not None:
        specs = shard_of(specs, *shard)
    console = Console()
    lines = data_lines(study)
    for (model, task, recipe), found in grouped(specs, lambda spec: spec.cohort).items():
        lines.append(f"{model}, {task}, {recipe}: {plural(len(found), 'run')}")
    missing = specs
    if out is not None and (out / "study.yaml").is_file():
        store = RunStore(out)
        missing = [spec for spec in specs if spec.id not in store]
    lines.append(f"{plural(len(specs), 'run')}, of which {len(missing)} would be trained; nothing is written")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def execute(
    study: Study,
    out: Path,
    workers: int,
    retry_failed: bool = False,
    executor: str | Executor | None = None,
    shard: tuple[int, int] | None = None,
) -> None:
    """Run a study, or a shard of it, with a progress display; if all runs are there, compare and report them.

    Raises:
        Exit: With code 1 if no run of the study finished; with 130 if it was interrupted.
    """
    from steadytune.cli.ls import retry_hint
    from steadytune.cli.report import show
    from steadytune.files import room_on_disk
    from steadytune.reporting import report_of_study
    from steadytune.sweep.execute import run as run_study
    from steadytune.sweep.plan import plan
    from steadytune.terminal.console import Console
    from steadytune.terminal.progress import ConsoleListener, bar
    from steadytune.training.weights import half_precision

    console = Console()
    listener = ConsoleListener(console)
    for model in study.model:
        if stored := half_precision(model):
            console.print(
                f"{model} is stored in {stored}; it is loaded in float32", markup=False, highlight=False, soft_wrap=True
            )
    for line in data_lines(study):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    with room_on_disk(out):
        try:
            store = run_study(
                study,
                out,
                workers=workers,
                executor=executor,
                listener=listener,
                retry_failed=retry_failed,
                shard=shard,
            )
        except KeyboardInterrupt:
            # The terminal may be gone.
            with suppress(OSError):
                console.print("finished runs are kept, and the same command continues from here")
            raise typer.Exit(130) from None
        if shard is not None and (missing := sum(spec.id not in store for spec in plan(study))):
            console.print(_shard_done(shard, missing, out), markup=False, highlight=False, soft_wrap=True)
        else:
            with bar(console, "measuring") as progress:
                page, comparison = report_of_study(store, progress=progress)
            show(console, comparison, page)
    records = store.records()
    if hint := retry_hint(store, records):
        console.print(hint, markup=False, highlight=False, soft_wrap=True)
    mine = records if shard is None else [record for record in records if record.spec.id in listener.names]
    if mine and not any(record.status == "done" for record in mine):
        raise typer.Exit(1)


def _shard_done(shard: tuple[int, int], missing: int, out: Path) -> str:
    from steadytune.shown import plural

    return (
        f"shard {shard[0]} of {shard[1]} is done; {plural(missing, 'run')} of other shards missing: the last shard to "
        f"finish writes the report. Of what is there: {shlex.join(['steadytune', 'report', str(out)])}"
    )


def data_lines(study: Study) -> list[str]:
    """Describe the data that a study trains on and measures, and any problems with it."""
    from steadytune.tasks import load_task
    from steadytune.tasks.data_facts import data_facts
    from steadytune.tasks.splits import split
    from steadytune.training.data import with_cut

    lines: dict[str, None] = {}
    for spec in study.task:
        task = load_task(spec)
        # All recipes are measured on the same examples; the training subset is that of the first seed and recipe.
        training = study.recipe_training(next(iter(study.recipes)))
        splits = split(task, training, study.seeds[0].data)
        facts = data_facts(task, splits)
        for model in study.model:
            for line in with_cut(facts, splits, model, training.max_length).lines():
                lines[line] = None
    return list(lines)
