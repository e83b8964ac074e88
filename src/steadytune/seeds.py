"""Sources of randomness with one seed each, names of runs by their seeds, and grids of seeds."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from steadytune.config import LARGEST, Config

Factor = Literal["init", "order", "dropout", "data", "decoding", "replicate"]
FACTORS: tuple[Factor, ...] = get_args(Factor)
MOST_SEEDS = 10_000
"""Seeds of a study; each is a training of every recipe."""
# Digits of the largest seed.
_DIGITS = 18
_LABEL = re.compile(r"\d+|(\d+/){2,5}\d+")


# Seeds that were added after the first runs were named.
_ADDED = ("data", "decoding", "replicate")


class Seeds(Config):
    """Seeds of the sources of randomness: new weights, example order, dropout, training subset, and drawn words.

    `replicate` seeds nothing: it numbers the runs of the same seeds, which differ by what hardware and kernels add.

    `data`, `decoding` and `replicate` are exceptions: a plain number n does not set them, and they are 0 by default,
    which is the subset, and the stream of draws, that all runs of a study share, and the first run of its seeds. They
    are then omitted from everything written, so that a run keeps the name and id that it had before they existed.
    """

    init: Annotated[int, Field(ge=0)]
    order: Annotated[int, Field(ge=0)]
    dropout: Annotated[int, Field(ge=0)]
    data: Annotated[int, Field(ge=0)] = 0
    decoding: Annotated[int, Field(ge=0)] = 0
    replicate: Annotated[int, Field(ge=0)] = 0

    @model_serializer(mode="wrap")
    def _leave_out_shared(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = dump(self)
        return {name: value for name, value in content.items() if name not in _ADDED or value}

    @classmethod
    def all(cls, seed: int) -> Seeds:
        """Set init, order and dropout to one integer."""
        return cls(init=seed, order=seed, dropout=seed)

    @property
    def label(self) -> str:
        """Return "3" if all are 3, otherwise "init/order/dropout", or "3/0/0/2/1/4" with the further ones."""
        values = [getattr(self, factor) for factor in FACTORS]
        if len(set(values[:3])) == 1 and not any(values[3:]):
            return str(self.init)
        while len(values) > 3 and not values[-1]:
            values.pop()
        return "/".join(map(str, values))

    @classmethod
    def from_label(cls, label: str) -> Seeds | None:
        """Parse a label; None for any other name, such as those of runs trained elsewhere."""
        if not _LABEL.fullmatch(label) or max(map(len, label.split("/"))) > _DIGITS:
            return None
        values = list(map(int, label.split("/")))
        return cls.all(values[0]) if len(values) == 1 else cls(**dict(zip(FACTORS, values, strict=False)))


def one_or_many(value: Any) -> Any:
    """Wrap a single value in a list."""
    return value if isinstance(value, (list, tuple)) else [value]


class SeedGrid(Config):
    """Every combination of some values of the seeds that vary; the other seeds are 0.

    Attributes:
        vary: The seeds that vary.
        values: Number of values of each, starting at 0.
    """

    vary: Annotated[tuple[Factor, ...], BeforeValidator(one_or_many), Field(min_length=1)]
    values: Annotated[int, Field(ge=2)] = 5

    @field_validator("vary")
    @classmethod
    def _sort(cls, value: tuple[Factor, ...]) -> tuple[Factor, ...]:
        if len(set(value)) < len(value):
            raise ValueError("duplicate seed")
        return tuple(factor for factor in FACTORS if factor in value)

    @model_validator(mode="after")
    def _check_number(self) -> SeedGrid:
        if (number := self.values ** len(self.vary)) > MOST_SEEDS:
            runs = f"{number:,}" if number <= LARGEST else "far too many"
            raise ValueError(
                f"{self.values:,} values of {len(self.vary)} seeds make {runs} runs of each recipe: "
                f"at most {MOST_SEEDS:,}"
            )
        return self

    def seeds(self) -> tuple[Seeds, ...]:
        """Return the grid, smaller grids first, so that an interrupted study contains a complete one."""
        cells = sorted(itertools.product(range(self.values), repeat=len(self.vary)), key=max)
        fixed = dict.fromkeys(FACTORS, 0)
        return tuple(Seeds.model_validate({**fixed, **dict(zip(self.vary, cell, strict=True))}) for cell in cells)


def spelled(seeds: Sequence[Seeds]) -> int | dict[str, Any] | list[dict[str, Any]]:
    """Return the shortest plain data that a study parses as these seeds: a number, a grid, or a list."""
    if list(seeds) == [Seeds.all(seed) for seed in range(len(seeds))]:
        return len(seeds)
    taken = {factor: len({getattr(one, factor) for one in seeds}) for factor in FACTORS}
    vary = tuple(factor for factor in FACTORS if taken[factor] > 1)
    # The grid is expanded only if its size matches: four factors make large ones.
    if vary and len(seeds) == taken[vary[0]] ** len(vary):
        grid = SeedGrid(vary=vary, values=taken[vary[0]])
        if grid.seeds() == tuple(seeds):
            return grid.model_dump(mode="json")
    return [one.model_dump() for one in seeds]
