"""Errors caused by the user's input, in one or two lines.

`UserError` is the only exception that the command line turns into a message and exit code 2; every other exception is a
bug of ours and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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
    closest = difflib.get_close_matches(name.lower(), valid, n=1, cutoff=0.5)
    hint = f"did you mean '{closest[0]}'? " if closest else ""
    return UserError(f"unknown {kind} '{name}': {hint}valid: {', '.join(valid)}")
