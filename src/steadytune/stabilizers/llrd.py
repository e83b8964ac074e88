"""Layer-wise learning rate decay: the deeper a block, the smaller its learning rate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from steadytune.stabilizers.base import Group, Stabilizer
from steadytune.stabilizers.context import Run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn


class LLRD(Stabilizer):
    """Train the head at eta, the k-th block from the top at eta * decay^k, the embeddings at eta * decay^(L + 1).

    Lower blocks contain general knowledge of language, which few examples should change little.

    Source: Howard & Ruder, arXiv 1801.06146 (ULMFiT, there a factor of 1/2.6 per layer, recalled), for BERT in Zhang et
    al., arXiv 2006.05987, in whose public code the decay of 0.95 and these exponents were read. Pooler and final norm
    go with the head, as there.

    Differs from public code: depth is determined by the model's structure, not by names, so it works inside PEFT's
    wrappers, where adapters have the rate of their block. Blocks of an encoder-decoder are counted from the decoder's
    top down to the encoder's bottom. A language model's last layer has the rate eta of a head, unless it shares the
    embeddings' weight, which has theirs. ALBERT's layers share one block, whose rate is eta * decay.

    Cost: nothing per step except smaller parameter groups.

    Attributes:
        decay: Factor from one block to the next lower one.
    """

    name: ClassVar[str] = "llrd"
    whole_embeddings: ClassVar[bool] = False
    wrong_mode: ClassVar[str] = "llrd lowers the learning rates of blocks, which mode 'head' freezes: use mode 'full'"

    decay: Annotated[float, Field(gt=0, le=1)] = 0.95

    def parameter_groups(self, run: Run, groups: list[Group]) -> list[Group]:
        """Split groups by depth, each with its own rate."""
        if self.decay == 1:
            return groups
        run.parts.need_blocks(self.name)
        return split_by_depth(groups, run.parts.levels, self.decay)


def split_by_depth(groups: list[Group], levels: Sequence[Sequence[nn.Parameter]], decay: float) -> list[Group]:
    """Split an optimizer's groups so that the rate falls by `decay` from each level to the next lower one.

    Args:
        groups: Each with "params" and "lr"; other entries are kept.
        levels: Weights by depth; the last level keeps its rate.
        decay: Factor per level.
    """
    depth = {weight: level for level, weights in enumerate(levels) for weight in weights}
    split: list[Group] = []
    for group in groups:
        by_level: dict[int, list[nn.Parameter]] = {}
        for weight in group["params"]:
            by_level.setdefault(depth[weight], []).append(weight)
        for level, weights in sorted(by_level.items()):
            rate = group["lr"] * decay ** (len(levels) - 1 - level)
            split.append({**group, "params": weights, "lr": rate})
    return split
