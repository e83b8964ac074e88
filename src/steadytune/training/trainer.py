"""The transformers Trainer with stabilizers: use it in place of `Trainer` in any script."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer

from steadytune.errors import UserError
from steadytune.files import canonical_json, sha256
from steadytune.stabilizers import Pretraining, Stabilizer, Step, check_together
from steadytune.training.models import encoder_of, find_head, pool
from steadytune.training.seeds import preserved_random_state, spread

Criterion = Callable[[Tensor, Tensor], Tensor]


def task_criterion(kind: str) -> Criterion:
    """Return (logits (rows, outputs), labels (b,)) -> mean cross-entropy over classes or choices, or squared error."""

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        logits = logits.float()
        if kind == "regression":
            return nn.functional.mse_loss(logits.squeeze(-1), labels.float())
        if kind == "choice":
            logits = logits.view(len(labels), -1)
        return nn.functional.cross_entropy(logits, labels)

    return loss


class StableTrainer(Trainer):
    """`transformers.Trainer` that carries stabilizers.

    The last layer is wrapped as the model arrives and unwrapped after `train`, so that the model that is saved is a
    plain one. The loss is a per-batch mean, also under gradient accumulation.

    Args:
        stabilizers: Methods to apply together.
        task_kind: "classification", "regression" or "choice"; taken from the model's configuration unless given.
        kwargs: As `Trainer` takes them.

    Raises:
        UserError: A stabilizer means nothing here, or the model has no linear last layer.
    """

    loss_is_scaled_for_ga = False

    def __init__(
        self, *args: Any, stabilizers: Sequence[Stabilizer] = (), task_kind: str | None = None, **kwargs: Any
    ) -> None:
        try:
            check_together(stabilizers)
        except ValueError as error:
            raise UserError(str(error)) from error
        self.stabilizers = tuple(stabilizers)
        self.task_kind = task_kind
        self.measurements: dict[str, Any] = {}
        self.shared_seconds = 0.0
        self._features: Tensor | None = None
        self._complete = False
        super().__init__(*args, **kwargs)
        self._complete = True
        if self.label_smoother is not None or self.compute_loss_func is not None:
            raise UserError(
                "StableTrainer computes the loss itself: leave out label_smoothing_factor and compute_loss_func"
            )
        if self.args.n_gpu > 1:
            raise UserError(
                "StableTrainer trains on one GPU per process: start it with torchrun, or hide the other GPUs"
            )
        self.equip(self.model)

    def call_model_init(self, trial: Any = None) -> nn.Module:
        """Make a model as `Trainer` does, and equip it."""
        model: nn.Module = super().call_model_init(trial)
        if self._complete:
            self.equip(model)
        return model

    def equip(self, model: nn.Module) -> None:
        """Let the stabilizers change the pre-trained weights and the last layer of a fresh model, in place."""
        if self.task_kind is None:
            self.task_kind = "regression" if getattr(model.config, "num_labels", 2) == 1 else "classification"
        self.criterion = task_criterion(self.task_kind)
        for stabilizer in self.stabilizers:
            try:
                stabilizer.check(self.task_kind)
            except ValueError as error:
                raise UserError(str(error)) from error
            if stabilizer.has("before_training"):
                started = time.perf_counter()
                with preserved_random_state():
                    self.measurements |= stabilizer.before_training(encoder_of(model), self.pretraining(model))
                self.shared_seconds += time.perf_counter() - started
        parent, name, head = find_head(model)
        wrapped: nn.Module = head
        # New weights come from a stream of their own: the global one may stand where it stood before the first head.
        with preserved_random_state():
            torch.manual_seed(spread("heads", self.args.seed))
            for stabilizer in self.stabilizers:
                if stabilizer.has("wrap_head"):
                    wrapped = stabilizer.wrap_head(head)
        setattr(parent, name, wrapped)
        self._hook = wrapped.register_forward_pre_hook(self._keep_features)
        self._head: tuple[nn.Module, str, nn.Module] | None = (parent, name, wrapped)

    def pretraining(self, model: nn.Module) -> Pretraining:
        """Return what the hook before training sees; here, in a script, from the training set and the output folder."""
        inputs = [row["input_ids"] for row in self.train_dataset or ()]
        source = str(getattr(model.config, "_name_or_path", ""))
        weights = encoder_of(model).state_dict().values()
        state = sha256(b"".join(weight.detach().float().cpu().numpy().tobytes() for weight in weights))
        return Pretraining(
            source=Path(source),
            inputs=inputs,
            tokenizer=self.processing_class,
            batch_size=self.args.train_batch_size,
            device=self.args.device.type,
            cache=Path(self.args.output_dir) / "steadytune-cache",
            key=sha256(canonical_json([state, self.args.train_batch_size, [list(map(int, ids)) for ids in inputs]])),
            progress=lambda share: None,
        )

    def _keep_features(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._features = inputs[0]

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the mean task loss of the batch, or what the stabilizers make of it while the model trains."""
        labels = inputs["labels"]
        outputs = model(**{name: value for name, value in inputs.items() if name != "labels"})
        logits = outputs["logits"] if isinstance(outputs, dict) else outputs[0]
        if model.training and self.stabilizers:
            loss = self.stabilized_loss(self.step(inputs), logits)
        else:
            loss = self.criterion(logits, labels)
        return (loss, outputs) if return_outputs else loss

    def stabilized_loss(self, step: Step, logits: Tensor) -> Tensor:
        """Return the task loss, or the one that a stabilizer puts in its place, plus all penalties."""
        loss = step.criterion(logits, step.labels)
        for method in self.stabilizers:
            if (replacement := method.task_loss(step)) is not None:
                loss = replacement
        for method in self.stabilizers:
            if (penalty := method.penalty(step)) is not None:
                loss = loss + penalty
        return loss

    def step(self, inputs: dict[str, Any]) -> Step:
        """Return what the loss hooks see of the batch that has just gone through the model."""
        features, labels = self._features, inputs["labels"]
        assert features is not None
        if features.dim() == 3:
            # A decoder classifier scores every token and reads the last one that is no padding, by its id.
            tokens = inputs["input_ids"].flatten(0, -2)
            features = pool(features, (tokens != self.model.config.pad_token_id).long(), "last")
        classes: Tensor | None = labels
        if self.task_kind == "regression":
            classes = None
        elif self.task_kind == "choice":
            choices = len(features) // len(labels)
            classes = nn.functional.one_hot(labels, choices).flatten()
        assert self._head is not None
        return Step(features, labels, classes, self._head[2], self.criterion)

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train as `Trainer` does, then put plain layers back in the place of wrapped ones.

        Raises:
            UserError: A model that was given as `model` has been trained already.
        """
        if self._head is None and self.model_init is None:
            raise UserError("this StableTrainer has trained its model: make a new one, or give model_init")
        result = super().train(*args, **kwargs)
        self.unequip()
        return result

    def unequip(self) -> None:
        """Replace the last layer by the plain layer that it amounts to, in place."""
        assert self._head is not None
        parent, name, head = self._head
        self._hook.remove()
        self._head = self._features = None
        for stabilizer in self.stabilizers:
            head = stabilizer.unwrap_head(head)
        setattr(parent, name, head)


@torch.no_grad()
def geometry(features: Tensor, classes: Tensor, head: Any) -> dict[str, float]:
    """Return what a margin regularizer moves, for one batch.

    Args:
        features: (b, d) encoded examples.
        classes: (b,) classes.
        head: The last layer.

    Returns:
        "centre_distance": mean distance between class centres, NaN for one class; "feature_norm": B, the largest norm;
        "margin": the smallest distance of an example to the boundary between its class and another, negative where it
        is on the wrong side, NaN for a head of one output.
    """
    features, classes = features.float().cpu(), classes.cpu()
    centres = torch.stack([features[classes == label].mean(0) for label in classes.unique()])
    distances = torch.pdist(centres)
    margin = torch.tensor(float("nan"))
    weight, bias = head.weight.float().cpu(), None if head.bias is None else head.bias.float().cpu()
    if weight.dim() == 3:
        weight, bias = weight.mean(0), None if bias is None else bias.mean(0)
    if len(weight) > 1:
        logits = features @ weight.T + (0 if bias is None else bias)
        own = logits.gather(1, classes[:, None])
        widths = (weight[classes][:, None] - weight[None]).norm(dim=-1)
        gaps = (own - logits) / widths.clamp(min=1e-12)
        margin = gaps.scatter(1, classes[:, None], float("inf")).min()
    return {
        "centre_distance": float(distances.mean()),
        "feature_norm": float(features.norm(dim=1).max()),
        "margin": float(margin),
    }
