"""The built-in task "acceptability": is an English sentence acceptable? Generated, so it needs no file or network."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from steadytune.errors import UserError
from steadytune.study import TaskSpec
from steadytune.tasks.base import Examples, Task
from steadytune.tasks.files import make_task
from steadytune.tasks.paradigms import PHENOMENA, Paradigm
from steadytune.tasks.phrases import Draw, Pair, sentence

LABEL_NAMES = ("unacceptable", "acceptable")
PATIENCE = 1000
"""Number of draws without a new pair after which a paradigm counts as exhausted."""


class Judgement(NamedTuple):
    """A sentence, 1 if it is acceptable or 0, and the paradigm that generated it."""

    sentence: str
    label: int
    paradigm: str


class _Acceptability:
    name = "acceptability"

    def load(self, spec: TaskSpec) -> Task:
        """Generate the task, as `load_acceptability`.

        Raises:
            UserError: The spec refers to files.
        """
        check_generated(spec)
        return load_acceptability(spec)


ACCEPTABILITY = _Acceptability()


def check_generated(spec: TaskSpec) -> None:
    """Reject options that say how files are read.

    Raises:
        UserError: One is given.
    """
    for option in ("path", "columns", "label", "group", "no_label", "encoding", "positive"):
        if getattr(spec, option) != TaskSpec.model_fields[option].default:
            raise UserError(f"task '{spec.name}' is generated: it has no {option}")


def load_acceptability(spec: TaskSpec) -> Task:
    """Generate the task.

    The validation set depends only on its own size and the seed; none of its sentences is trained on.

    Raises:
        UserError: The chosen metric does not fit, or the validation set leaves no sentences for training.
    """
    # The generator accepts no negative seeds.
    seed = spec.seed % 2**64
    validation = generate(spec.validation_examples, [seed, 1])
    train = generate(spec.train_examples, [seed, 0], excluded={judgement.sentence for judgement in validation})
    return make_task(
        spec,
        LABEL_NAMES,
        ("accuracy", "matthews"),
        kind="classification",
        train=_examples(train),
        validation=_examples(validation),
    )


def generate(
    count: int,
    seed: int | Sequence[int],
    excluded: Collection[str] = (),
    phenomena: Sequence[Sequence[Paradigm]] = tuple(PHENOMENA.values()),
) -> list[Judgement]:
    """Draw labelled sentences: minimal pairs, cycling through the phenomena.

    Args:
        count: Number of sentences; an even number is balanced. A larger sample begins with the smaller one.
        seed: Seed of the draw.
        excluded: Sentences that must not occur.
        phenomena: The paradigms of each phenomenon.

    Returns:
        Sentences without duplicates, as far as a paradigm has enough.

    Raises:
        UserError: A paradigm has no sentences other than the excluded ones.
    """
    rng = np.random.default_rng(seed)
    draw = Draw(rng)
    held_out, seen = frozenset(excluded), set[str]()
    result: list[Judgement] = []
    while len(result) < count:
        paradigm = draw.pick(phenomena[len(result) // 2 % len(phenomena)])
        pair = _new_pair(draw, paradigm, held_out, seen)
        seen.update(pair)
        judgements = [Judgement(text, label, paradigm.__name__) for text, label in zip(pair, (1, 0), strict=True)]
        result += judgements if draw.chance() else judgements[::-1]
    return result[:count]


def _new_pair(draw: Draw, paradigm: Paradigm, excluded: frozenset[str], seen: set[str]) -> Pair:
    for attempt in range(2 * PATIENCE):
        right, wrong = map(sentence, paradigm(draw))
        if not excluded.isdisjoint((right, wrong)):
            continue
        if attempt >= PATIENCE or seen.isdisjoint((right, wrong)):
            return right, wrong
    raise UserError("the generated task has no sentences left for training: lower task.validation_examples")


def _examples(judgements: Sequence[Judgement]) -> Examples:
    return Examples(
        tuple(((judgement.sentence, None),) for judgement in judgements),
        np.array([judgement.label for judgement in judgements], dtype=np.int64),
    )
