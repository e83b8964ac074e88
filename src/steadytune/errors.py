"""Errors caused by the user's input, in one or two lines.

`UserError` is the only exception that the command line turns into a message and exit code 2; every other exception is a
bug of ours and keeps its traceback.
"""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., Any])


class UserError(ValueError):
    """A mistake in the input: the message says what is wrong, where, and what would be right."""


class FolderWarning(UserWarning):
    """Something was skipped, such as a damaged run of a folder; the command line prints it as a note."""


def machine_fault(error: OSError) -> UserError:
    """Build the error for a fault of the machine: no permission, no space, a file where a folder should be.

    Such work can be repeated once the cause has been removed.
    """
    where = f"{error.filename}: " if error.filename is not None else ""
    what = error.strerror or " ".join(str(error).split())[:200] or type(error).__name__
    return UserError(f"{where}{what}")


def type_of(value: Any) -> str:
    """Name the type of a wrong argument; a class itself, passed in the place of an instance, is "the class Study"."""
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


def one_line(error: BaseException) -> str:
    """Describe an error of somebody else's code in a line: its type, and the beginning of what it says."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}".removesuffix(": ")


def unknown_name(kind: str, name: str, choices: Iterable[str]) -> UserError:
    """Build the error for a name that is not in `choices`, suggesting the closest one.

    Args:
        kind: What the name refers to, such as "stabilizer".
        name: The unknown name.
        choices: All valid names.
    """
    valid = sorted(choices)
    if not isinstance(name, str):
        return UserError(f"{kind} must be a name, not {type_of(name)}: valid: {', '.join(valid)}")
    closest = difflib.get_close_matches(name.lower(), valid, n=1, cutoff=0.5)
    hint = f"did you mean '{closest[0]}'? " if closest else ""
    return UserError(f"unknown {kind} '{name}': {hint}valid: {', '.join(valid)}")


def door(function: Function) -> Function:
    """Make a public function refuse a call that does not match its parameters as a mistake, in one line."""
    expected = inspect.signature(function)
    shown = function.__qualname__.removesuffix(".__init__")
    names = [name for name in expected.parameters if name != "self"]

    @wraps(function)
    def call(*args: Any, **named: Any) -> Any:
        try:
            expected.bind(*args, **named)
        except TypeError as error:
            if wrong := next((name for name in named if name not in names), None):
                raise UserError(f"{shown}: {unknown_name('parameter', wrong, names)}") from None
            raise UserError(f"{shown}: {error}: the parameters are {', '.join(names)}") from None
        return function(*args, **named)

    return cast("Function", call)


def check_path(value: Any, what: str) -> None:
    """Refuse what cannot be a path.

    Raises:
        UserError: It is neither a text nor a path; the error calls it `what`.
    """
    if not isinstance(value, (str, os.PathLike)):
        raise UserError(f"{what} must be a path, not {type_of(value)}")
