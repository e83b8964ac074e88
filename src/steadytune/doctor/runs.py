"""Diagnose recorded runs: which failed, when, and where the gradients vanished."""

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
    """Return the step from which the loss stays near chance; None if it does not end there.

    From that step on, the mean over the rest of the training, taken from any later step, is at least 0.9 times the loss
    at chance. The last tenth is never split: a mean of two batches is not informative.

    Args:
        curve: The plain task loss.
        steps: The steps at which it was recorded.
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
    """Return the step from which a gradient's norm stays below a hundredth of its first value.

    None if it does not, or only in the last tenth of the training.
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
    """Return the first index from which `holds` is true to the end; None if there is none."""
    breaks = np.flatnonzero(~holds)
    first = int(breaks[-1]) + 1 if len(breaks) else 0
    return first if first < len(holds) else None


def run_findings(records: Sequence[RunRecord], where: str, chance: float | None) -> list[Finding]:
    """Report which runs of one recipe failed, and when.

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
    """Report runs that did not fail but learned almost nothing from their training set."""
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
            why=(
                "Such runs differ as much as their random heads do, or hardly at all; neither says much about the "
                "recipe."
            ),
            source=f"our rule: the training loss over the last tenth is above {HARDLY_BEGUN} times the loss at chance",
            advice="train for more epochs or at a higher rate until the training loss has fallen; then measure again",
        )
    ]


_KINDS = {
    "diverged": {
        "title": "runs diverged",
        "why": "The loss or output became non-finite: steps were too long, or numbers too large for the precision.",
        "source": "recorded",
        "advice": "use a lower learning rate, more warm-up, or training.clip: 1.0",
    },
    "crashed": {
        "title": "runs crashed",
        "why": "They raised an error, which says nothing about stability.",
        "source": "recorded",
        "advice": "fix the cause, delete the run's folder, and start the same command again",
    },
    "collapsed": {
        "title": "runs collapsed",
        "why": (
            "The loss is that of giving every text the same answer. Where the gradients of the lower blocks have "
            "vanished, these blocks stop learning, and only the blocks above them still move."
        ),
        "source": (
            "vanishing gradients in failed runs: Mosbach et al., arXiv 2006.04884, from memory; measured with the "
            f"offline model: gradients of the lower blocks vanished and the total norm did not; {_THRESHOLDS}"
        ),
        "advice": "first try a lower learning rate and warm-up; report these runs separately",
    },
    "majority": {
        "title": "runs score no better than a constant answer",
        "why": "The training loss fell below chance: what was learned does not generalize to the measured examples.",
        "source": f"recorded; {_THRESHOLD}",
        "advice": "use more training examples or fewer wrong labels; other seeds will not help",
    },
    "unexplained": {
        "title": "runs score no better than a constant answer",
        "why": "The cause is unknown: no task loss was recorded, or there is no loss at chance to compare it with.",
        "source": "recorded",
        "advice": "look at the curves in run.json",
    },
}
_FROZEN = {
    "title": "runs collapsed",
    "why": "The loss is that of giving every text the same answer: the head found no direction in the frozen features.",
    "source": f"recorded; {_THRESHOLD}",
    "advice": "try another training.learning_rate or training.pooling, more epochs, or training.mode: full",
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
    place = f"from step {since:g} of {steps[-1]:g}" if since != steps[0] else "throughout"
    story = f"{score}, loss at chance ({chance:.3f}) {place}"
    return "collapsed", story if record.spec.training.mode == "head" else f"{story}; {_gradients(record)}"


def _gradients(record: RunRecord) -> str:
    """Describe where the gradients vanished, as far as recorded."""
    steps = record.curves.get("gradient_step")
    if steps is None:
        return "gradients by depth not recorded"
    gone: dict[str, float] = {}
    for name, curve in record.curves.items():
        if name not in {"gradient_step", "gradient_top"} and name.startswith("gradient_"):
            since = vanished_since(curve, steps)
            if since is not None:
                gone[name.removeprefix("gradient_").replace("_", " ")] = since
    if not gone:
        return "gradients did not vanish at any depth"
    blocks = [name for name in gone if name.startswith("block ")]
    names = [name for name in gone if name not in blocks]
    # Gradients vanish from the bottom up: the ends of the range name the blocks.
    names += [f"blocks {blocks[0][6:]} to {blocks[-1][6:]}"] if len(blocks) > 1 else blocks
    first, last = min(gone.values()), max(gone.values())
    when = f"from step {first:g}" if first == last else f"first from step {first:g}, everywhere from step {last:g}"
    return f"gradients vanished in {listed(names)}, {when}"
