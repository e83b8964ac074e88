"""Data that users write: validated on entry, with errors reported in one line."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from steadytune.errors import UserError, unknown_name
from steadytune.files import LARGEST_SETTINGS, read_content

LARGEST = 2**63 - 1
"""Largest integer that a parameter can be; libraries hold no larger one."""
# A study of a thousand recipes has some ten thousand values, six levels deep.
_MOST_VALUES, _DEEPEST = 100_000, 40
# What YAML 1.1 reads differently from people: 1:30 as 90, 1_0 as 10, 010 as 8.
_ODD_NUMBER = re.compile(r".*[_:].*|[-+]?0[0-9b]+")
_MERGE = "tag:yaml.org,2002:merge"
_PLAIN = [f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map")]
_LONGEST_VALUE = 60
_COMPLETE = {"value_error", "missing", "too_short"}
_WORDS = {
    "missing": "is missing",
    "too_short": "at least one is needed",
    "dict_type": "should be a mapping",
    "model_type": "should be a mapping",
    "tuple_type": "should be a list",
}


if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)


class _Spoken(ModelMetaclass):
    """Report mistakes in a call, such as `Study(sedes=3)`, in one line, as for a file."""

    def __call__(self, *args: Any, **named: Any) -> Any:
        model: Any = self
        if args:
            raise UserError(
                f"{model.__name__} takes its parameters by name ({', '.join(model.model_fields) or 'none'})"
            )
        try:
            return super().__call__(**named)
        except ValidationError as error:
            raise UserError(f"{model.__name__}: {first_problem(error, model)}") from None


class Config(BaseModel, metaclass=_Spoken):
    """Immutable data that rejects unknown keys and infinite numbers.

    Attributes:
        sections: First part of a key's path -> the model that belongs there.

    Raises:
        UserError: A call has an unknown or invalid argument; `model_validate` raises pydantic's ValidationError.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    sections: ClassVar[Mapping[str, type[Config]]] = {}

    @model_validator(mode="before")
    @classmethod
    def _refuse_truth_for_numbers(cls, content: Any) -> Any:
        # Python counts True as 1, and YAML reads yes and on as True.
        if isinstance(content, Mapping):
            for name, value in content.items():
                if isinstance(value, int) and abs(value) > LARGEST:
                    digits = int(math.log10(abs(value))) + 1
                    raise ValueError(f"{name} has {digits} digits: the largest number allowed is {LARGEST:,}")
                field = cls.model_fields.get(name)
                if isinstance(value, bool) and field is not None and field.annotation is not bool:
                    raise ValueError(f"{name} cannot be {str(value).lower()}")
        return content


def first_problem(error: ValidationError, model: type[Config]) -> str:
    """Describe a validation error in one line, as "key: what it must be, and what it is".

    Args:
        error: Error raised by pydantic.
        model: Model of the data.
    """
    problems = error.errors()
    # A misspelt key is also a missing one; naming the misspelling helps more.
    problem = next((one for one in problems if one["type"] == "extra_forbidden"), problems[0])
    *path, last = map(str, problem["loc"]) if problem["loc"] else ("",)
    if problem["type"] == "extra_forbidden":
        section = model
        for part in path:
            section = section.sections.get(part, section)
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


class _Loader(yaml.SafeLoader):
    """Load plain data within the limits that `parse_yaml` states."""

    # Text, numbers, booleans, null, lists and mappings. What looks like a date is text.
    yaml_constructors: ClassVar = {
        tag: make for tag, make in yaml.SafeLoader.yaml_constructors.items() if tag is None or tag in _PLAIN
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._values = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a node unless there are too many already: composing takes longer than everything after it."""
        self._values += 1
        if self._values > _MOST_VALUES:
            raise yaml.MarkedYAMLError(problem=f"more than {_MOST_VALUES:,} values", problem_mark=self.get_mark())
        node: yaml.Node | None = super().compose_node(parent, index)
        return node

    def size(self, node: yaml.Node, sizes: dict[int, int], above: set[int]) -> int:
        """Return the number of values in a node, counting every use of an alias; `above` are its ancestors."""
        if id(node) in above:
            raise _problem("an alias refers to a value that contains it", node)
        if id(node) in sizes:
            return sizes[id(node)]
        if len(above) > _DEEPEST:
            raise _problem(f"nested deeper than {_DEEPEST} levels", node)
        inside: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE]
            if len(set(keys)) < len(keys):
                twice = next(key for key in keys if keys.count(key) > 1)
                raise _problem(f"duplicate key '{twice:.60}'", node)
            inside = [one for pair in node.value for one in pair]
        elif isinstance(node, yaml.SequenceNode):
            inside = node.value
        above.add(id(node))
        size = 1 + sum(self.size(one, sizes, above) for one in inside)
        above.discard(id(node))
        if size > _MOST_VALUES:
            raise _problem(f"more than {_MOST_VALUES:,} values", node)
        sizes[id(node)] = size
        return size


def _plain_number(loader: _Loader, node: yaml.ScalarNode) -> Any:
    spelled = str(node.value)
    if _ODD_NUMBER.fullmatch(spelled):
        raise _problem(f"{spelled:.60} is not a plain number: write digits, or put text in quotation marks", node)
    return loader.construct_yaml_int(node) if node.tag.endswith(":int") else loader.construct_yaml_float(node)


for _tag in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _plain_number)

_Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in resolvers if tag in (*_PLAIN, _MERGE)]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _problem(what: str, node: yaml.Node) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=what, problem_mark=node.start_mark)


def parse_yaml(text: str) -> Any:
    """Parse YAML into plain data: no duplicate keys, at most 100,000 values with aliases expanded, and 40 levels.

    Raises:
        yaml.YAMLError: It is not YAML, or exceeds these limits.
        ValueError: It contains bytes that are not text, or a number with thousands of digits.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        loader.size(node, {}, set())
        return loader.construct_document(node)
    except RecursionError:
        raise yaml.MarkedYAMLError(problem=f"nested deeper than {_DEEPEST} levels") from None
    except (ArithmeticError, AttributeError):
        raise yaml.MarkedYAMLError(problem="a value does not match its tag") from None
    finally:
        loader.dispose()


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises:
        UserError: It cannot be read or is not a mapping; the reason in one line.
    """
    path = Path(path)
    try:
        path.stat()
    except FileNotFoundError:
        raise UserError(f"no study file at {path}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    if path.is_dir():
        raise UserError(f"{path} is a folder: a study is a YAML file")
    text = read_content(path, LARGEST_SETTINGS)
    try:
        content = parse_yaml(text.decode("utf-8"))
    except (yaml.YAMLError, ValueError, LookupError, TypeError) as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        what = getattr(error, "problem", None) or ("not text" if isinstance(error, UnicodeError) else str(error))
        raise UserError(f"{path}{line}: not YAML ({' '.join(what.split()):.100})") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: a study must be a mapping with keys such as model, task and recipes")
    return content
