"""What a user can do wrong, said in one or two lines.

`UserError` is the only exception that the command line turns into a message and exit code 2; every other exception is a
bug of ours and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake in the input: the message says what was wrong, where, and what would be right."""


class FolderWarning(UserWarning):
    """Something was left aside, a damaged run of a folder say; the command line prints it as a note."""


def machine_fault(error: OSError) -> UserError:
    """Build the error for what the machine refused: no permission, no room, a file where a folder should be.

    It is nobody's fate but the machine's: what was being done can be done again when the cause is gone.
    """
    where = f"{error.filename}: " if error.filename is not None else ""
    what = error.strerror or " ".join(str(error).split())[:200] or type(error).__name__
    return UserError(f"{where}{what}")


def unknown_name(kind: str, name: str, choices: Iterable[str]) -> UserError:
    """Build the error for a name that is not among `choices`, naming the closest one that is.

    Args:
        kind: What the name stands for, such as "stabilizer".
        name: The name that was given.
        choices: All valid names.
    """
    valid = sorted(choices)
    closest = difflib.get_close_matches(name.lower(), valid, n=1, cutoff=0.5)
    hint = f"did you mean '{closest[0]}'? " if closest else ""
    return UserError(f"unknown {kind} '{name}': {hint}valid: {', '.join(valid)}")
