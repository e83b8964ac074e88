"""Safe terminal output: names of files and folders may hold control characters."""

from __future__ import annotations

import sys
import warnings
from contextlib import suppress
from typing import TextIO

from steadytune.errors import FolderWarning

# Control characters become their Unicode pictures; marks that change the direction of text have none.
_HARMFUL = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n"}
_HARMFUL |= {0x7F: 0x2421, **dict.fromkeys([*range(0x80, 0xA0), 0x2028, 0x2029], 0xFFFD)}
_HARMFUL |= dict.fromkeys([0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)], 0xFFFD)


def printable(text: object) -> str:
    """Replace terminal control characters: escapes, carriage returns, changes of text direction."""
    return str(text).translate(_HARMFUL)


def on_one_line(text: object) -> str:
    """Do what `printable` does and also replace line breaks and tabs, for a table cell."""
    return printable(text).replace("\n", "␊").replace("\t", "␉")


def say(text: object = "") -> None:
    """Print a line."""
    print(printable(text))


def complain(text: object) -> None:
    """Print a line on standard error, if it is still open."""
    with suppress(OSError):
        print(printable(text), file=sys.stderr, flush=True)


def show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a warning as a note; replaces `warnings.showwarning`."""
    if issubclass(category, FolderWarning):
        complain(f"note: {message}")
    else:
        complain(warnings.formatwarning(str(message), category, filename, lineno, line).rstrip("\n"))
