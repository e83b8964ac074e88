"""Recorded runs: which failed, when, and in which layers the gradients had vanished."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from steadytune.analysis.learned import HARDLY_BEGUN, hardly_begun, loss_story
from steadytune.analysis.sentences import listed, scored
from steadytune.doctor.findings import Finding
from steadytune.metrics import recorded
from steadytune.records import RunRecord

Curve = list[float | None]

_NEAR_CHANCE = 0.9
_VANISHED = 0.01
_TAIL = 0.1
_THRESHOLD = f"thresholds are ours: mean loss above {_NEAR_CHANCE} of chance"
_THRESHOLDS = f"{_THRESHOLD}, gradients below {_VANISHED:.0%} of the first ones"


def stuck_since(curve: Curve, steps: Curve, chance: float) -> float | None:
    """Return the step from which on the loss stays near chance; None where in the end it does not.

    From there on the mean over the rest of the training, from whatever step it is taken, is at least 0.9 of the loss at
    chance. The last tenth stays whole: a mean of two batches says nothing.

    Args:
        curve: The plain task loss.
        steps: Where it was taken.
        chance: Loss of a model that has learned nothing, in nats.
    """
    known = [(step, loss) for step, loss in zip(steps, curve, strict=True) if step is not None and loss is not None]
    losses = np.array([loss for _, loss in known])
    if not len(losses):
        return None
    tails = losses[::-1].cumsum()[::-1] / np.arange(len(losses), 0, -1)
    since = _first_of_the_rest(tails[: _last_start(len(losses)) + 1] >= _NEAR_CHANCE * chance)
    return None if since is None else known[since][0]


def vanished_since(curve: Curve, steps: Curve) -> float | None:
    """Return the step from which on a gradient's norm stays below a hundredth of the first.

    None where it does not, or only in the last tenth of the training.
    """
    known = [(step, norm) for step, norm in zip(steps, curve, strict=True) if step is not None and norm is not None]
    if not known:
        return None
    since = _first_of_the_rest(np.array([norm for _, norm in known]) < _VANISHED * known[0][1])
    return None if since is None or since > _last_start(len(known)) else known[since][0]


def _last_start(points: int) -> int:
    """Return where the last tenth of a curve begins."""
    return points - max(1, math.ceil(_TAIL * points))


def _first_of_the_rest(holds: NDArray[np.bool_]) -> int | None:
    """Return the first place from which on something holds to the end."""
    breaks = np.flatnonzero(~holds)
    first = int(breaks[-1]) + 1 if len(breaks) else 0
    return first if first < len(holds) else None


def run_findings(records: Sequence[RunRecord], where: str, chance: float | None) -> list[Finding]:
    """Say which runs of one recipe failed, and when.

    Args:
        records: Its runs.
        where: Name of the recipe.
        chance: Loss of a model that has learned nothing, in nats; None for a regression.
    """
    stories: dict[str, list[str]] = {}
    frozen = any(record.spec.training.mode == "head" for record in records)
    for record in records:
        if record.failed:
            kind, story = _story(record, chance)
            stories.setdefault(kind, []).append(f"seed {record.spec.seeds.label}: {story}")
    findings = [
        Finding(
            severity="high",
            where=where,
            found=f"{len(told)} of {len(records)} runs. {'; '.join(told)}",
            **(_FROZEN if frozen and kind == "collapsed" else _KINDS[kind]),
            rule=kind,
        )
        for kind, told in stories.items()
    ]
    return [*findings, *_hardly_begun([record for record in records if not record.failed], where, chance)]


def _hardly_begun(records: Sequence[RunRecord], where: str, chance: float | None) -> list[Finding]:
    """Say which of the runs that did not fail had learned next to nothing of their training set."""
    if chance is None or not records:
        return []
    losses = np.array([record.loss_ends for record in records])
    chosen = hardly_begun(losses, chance)
    if not chosen.any():
        return []
    return [
        Finding(
            rule="hardly-begun",
            severity="medium",
            title="training had hardly begun",
            where=where,
            found=f"{np.count_nonzero(chosen)} of {len(records)} runs: {loss_story(losses[chosen], chance)}",
            why="Such runs differ as their random heads do, or hardly at all; both say little of the recipe.",
            source=f"ours: the training loss of the last tenth is above {HARDLY_BEGUN} of that of guessing",
            advice="more epochs or a higher learning rate, until the training loss has fallen; then measure again",
        )
    ]


_KINDS = {
    "diverged": {
        "title": "runs diverged",
        "why": "Loss or output were no longer finite: steps were too long, or numbers too large for the precision.",
        "source": "recorded",
        "advice": "a lower learning rate, more warm-up, training.clip: 1.0",
    },
    "crashed": {
        "title": "runs crashed",
        "why": "They raised an error, which says nothing about stability.",
        "source": "recorded",
        "advice": "mend the cause, delete the run's folder, and start the same command again",
    },
    "collapsed": {
        "title": "runs collapsed",
        "why": (
            "The loss is that of one answer for all texts. Where the gradients of the lower blocks have vanished, "
            "these blocks no longer learn, and what is above them moves alone."
        ),
        "source": (
            "vanishing gradients in failed runs: Mosbach et al., arXiv 2006.04884, recalled; measured with the offline "
            f"model, where those of the lower blocks vanished and the total norm did not; {_THRESHOLDS}"
        ),
        "advice": "a lower learning rate and warm-up first; report these runs apart from the others",
    },
    "majority": {
        "title": "runs score no better than one answer",
        "why": "In training the loss fell below chance: what was learned does not carry over to the measured examples.",
        "source": f"recorded; {_THRESHOLD}",
        "advice": "more training examples or fewer wrong labels; other seeds are no cure",
    },
    "unexplained": {
        "title": "runs score no better than one answer",
        "why": "Why is not known: the record holds no plain task loss to be held against chance.",
        "source": "recorded",
        "advice": "look at the curves in run.json",
    },
}
_FROZEN = {
    "title": "runs collapsed",
    "why": "The loss is that of one answer for all texts: the head found no direction in the frozen features.",
    "source": f"recorded; {_THRESHOLD}",
    "advice": "another training.learning_rate or training.pooling, more epochs, or training.mode: full",
}


def _story(record: RunRecord, chance: float | None) -> tuple[str, str]:
    if record.status != "done":
        return record.status, record.reason or "no reason recorded"
    score = f"{record.metric} {scored(record.score or 0.0, recorded(record.metric))}"
    steps, losses = record.curves.get("step", []), record.task_loss
    if chance is None or not losses:
        return "unexplained", score
    since = stuck_since(losses, steps, chance)
    if since is None:
        return "majority", score
    place = f"from step {since:g} of {steps[-1]:g} on" if since != steps[0] else "throughout"
    story = f"{score}, loss at chance ({chance:.3f}) {place}"
    return "collapsed", story if record.spec.training.mode == "head" else f"{story}; {_gradients(record)}"


def _gradients(record: RunRecord) -> str:
    """Say where the gradients had vanished, as far as it was recorded."""
    steps = record.curves.get("gradient_step")
    if steps is None:
        return "gradients by depth were not recorded"
    gone: dict[str, float] = {}
    for name, curve in record.curves.items():
        if name not in {"gradient_step", "gradient_top"} and name.startswith("gradient_"):
            since = vanished_since(curve, steps)
            if since is not None:
                gone[name.removeprefix("gradient_").replace("_", " ")] = since
    if not gone:
        return "gradients had not vanished at any depth"
    blocks = [name for name in gone if name.startswith("block ")]
    names = [name for name in gone if name not in blocks]
    # Gradients vanish from below: the ends of the range say which blocks.
    names += [f"blocks {blocks[0][6:]} to {blocks[-1][6:]}"] if len(blocks) > 1 else blocks
    first, last = min(gone.values()), max(gone.values())
    when = f"from step {first:g} on" if first == last else f"in the first from step {first:g} on, in all from {last:g}"
    return f"gradients vanished in {listed(names)}, {when}"
