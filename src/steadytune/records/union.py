"""Growing folders: merging the study that a folder holds with the one requested now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from steadytune.errors import UserError
from steadytune.study import Study


def union(held: Study, asked: Study, path: Path) -> Study:
    """Merge two studies that agree on everything both contain.

    Raises:
        UserError: They disagree; names the key, and the folder of the first.
    """

    def compare(what: str, mine: dict[str, Any], theirs: dict[str, Any]) -> None:
        for key, value in mine.items():
            if theirs[key] != value:
                ours, others = ("not given" if one is None else one for one in (value, theirs[key]))
                raise UserError(
                    f"{path} belongs to another study: its {what}{key} is {ours}, not {others}.\n"
                    "Choose another --out, or rename what differs."
                )

    # Field by field: an adapter says in words what it is.
    compare("training.", dict(held.training), dict(asked.training))
    held_tasks = {task.name: task for task in held.task}
    asked_tasks = {task.name: task for task in asked.task}
    for what, ours, others in (("model", held.model, asked.model), ("task", held_tasks, asked_tasks)):
        if not set(ours) & set(others):
            compare("", {what: ", ".join(ours)}, {what: ", ".join(others)})
    for what, held_ones, asked_ones in (("task", held_tasks, asked_tasks), ("recipe", held.recipes, asked.recipes)):
        for name in held_ones.keys() & asked_ones.keys():
            compare(f"{what} '{name}': ", held_ones[name].model_dump(), asked_ones[name].model_dump())
    return asked.model_copy(
        update={
            "model": tuple(dict.fromkeys((*held.model, *asked.model))),
            "task": tuple({**held_tasks, **asked_tasks}.values()),
            "seeds": tuple(dict.fromkeys((*held.seeds, *asked.seeds))),
            "recipes": {**held.recipes, **asked.recipes},
        }
    )
