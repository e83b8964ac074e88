"""The mean loss of a model on data as a function of its weights: value, gradient, Hessian-vector products.

Vectors of weights are flat: all trained weights of a model concatenated, P numbers in the model's own precision. A
model made float64 (`model.double()`) is measured in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from steadytune.errors import UserError
from steadytune.kinds import KINDS
from steadytune.kinds.base import Criterion
from steadytune.models.modules import evaluating
from steadytune.models.random_state import preserved_random_state, spread
from steadytune.study import RunSpec
from steadytune.theory.inputs import need_all_weights
from steadytune.training.data import batches, run_data
from steadytune.training.loading import build_model

Batch = Mapping[str, Tensor] | tuple[Tensor, Tensor]
"""Keyword arguments of a model and "labels", as `training.data.Collator` makes them, or (input, labels)."""


def hessian_vector_product(loss_fn: Callable[[], Tensor], params: Sequence[Tensor], v: Tensor) -> Tensor:
    """Return H v, H being the Hessian of a loss, without forming H: the gradient of <gradient, v>.

    Costs about two forward and backward passes (Pearlmutter, "Fast exact multiplication by the Hessian", Neural
    Computation 6, 1994). torch's fused attention kernels have no second derivative, so inside this function attention
    is computed by torch's plain formula, whatever the model is set to use.

    Args:
        loss_fn: Computes the loss, a scalar, at the current weights.
        params: The weights; those that the loss does not use have rows of zeros in H.
        v: (P,), in the order of `params`.

    Returns:
        (P,).

    Raises:
        UserError: The model has an operation without a second derivative.
    """
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        try:
            gradient = torch.autograd.grad(loss_fn(), params, create_graph=True, materialize_grads=True)
            # Summed by parts: one long vector of them all, with its graph, takes a tenth of the time.
            parts = v.split([len(row.flatten()) for row in gradient])
            slope = torch.stack([row.flatten() @ part for row, part in zip(gradient, parts, strict=True)]).sum()
            # A loss that is linear in the weights has a gradient that depends on none of them.
            if not slope.requires_grad:
                return torch.zeros_like(v)
            _refuse_blocked(slope)
            rows = torch.autograd.grad(slope, params, materialize_grads=True)
        except RuntimeError as error:
            if "is not implemented" not in str(error):
                raise
            raise _no_second_derivative(str(error).strip().partition("\n")[0][:160]) from error
    return parameters_to_vector(rows).detach()


def _refuse_blocked(slope: Tensor) -> None:
    """Refuse a graph with a `once_differentiable` operation: torch skips its part silently.

    torch puts a node named Error in its place, which raises when it is reached. But as no node comes after it, a
    backward pass to given weights does not reach it.
    """
    ahead, seen = [slope.grad_fn], set()
    while ahead:
        node = ahead.pop()
        if node is None or node in seen:
            continue
        if node.name().endswith("::Error"):
            raise _no_second_derivative("it is marked once_differentiable")
        seen.add(node)
        ahead.extend(following for following, _ in node.next_functions)


def _no_second_derivative(reason: str) -> UserError:
    return UserError(
        f"the model has an operation without a second derivative ({reason}): if it is attention, load the model with "
        "attn_implementation='eager'"
    )


class MeanLoss:
    """F(w) = (1/n) sum_i f_i(w): the mean loss of a model on n examples, as a function of its P trained weights.

    The model is evaluated without dropout, as a function must have one value, and its mode is restored afterwards. Its
    trained weights are those that require a gradient; F is evaluated at the current weights.

    Args:
        model: Returns logits, or an object that has them.
        batches: All examples; batches may differ in size.
        criterion: (logits, labels) -> mean loss of a batch, such as `Kind.criterion` gives.

    Attributes:
        model: As given.
        parameters: The trained weights, in the order of `model.parameters()`.
        size: P.

    Raises:
        UserError: No weight is trained, or there is no example.
    """

    def __init__(self, model: nn.Module, batches: Sequence[Batch], criterion: Criterion) -> None:
        self.model, self.batches, self.criterion = model, batches, criterion
        self.parameters = [weight for weight in model.parameters() if weight.requires_grad]
        if not self.parameters:
            raise UserError("the model has no trainable weights: all have requires_grad=False")
        self.size = sum(weight.numel() for weight in self.parameters)
        self._examples = sum(len(_labels(batch)) for batch in batches)
        if not self._examples:
            raise UserError("no examples: a mean loss needs at least one")
        self._weight = 1 / self._examples

    def __len__(self) -> int:
        return self._examples

    @property
    def weights(self) -> Tensor:
        """A copy of w, (P,)."""
        return parameters_to_vector(self.parameters).detach().clone()

    def set_weights(self, w: Tensor) -> None:
        """Overwrite the trained weights of the model with w (P,)."""
        # A copy, since the weights of the model become views of the vector they are given.
        vector_to_parameters(w.clone(), self.parameters)

    @contextmanager
    def at(self, w: Tensor) -> Iterator[None]:
        """Set the weights to w (P,) inside the context, and restore them afterwards."""
        before = self.weights
        self.set_weights(w)
        try:
            yield
        finally:
            self.set_weights(before)

    def value(self) -> float:
        """Return F(w)."""
        with torch.inference_mode(), evaluating(self.model):
            return sum(float(self._share(batch)) for batch in self.batches)

    def gradient(self) -> Tensor:
        """Return the gradient of F, (P,)."""
        return self.value_and_gradient()[1]

    def value_and_gradient(self) -> tuple[float, Tensor]:
        """Return F(w) and its gradient, (P,)."""
        value, total = 0.0, self.parameters[0].new_zeros(self.size)
        for batch in self.batches:
            share, rows = self._slopes(batch)
            value += share
            total += parameters_to_vector(rows)
        return value, total

    def hessian_vector(self, v: Tensor) -> Tensor:
        """Return H v (P,) for v (P,), H being the Hessian of F.

        Raises:
            UserError: As for `hessian_vector_product`.
        """
        with evaluating(self.model):
            total = torch.zeros_like(v)
            for batch in self.batches:
                total += hessian_vector_product(partial(self._share, batch), self.parameters, v)
        return total

    def without(self, place: int) -> MeanLoss:
        """Return F - f_i / n: an example gets the weight 0, and all others keep 1/n and their padding.

        Args:
            place: i, in the order of the batches.
        """
        kept = []
        for batch in self.batches:
            others = [row for row in range(len(_labels(batch))) if row != place]
            place -= len(_labels(batch))
            if others:
                kept.append(_rows(batch, others))
        rest = MeanLoss(self.model, kept, self.criterion)
        rest._weight = self._weight
        return rest

    def examples(self) -> Iterator[MeanLoss]:
        """Yield f_1, ..., f_n in the order of the batches, padded as they are there."""
        for batch in self.batches:
            for row in range(len(_labels(batch))):
                yield MeanLoss(self.model, [_rows(batch, [row])], self.criterion)

    def example_terms(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return f_1, ..., f_n and the Euclidean norms of their gradients, (n,) each: one pass per example."""
        values, norms = [], []
        for example in self.examples():
            value, rows = example._slopes(example.batches[0])
            values.append(value)
            norms.append(float(torch.stack([row.norm() for row in rows]).norm()))
        return np.array(values), np.array(norms)

    def _slopes(self, batch: Batch) -> tuple[float, tuple[Tensor, ...]]:
        """Return the contribution of a batch to F, and its gradient with respect to each parameter."""
        with torch.enable_grad(), evaluating(self.model):
            share = self._share(batch)
            return float(share.detach()), torch.autograd.grad(share, self.parameters, materialize_grads=True)

    def _share(self, batch: Batch) -> Tensor:
        """Return the contribution of a batch to F."""
        device = self.parameters[0].device
        labels = _labels(batch).to(device)
        if isinstance(batch, Mapping):
            outputs: Any = self.model(**{name: value.to(device) for name, value in batch.items() if name != "labels"})
        else:
            outputs = self.model(batch[0].to(device))
        return self.criterion(getattr(outputs, "logits", outputs), labels) * (len(labels) * self._weight)


def _labels(batch: Batch) -> Tensor:
    return batch["labels"] if isinstance(batch, Mapping) else batch[1]


def _rows(batch: Batch, rows: list[int]) -> Batch:
    if isinstance(batch, Mapping):
        return {name: value[rows] for name, value in batch.items()}
    return batch[0][rows], batch[1][rows]


def run_loss(spec: RunSpec, batch_size: int = 64) -> MeanLoss:
    """Return the mean training loss of a run of full fine-tuning, at the run's initial weights.

    Args:
        spec: The run; its init seed draws the new layers. Stabilizers and weight decay are not part of the loss.
        batch_size: Examples per pass, shortest first.
    """
    need_all_weights(spec)
    data = run_data(spec)
    with preserved_random_state():
        torch.manual_seed(spread("init", spec.seeds.init))
        model = build_model(spec.model, data.task, spec.training, data.tokenizer)
    return MeanLoss(model, list(batches(data.train, data.collate, batch_size)), KINDS[data.task.kind].criterion())
