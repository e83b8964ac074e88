"""Self Unsupervised Re-Training: continue pre-training on the task's own unlabelled text before fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field, model_validator

from steadytune.cache import cached_arrays
from steadytune.errors import UserError
from steadytune.files import Arrays, canonical_json, read_content, sha256, sha256_file
from steadytune.stabilizers.base import Stabilizer
from steadytune.stabilizers.context import Pretraining
from steadytune.stabilizers.denoising import DENOISED, VERSION

if TYPE_CHECKING:
    from torch import nn


class SURT(Stabilizer):
    """Continue the model's own pre-training objective on the training inputs, once for all seeds.

    Of what a decoder learns to write, the inputs are the prompts. Encoders predict masked tokens (15 % of them,
    80/10/10), decoders the next token, T5 the spans behind its sentinels and BART the text behind its masks
    (`denoising.py`). The aim is a w_0 closer to the solution, so runs record ||w_0 - w_final||. A
    checkpoint without a trained masked-language head gets a new one; it is first trained alone with the encoder frozen,
    because its noise would damage the encoder.

    Source: Fu, So & Collier, arXiv 2301.09820. Its epochs and learning rate are unknown; ours are the toolkit's choice;
    so is the separate training of the head. Re-training can hurt: compare.

    Cost: `epochs` passes over the training inputs, once per model, task and parameters; nothing per step.

    Attributes:
        epochs: Passes of re-training.
        learning_rate: Its peak rate.
        head_epochs: Passes in which only a new language-model head is trained.
        head_learning_rate: Its peak rate.
        texts: A file to train on instead of the training inputs, one text per line, plain or gzipped; a text is
            truncated to the length of the longest training input. Text of another domain shows what the task's own is
            worth, if there is as much of it.
        texts_sha256: SHA-256 of that file, filled in when a study names it, so that a run records which texts it used.
    """

    name: ClassVar[str] = "surt"
    whole_embeddings: ClassVar[bool] = False
    modes: ClassVar[frozenset[str]] = frozenset({"full", "head"})

    epochs: Annotated[int, Field(ge=1, le=1_000_000)] = 3
    learning_rate: Annotated[float, Field(gt=0)] = 5e-5
    head_epochs: Annotated[int, Field(ge=0, le=1_000_000)] = 3
    head_learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    texts: str | None = None
    texts_sha256: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _name_the_content(cls, content: Any) -> Any:
        if isinstance(content, Mapping) and isinstance(content.get("texts"), str) and not content.get("texts_sha256"):
            path = Path(content["texts"]).expanduser()
            try:
                return {**content, "texts_sha256": sha256_file(path)}
            except OSError as error:
                raise ValueError(f"texts: {path} cannot be read: {error.strerror}") from None
        return content

    def entry(self) -> dict[str, dict[str, Any]]:
        """Return this stabilizer as an entry of a recipe, without `texts` if it uses the task's own text."""
        own = {"texts", "texts_sha256"} if self.texts is None else set()
        return {self.name: self.model_dump(mode="json", exclude=own)}

    def before_training(self, encoder: nn.Module, context: Pretraining) -> Mapping[str, Any]:
        """Load the re-trained weights into `encoder`; train them if no other run has done so.

        Returns:
            Language-model loss before and after, and ||w_0 - w_re-trained||.

        Raises:
            UserError: It is unknown how the architecture was pre-trained, the checkpoint or its tokenizer lacks what
                that takes, or the texts are missing or changed.
        """
        import torch

        from steadytune.stabilizers.language_model import Phase, retrain

        if not context.inputs:
            raise UserError(
                "surt continues pre-training on the inputs, but this training set has only labels: those of a prompt "
                "must be -100"
            )

        def train() -> tuple[Arrays, dict[str, Any]]:
            trained, measured = retrain(
                encoder,
                context if self.texts is None else replace(context, inputs=self._read(context)),
                Phase(self.epochs, self.learning_rate),
                Phase(self.head_epochs, self.head_learning_rate),
            )
            return {name: tensor.numpy() for name, tensor in trained.items()}, dict(measured)

        config: Any = getattr(encoder, "config", None)
        own = [VERSION] if getattr(config, "model_type", "") in DENOISED else []
        key = sha256(canonical_json([context.key, self.entry(), *own]))[:16]
        state, measurements = cached_arrays(context.cache, f"surt-{key}", train)
        encoder.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
        return measurements

    def _read(self, context: Pretraining) -> list[list[int]]:
        """Return the token ids of the texts in the file."""
        assert self.texts is not None
        path = Path(self.texts).expanduser()
        try:
            if sha256_file(path) != self.texts_sha256:
                raise UserError(f"surt: {path} has changed since the study was made")
            lines = read_content(path).decode("utf-8").split("\n")
        except UserError:
            raise
        except (OSError, ValueError) as error:
            raise UserError(f"surt: {path} cannot be read as text with one text per line: {error}") from None
        texts = [line for line in lines if line.strip()]
        if not texts:
            raise UserError(f"surt: {path} contains no text")
        longest = max(map(len, context.inputs))
        ids: list[list[int]] = context.tokenizer(texts, truncation=True, max_length=longest)["input_ids"]
        return ids
