"""Kinds of task: one file each, looked up by name. Data store the name of their kind; code uses `KINDS[name]`."""

from __future__ import annotations

from typing import Any

from steadytune.kinds.base import Kind
from steadytune.registry import Registry

__all__ = ["DEFAULT", "KINDS", "Kind", "find_kind"]


def _check(name: str, kind: Any) -> str:
    if isinstance(kind, Kind) and kind.name == name:
        return ""
    return f"is not an instance of Kind with name = {name!r}"


KINDS: Registry[Kind] = Registry(
    "kind",
    {
        "classification": "kinds.classification:CLASSIFICATION",
        "regression": "kinds.regression:REGRESSION",
        "choice": "kinds.choice:CHOICE",
        "generation": "kinds.generation:GENERATION",
        "tokens": "kinds.tokens:TOKENS",
        "multilabel": "kinds.multilabel:MULTILABEL",
    },
    _check,
)
"""Name of a kind of task -> its class."""

DEFAULT = "classification"
"""Kind assumed for runs that neither declare a kind nor hold data specific to another one."""

_UNKNOWN = Kind()


def find_kind(name: str | None) -> Kind:
    """Return a kind by name; for None a placeholder for a kind that is not known yet.

    Raises:
        UserError: The name is unknown.
    """
    return _UNKNOWN if name is None else KINDS[name]
