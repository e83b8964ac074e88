"""Data that users write: checked on entry, and what is wrong with it said in one line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from steadytune.errors import UserError, unknown_name

_LONGEST_VALUE = 60
_COMPLETE = {"value_error", "missing", "too_short"}
_WORDS = {
    "missing": "is missing",
    "too_short": "at least one is needed",
    "dict_type": "should be a mapping",
    "model_type": "should be a mapping",
    "tuple_type": "should be a list",
}


class Config(BaseModel):
    """Data that refuses unknown keys and infinite numbers, and does not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _refuse_truth_for_numbers(cls, content: Any) -> Any:
        # Python counts True as 1, and YAML reads yes and on as True.
        if isinstance(content, Mapping):
            for name, value in content.items():
                field = cls.model_fields.get(name)
                if isinstance(value, bool) and field is not None and field.annotation is not bool:
                    raise ValueError(f"{name} cannot be {str(value).lower()}")
        return content


def first_problem(
    error: ValidationError, model: type[Config], sections: Mapping[str, type[Config]] | None = None
) -> str:
    """Say in one line what is wrong with data, as "key: what it should be, and what it is".

    Args:
        error: What pydantic found.
        model: What the data should be.
        sections: First part of a key's place -> what should be there.
    """
    problems = error.errors()
    # A misspelt key is also a missing one; the misspelling is what helps.
    problem = next((one for one in problems if one["type"] == "extra_forbidden"), problems[0])
    *path, last = map(str, problem["loc"]) if problem["loc"] else ("",)
    if problem["type"] == "extra_forbidden":
        section = (sections or {}).get(path[0], model) if path else model
        message = str(unknown_name("key", last, section.model_fields))
        return f"{'.'.join(path)}: {message}" if path else message
    where = ".".join([*path, last])
    given = problem["input"]
    message = problem["msg"].removeprefix("Value error, ").removeprefix("Input ").removeprefix("String ")
    if problem["type"] in _WORDS:
        message = _WORDS[problem["type"]]
    if problem["type"] not in _COMPLETE and isinstance(given, (str, int, float, type(None))):
        message = f"{message}, not {given!r:.{_LONGEST_VALUE}}"
    return f"{where}: {message}" if where else message


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises:
        UserError: In one line, why that cannot be done.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"no study file at {path}") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder; a study is a YAML file") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        what = getattr(error, "problem", None) or ("not text" if isinstance(error, UnicodeError) else str(error))
        raise UserError(f"{path}{line}: not YAML ({' '.join(what.split()):.100})") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: a study is a mapping with keys such as model, task and recipes")
    return content
