"""Registries of named entries: the built-in ones, imported when used, and those of other packages.

Another package declares what it adds in its `pyproject.toml`, one line each, and needs nothing else:

    [project.entry-points."steadytune.metrics"]
    my_metric = "their_package.my_metric:MY_METRIC"
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from steadytune.errors import FolderWarning, UserError, one_line, unknown_name

Entry = TypeVar("Entry")


class Registry(Mapping[str, Entry]):
    """Name -> entry, in a fixed order: built-in entries first, then those of other packages.

    Args:
        what: What an entry is called, in the singular; the entry-point group is "steadytune.<what>s".
        own: Name -> "module:attribute" within this package.
        check: Takes a name and another package's entry, and returns what is wrong with it, or "".
        reserved: Names that may not be used.
        hints: Name that is not an entry -> what to do instead.
    """

    def __init__(
        self,
        what: str,
        own: Mapping[str, str],
        check: Callable[[str, Any], str],
        *,
        reserved: Iterable[str] = (),
        hints: Mapping[str, str] | None = None,
    ) -> None:
        self.what, self.group = what, f"steadytune.{what}s"
        self._own, self._check = dict(own), check
        self._reserved, self._hints = frozenset(reserved), dict(hints or {})
        self._added: dict[str, Entry] = {}
        self._found: dict[str, tuple[EntryPoint, ...]] | None = None
        self._loaded: dict[str, Entry] = {}

    @property
    def _points(self) -> dict[str, tuple[EntryPoint, ...]]:
        if self._found is None:
            self._found = {}
            for point in entry_points(group=self.group):
                self._found[point.name] = (*self._found.get(point.name, ()), point)
        return self._found

    def names(self) -> list[str]:
        """Return all names."""
        return list(dict.fromkeys(name for name in (*self._own, *self._points, *self._added) if name in self))

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self.names())

    def __contains__(self, name: object) -> bool:
        known = name in self._own or name in self._points or name in self._added
        return known and name not in self._reserved

    def __getitem__(self, name: str) -> Entry:
        """Return an entry, importing it.

        Raises:
            UserError: No entry or several have this name, or another package's cannot be imported or is invalid.
        """
        others = self._points.get(name, ())
        if name in self._own:
            # Runs made with the built-in entry must not change their meaning when a package is installed.
            if others:
                owners = " and ".join(map(_package, others))
                warnings.warn(
                    f"{self.what} '{name}' is built into steadytune; {owners} must use another name",
                    FolderWarning,
                    stacklevel=2,
                )
            if name not in self._loaded:
                module, _, attribute = self._own[name].partition(":")
                self._loaded[name] = getattr(import_module(f"steadytune.{module}"), attribute)
            return self._loaded[name]
        if name in self._added:
            return self._added[name]
        if not others or name in self._reserved:
            raise self.unknown(name)
        if len(others) > 1:
            owners = " and by ".join(map(_package, others))
            raise UserError(f"{self.what} '{name}' is provided by {owners}: only one package may provide it")
        if name not in self._loaded:
            self._loaded[name] = self._load(name, others[0])
        return self._loaded[name]

    def _load(self, name: str, point: EntryPoint) -> Entry:
        try:
            entry: Any = point.load()
        except (Exception, SystemExit) as error:  # it is another package's code
            raise UserError(
                f"{self.what} '{name}': {_package(point)} cannot be imported: {one_line(error)}. "
                "Repair or uninstall that package"
            ) from error
        if wrong := self._check(name, entry):
            raise UserError(f"{self.what} '{name}': {_package(point)} {wrong}")
        return entry  # type: ignore[no-any-return]

    def unknown(self, name: str, what: str | None = None, also: Iterable[str] = ()) -> UserError:
        """Build the error for an unknown name, with a hint or the closest name.

        Args:
            name: The unknown name.
            what: What the name refers to, if not an entry of the registry.
            also: Other names that would have been valid.
        """
        if name in self._hints:
            return UserError(f"unknown {what or self.what} '{name}': {self._hints[name]}")
        error = unknown_name(what or self.what, name, [*also, *self.names()])
        return UserError(f"{error}; or install the package that provides it")

    @contextmanager
    def added(self, entry: Any) -> Iterator[None]:
        """Register an entry temporarily under its `name`, to try it before it is packaged.

        Raises:
            UserError: The entry is invalid, or its name is taken.
        """
        name = str(getattr(entry, "name", ""))
        if wrong := self._check(name, entry):
            raise UserError(f"{self.what} '{name}': this {wrong}")
        if name in self or name in self._reserved:
            raise UserError(f"{self.what} '{name}' exists already: use another name")
        self._added[name] = entry
        try:
            yield
        finally:
            del self._added[name]

    def forget(self) -> None:
        """Search for entry points again and re-import what they name."""
        self._found = None
        self._loaded.clear()


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} ({point.value})" if point.dist else point.value
