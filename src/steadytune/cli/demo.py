"""`steadytune demo`: the main workflow, offline, in a few minutes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path, typer.Option(help="Folder of the study.")] = Path("demo"),
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds.")] = 5,
    workers: Annotated[
        int, typer.Option(min=0, help="Runs trained in parallel; 0 means as many as the machine can hold.")
    ] = 0,
) -> None:
    """Fine-tune the offline model on the built-in task with four recipes, and report how much is luck.

    Needs no network and no data: MiniLM comes with the `demo` extra; acceptability judgements are generated on the
    spot.

    **Example**

    `steadytune demo --out demo --seeds 3`
    """
    from steadytune.cli.run import execute
    from steadytune.study import Study

    study = Study.parse(
        {
            "model": "minilm",
            # Few examples and a high rate: the model learns the task on some seeds and half learns it on others.
            "task": {"name": "acceptability", "train_examples": 192},
            "seeds": seeds,
            "training": {"learning_rate": 2e-4, "epochs": 7},
            "recipes": {
                "standard": {},
                "mmr": {"stabilizers": ["mmr"]},
                "mhloss": {"stabilizers": ["mhloss"]},
                "surt": {"stabilizers": ["surt"]},
            },
        },
        "demo",
    )
    execute(study, out, workers)
