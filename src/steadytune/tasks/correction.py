"""The built-in task "correction": write a sentence correctly, which half of the time it is already."""

from __future__ import annotations

from steadytune.kinds import KINDS
from steadytune.study import TaskSpec
from steadytune.tasks.base import Examples, Task
from steadytune.tasks.builtin import Judgement, check_generated, generate
from steadytune.tasks.files import make_task
from steadytune.tasks.paradigms import PHENOMENA, adverb, quantifier, transitivity
from steadytune.tasks.prompts import GENERATION

PROMPT = "Correct the sentence if it is wrong: "
# Their wrong sentences do not tell which verb, which determiner or which place was meant.
_OPEN = (transitivity, quantifier, adverb)
DETERMINED = tuple(tuple(one for one in paradigms if one not in _OPEN) for paradigms in PHENOMENA.values())
"""The paradigms of each phenomenon in which the wrong sentence of a pair determines the right one."""


class _Correction:
    name = "correction"

    def load(self, spec: TaskSpec) -> Task:
        """Generate the task: of each minimal pair one sentence, to be answered by the acceptable one.

        The validation set depends only on its own size and the seed; none of its pairs is trained on.

        Raises:
            UserError: The spec refers to files, the chosen metric does not fit, or the validation set leaves no
                sentences for training.
        """
        check_generated(spec)
        seed = spec.seed % 2**64
        # Other streams than those of the acceptability judgements.
        validation = generate(2 * spec.validation_examples, [seed, 3], phenomena=DETERMINED)
        seen = {judgement.sentence for judgement in validation}
        train = generate(2 * spec.train_examples, [seed, 2], excluded=seen, phenomena=DETERMINED)
        return make_task(
            spec,
            (),
            KINDS[GENERATION].task_metrics,
            kind=GENERATION,
            train=_examples(train),
            validation=_examples(validation),
        )


CORRECTION = _Correction()


def _examples(judgements: list[Judgement]) -> Examples:
    """Return one example of each pair; of every phenomenon the wrong and the right sentence in turn."""
    prompts, references = [], []
    for number, pair in enumerate(zip(judgements[::2], judgements[1::2], strict=True)):
        wrong, right = sorted(pair, key=lambda judgement: judgement.label)
        lap, place = divmod(number, len(DETERMINED))
        prompts.append(PROMPT + (right if (lap + place) % 2 else wrong).sentence)
        references.append((right.sentence,))
    return Examples.prompted(prompts, references)
