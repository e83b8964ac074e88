"""Build a study from a file and command-line options."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from steadytune.errors import UserError


def study_content(
    study: Path | None,
    options: Mapping[str, Any],
    assignments: Sequence[str] | None,
    *,
    vary: str | None = None,
    defaults: Mapping[str, Any] | None = None,
    command: str = "run",
) -> dict[str, Any]:
    """Return the plain data of a study: the file, overridden by the options, then by the assignments.

    Args:
        study: A YAML file, or None.
        options: Key -> value; None and an empty list mean not given.
        assignments: KEY=VALUE each.
        vary: Names of seeds to cross, separated by commas.
        defaults: Values where neither the file nor an option gives one.
        command: Name of the command, for the error if a task or model is missing.

    Raises:
        UserError: The file cannot be read, an assignment is malformed, a key is given twice on the command line, or
            the model or task is missing.
    """
    from steadytune.config import read_yaml

    content: dict[str, Any] = {**(defaults or {}), **(_renamed(read_yaml(study)) if study else {})}
    said = {key: value for key, value in options.items() if value is not None and value != []}
    content |= said
    if vary is not None:
        held = content.get("seeds")
        if isinstance(held, list):
            raise UserError(f"--vary: {study} lists its seeds, which cannot be crossed: give their number with --seeds")
        grid = {} if held is None else held if isinstance(held, dict) else {"values": held}
        names = [name.strip() for name in vary.split(",")]
        content["seeds"] = {**grid, "vary": names}
        said["seeds"] = {"vary": names} | ({"values": said["seeds"]} if "seeds" in said else {})
    said = copy.deepcopy(said)
    for assignment in assignments or ():
        put(content, assignment)
        put(said, assignment, once=True)
    for key in ("model", "task"):
        if key not in content:
            raise UserError(f"no {key} given: use --{key}, or give a study file (see steadytune {command} --help)")
    return content


def _renamed(content: dict[str, Any]) -> dict[str, Any]:
    """Rename what older versions wrote under another name, so that an option or assignment overrides it."""
    from steadytune.study import with_mode

    found, recipes = dict(content), content.get("recipes")
    if "training" in found:
        found["training"] = with_mode(found["training"])
    if isinstance(recipes, dict):
        found["recipes"] = {
            name: {**recipe, "training": with_mode(recipe["training"])}
            if isinstance(recipe, dict) and "training" in recipe
            else recipe
            for name, recipe in recipes.items()
        }
    return found


def put(content: dict[str, Any], assignment: str, once: bool = False) -> None:
    """Set a dotted key in plain data to a YAML value.

    Args:
        content: The data.
        assignment: KEY=VALUE.
        once: Refuse to replace an existing value with a different one.

    Raises:
        UserError: The assignment is not KEY=VALUE, or the key leads through something that is not a mapping.
    """
    import yaml

    from steadytune.config import parse_yaml

    key, equals, text = assignment.partition("=")
    if not equals or not key:
        raise UserError(f"--set takes KEY=VALUE, such as training.learning_rate=5e-5, not '{assignment}'")
    try:
        value = parse_yaml(text)
    except (yaml.YAMLError, ValueError, LookupError, TypeError) as error:
        why = f" ({error.problem})" if isinstance(error, yaml.MarkedYAMLError) and error.problem else ""
        raise UserError(f"--set {key:.60}: '{text:.60}' is not a YAML value{why}") from None
    *path, last = key.split(".")
    place = content
    for part in path:
        if place.get(part) is None:
            place[part] = {}
        inner = place[part]
        if part == "task":
            # A task given only by its name is a mapping with just a name.
            if isinstance(inner, list) and len(inner) == 1:
                inner = inner[0]
            if isinstance(inner, str):
                inner = {"name": inner}
            place[part] = inner
        if not isinstance(inner, dict):
            raise UserError(f"--set {key}: '{part}' holds {inner!r:.60}, which has no keys")
        place = inner
    if once and last in place and place[last] != value:
        raise UserError(
            f"--set {key:.60}: the command line gives {place[last]!r:.60} and {value!r:.60}: keep one of them"
        )
    place[last] = value
