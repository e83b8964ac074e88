"""Shards of a study: parts that a job array trains with no coordinator."""

from __future__ import annotations

import re
from collections.abc import Sequence

from steadytune.errors import UserError
from steadytune.grouped import grouped
from steadytune.study import RunSpec
from steadytune.sweep.plan import jobs

_SHARD = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")


def read_shard(given: object) -> tuple[int, int]:
    """Return the number of a shard, from 1 on, and how many there are.

    Args:
        given: The text "2/8", or the two numbers.

    Raises:
        UserError: It is neither, or there is no such shard.
    """
    found = _SHARD.fullmatch(given) if isinstance(given, str) else None
    numbers = tuple(map(int, found.groups())) if found else given
    if not (isinstance(numbers, (tuple, list)) and len(numbers) == 2 and all(type(one) is int for one in numbers)):
        raise UserError(f"a shard is a number and how many there are, such as 2/8 or (2, 8), not {given!r:.60}")
    number, count = numbers
    if not 1 <= number <= count:
        raise UserError(f"there is no shard {number}/{count}: shards are numbered from 1/{count} to {count}/{count}")
    return number, count


def shard_of(specs: Sequence[RunSpec], number: int, count: int) -> list[RunSpec]:
    """Return one of `count` parts of a study's runs, which together are all of them.

    It depends on nothing but the study: not on what is trained already, nor on when a shard starts. Every shard has
    its share of each cohort, to within one job. Runs that are trained together stay together.

    Args:
        specs: All runs of the study.
        number: Of the part, 1 to `count`.
        count: Number of parts.
    """
    cohorts = grouped(jobs(specs), lambda job: job.specs[0].cohort)
    dealt = [job for work in cohorts.values() for job in work][number - 1 :: count]
    ids = {one for job in dealt for one in job.ids}
    return [spec for spec in specs if spec.id in ids]
