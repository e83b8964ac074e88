"""Entry point of this package: thousands of linear heads on the same features, trained as one problem."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray
from torch import Tensor

from steadytune.errors import UserError
from steadytune.kinds import KINDS
from steadytune.linear.descent import descend
from steadytune.linear.minibatch import MiniBatches, train_in_batches
from steadytune.linear.posing import Numbers, pose_problems
from steadytune.linear.problems import Heads, Loss, Reduction

if TYPE_CHECKING:
    from typing_extensions import Unpack


def fit_heads(
    features: Tensor | NDArray[Any],
    labels: Tensor | NDArray[Any],
    *,
    learning_rate: float | Numbers,
    epochs: int,
    batch_size: int | None = None,
    kind: str = "classification",
    loss: Loss = "softmax",
    num_outputs: int | None = None,
    reduction: Reduction = "mean",
    l2: float | Numbers = 0.0,
    init_seeds: Sequence[int] | None = None,
    init: Tensor | NDArray[Any] | None = None,
    scale: float = 0.02,
    heads: int = 1,
    bias: bool = True,
    sample_weights: Tensor | NDArray[Any] | None = None,
    left_out: Sequence[int] | NDArray[Any] | Tensor | None = None,
    at: Sequence[int] = (),
    tolerance: float = 0.0,
    progress: Callable[[float], None] = lambda share: None,
    **minibatch: Unpack[MiniBatches],
) -> Heads:
    """Train B problems, each of one or several linear heads, on shared features as one batched problem.

    Without `batch_size`, by full-batch gradient descent with a constant rate: two matrix products per step, in bounded
    memory. With it, by AdamW or SGD, every problem on the batches of its own order; see
    `linear.minibatch.train_in_batches` for its additional options. There is no dropout: features are frozen.

    B is the length of whatever is given per problem; other arguments apply to all. A leave-one-out objective that is
    divided by n instead of n - 1 is the sum with the rate divided by n.

    Args:
        features: (n, d), or (n, c, d) for choice tasks with c candidates. Training is in their precision, single or
            double, and on their device.
        labels: (n,) class or choice index, or target. Examples of only one class, or a single example, are accepted
            as well.
        learning_rate: Number or (B,); for mini-batches the peak, which is not checked against a limit.
        epochs: Passes. Without mini-batches each is one step.
        batch_size: Examples per step, or None for all.
        kind: Kind of task; "regression" and "choice" only in mini-batches.
        loss: Loss of a classification. "softmax": cross-entropy, one output per class. "logistic": log(1 + exp(-y z)),
            one output, y = 1 for class 1 and -1 for class 0; with more outputs the sum over each class against the
            rest.
        num_outputs: Number of outputs. By default one per class in the labels, or a single one for logistic loss of
            two.
        reduction: Whether to sum the weighted losses of the examples, or to divide that by the sum of the weights.
        l2: Number or (B,); l2 / 2 times the squared norm of the weights is added to the loss. The bias is not
            penalised.
        init_seeds: (B,) seeds of normal initial weights. Biases start at 0.
        init: (B, outputs, d) or (outputs, d) initial weights instead. Without either they are 0.
        scale: Standard deviation of drawn weights.
        heads: Independently drawn heads per problem, each trained on its own loss and averaged at the end.
        bias: Whether the heads have a bias. In the theory they do not.
        sample_weights: (B, n) or (n,), at least 0.
        left_out: (B,) index of an example with weight 0, -1 for none. `range(n)` is leave-one-out.
        at: Full batch: increasing steps at which to store the heads, in `Heads.snapshots`.
        tolerance: Full batch: a problem stops once no component of its gradient is larger.
        progress: Called with the share done, 0 to 1.
        **minibatch: Options of mini-batches; `order_seeds` is required.

    Returns:
        One head per problem.

    Raises:
        UserError: Features are not finite, labels are not classes, lengths differ, a number is out of range, an
            option cannot be combined with the others, or a full-batch learning rate is beyond the stability limit.
    """
    if epochs < 0 or (batch_size is not None and min(batch_size, epochs) < 1):
        raise UserError(
            f"epochs is {epochs} and batch_size {batch_size}: both must be at least 1, or epochs 0 without a batch_size"
        )
    order_seeds = minibatch.get("order_seeds")
    problems = pose_problems(
        features,
        labels,
        learning_rate=learning_rate,
        kind=kind,
        loss=loss,
        num_outputs=num_outputs,
        reduction=reduction,
        l2=l2,
        init_seeds=init_seeds,
        init=init,
        scale=scale,
        heads=heads,
        bias=bias,
        sample_weights=sample_weights,
        left_out=left_out,
        order_seeds=order_seeds,
    )
    if batch_size is None:
        if minibatch:
            raise UserError(f"{', '.join(minibatch)} need mini-batches: give batch_size, or leave them out")
        if not KINDS[kind].full_batch:
            raise UserError(f"full-batch gradient descent is for classification, not {kind}: give batch_size")
        return descend(problems, steps=epochs, at=at, tolerance=tolerance, progress=progress)
    if at or tolerance or order_seeds is None:
        raise UserError("mini-batches need order_seeds, one per problem, and support neither `at` nor `tolerance`")
    return train_in_batches(problems, epochs=epochs, batch_size=batch_size, progress=progress, **minibatch)
