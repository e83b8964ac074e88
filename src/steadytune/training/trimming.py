"""Training with those rows of the word embeddings that some example uses, and no others: the same bits, sooner.

Most words of a vocabulary occur in no example of a small training set, and in a small encoder their rows are half of
the weights. Their gradients are 0, and so are AdamW's moments of them: all that happens to such a row is the product
with 1 - rate x decay in each step, which can be taken at the end. It is no setting and part of no run's id, as nothing
shows it:

- What remains keeps its order, so that norms of gradients, and with them clipping, add the same numbers in the same
  order: a norm on the CPU is a sum over each place of a register, to which zeros add nothing, as long as the width of a
  row is a multiple of the registers'. The same holds for an optimizer that treats the end of an array in another way.
- Whenever the weights are looked at from outside, the matrix is whole.
- Methods that look at the weights of embeddings switch it off (`Stabilizer.whole_embeddings`).

On an accelerator sums have another order, so there is no trimming.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from steadytune.models.parts import find_parts
from steadytune.stabilizers import Stabilizer

# Floats in a cache line, of which torch makes its pieces: a multiple of every vector register.
_REGISTERS = 16
# Rows of which the products of all steps are taken while they are in the cache.
_ROWS = 128


def trimmed_embeddings(
    model: nn.Module, words: Iterable[int], stabilizers: Sequence[Stabilizer]
) -> TrimmedEmbeddings | None:
    """Return the trimmed word embeddings of a model, or None if there is nothing to leave out, or no way to.

    Args:
        model: Equipped for a training by AdamW.
        words: Ids of the words that some batch of the training may have, padding included.
        stabilizers: Of its training.
    """
    parts = find_parts(model)
    layer = parts.embeddings
    # A subclass, such as one that scales its vectors, and layers wrapped by adapters may read their weights themselves.
    if type(layer) is not nn.Embedding or parts.output is not None or parts.decoder is not None:
        return None
    weight = layer.weight
    if any(method.whole_embeddings for method in stabilizers) or not weight.requires_grad:
        return None
    if weight.device.type != "cpu" or weight.dtype != torch.float32 or weight.shape[1] % _REGISTERS:
        return None
    owners = sum(one is weight for module in model.modules() for one in module._parameters.values())
    if owners > 1 or layer.max_norm is not None or layer.sparse or layer.scale_grad_by_freq:
        return None
    held = {*words} if layer.padding_idx is None else {*words, layer.padding_idx}
    used = torch.tensor(sorted(word for word in held if 0 <= word < len(weight)))
    return TrimmedEmbeddings(layer, used) if 0 < len(used) < len(weight) else None


class TrimmedEmbeddings:
    """A layer of embeddings that can be trained without its unused rows, and made whole again.

    Args:
        layer: The layer, whose weight stays the same parameter throughout.
        used: (n,) ids of the rows that are used, in ascending order, with that of padding if the layer knows it.
    """

    def __init__(self, layer: nn.Embedding, used: Tensor) -> None:
        self.layer, self.used = layer, used
        self.whole = layer.weight.data
        self._padding = layer.padding_idx
        # Any other id has no row, and is an IndexError.
        self._places = torch.full((len(self.whole),), -1)
        self._places[used] = torch.arange(len(used))
        self._factors: list[float] = []
        self._hook: Any = None

    def trim(self) -> None:
        """Leave the unused rows out until `restore`."""
        self._place(self.whole[self.used])
        if self._padding is not None:
            self.layer.padding_idx = int(self._places[self._padding])
        self._hook = self.layer.register_forward_pre_hook(self._translate)

    def note(self, optimizer: Optimizer) -> None:
        """Take note of a step that an optimizer is about to take."""
        weight = self.layer.weight
        if self._hook is None or weight.grad is None:
            return
        group = next(group for group in optimizer.param_groups if any(one is weight for one in group["params"]))
        if (factor := 1 - group["lr"] * group["weight_decay"]) != 1:
            self._factors.append(factor)

    @torch.no_grad()
    def restore(self) -> None:
        """Make the matrix whole: with the trained rows, and the others as the steps would have left them."""
        if self._hook is None:
            return
        self._hook.remove()
        self._hook = None
        for rows in self.whole.split(_ROWS):
            for factor in self._factors:
                rows.mul_(factor)
        self._factors.clear()
        self.whole[self.used] = self.layer.weight.data
        self._place(self.whole)
        self.layer.padding_idx = self._padding

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Have the matrix whole for a while."""
        self.restore()
        try:
            yield
        finally:
            self.trim()

    def _place(self, rows: Tensor) -> None:
        weight = self.layer.weight
        weight.grad = None
        weight.data = rows

    def _translate(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (self._places[inputs[0]], *inputs[1:])
