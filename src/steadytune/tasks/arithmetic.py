"""The built-in task "arithmetic": sums and differences of numbers below a hundred, asked and answered in words."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from steadytune.errors import UserError
from steadytune.kinds import KINDS
from steadytune.study import TaskSpec
from steadytune.tasks.base import Examples, Task
from steadytune.tasks.builtin import check_generated
from steadytune.tasks.files import make_task
from steadytune.tasks.prompts import GENERATION

_SMALL = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_LIMIT = 100


def in_words(number: int) -> tuple[str, ...]:
    """Return how a number from 0 to 199 is written in American English and, if it differs, in British English."""
    if number < len(_SMALL):
        return (_SMALL[number],)
    if number < _LIMIT:
        tens, ones = divmod(number, 10)
        return (_TENS[tens - 2] + (f"-{_SMALL[ones]}" if ones else ""),)
    rest = number - _LIMIT
    return tuple(f"one hundred {link}{in_words(rest)[0]}" for link in ("", "and ")) if rest else ("one hundred",)


@cache
def _pairs() -> NDArray[np.int64]:
    """Return every (larger, smaller) pair of numbers, (5050, 2)."""
    return np.stack(np.tril_indices(_LIMIT), axis=1).astype(np.int64)


class _Arithmetic:
    name = "arithmetic"

    def load(self, spec: TaskSpec) -> Task:
        """Generate the task. A sum counts as the same question whichever number comes first.

        The validation set depends only on its own size and the seed; none of its questions is trained on.

        Raises:
            UserError: The spec refers to files, the chosen metric does not fit, or there are not as many questions.
        """
        check_generated(spec)
        every, asked = 2 * len(_pairs()), spec.train_examples + spec.validation_examples
        if asked > every:
            raise UserError(
                f"task '{self.name}' has {every:,} questions, not {asked:,}: lower task.train_examples or "
                "task.validation_examples"
            )
        streams = [np.random.default_rng([spec.seed % 2**64, place]) for place in (0, 1)]
        order = streams[1].permutation(every)
        validation, rest = order[: spec.validation_examples], order[spec.validation_examples :]
        kept = streams[0].permutation(every)
        train = kept[np.isin(kept, rest)][: spec.train_examples]
        turned = streams[0].random(every) < 0.5
        return make_task(
            spec,
            (),
            KINDS[GENERATION].task_metrics,
            kind=GENERATION,
            train=_examples(train, turned),
            validation=_examples(validation, turned),
        )


ARITHMETIC = _Arithmetic()


def _examples(questions: NDArray[np.int64], turned: NDArray[np.bool_]) -> Examples:
    """Return questions by number: the sums, then the differences, of every pair.

    Args:
        questions: (N,) numbers of questions.
        turned: Whether the smaller number of a sum comes first, for each question.
    """
    prompts, references = [], []
    for question in questions.tolist():
        minus, pair = divmod(question, len(_pairs()))
        larger, smaller = _pairs()[pair].tolist()
        first, second = (smaller, larger) if turned[question] and not minus else (larger, smaller)
        operation = "minus" if minus else "plus"
        prompts.append(f"What is {in_words(first)[0]} {operation} {in_words(second)[0]}?")
        references.append(in_words(larger - smaller if minus else larger + smaller))
    return Examples.prompted(prompts, references)
