"""Generation: a model writes a text, which is compared with references."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from numpy.typing import NDArray

from steadytune.kinds.per_token import PerToken

if TYPE_CHECKING:
    from torch import Tensor

    from steadytune.kinds.encoding import Encoding, Row


class Generation(PerToken):
    """One text per example, with or without the logits of its tokens; trained on the tokens of the right text."""

    name: ClassVar[str] = "generation"
    answers: ClassVar[Literal["classes", "numbers", "texts", ""]] = "texts"
    answer: ClassVar[str] = "text"
    trained: ClassVar[bool] = True
    new_head: ClassVar[bool] = False
    long_inputs: ClassVar[str] = "cut: prompts lose their beginning, texts to generate their end"
    metrics: ClassVar[tuple[str, ...]] = ("exact_match", "chrf")
    too_few_outputs: ClassVar[str] = "resize the model's embeddings to its tokenizer"
    task_metrics: ClassVar[tuple[str, ...]] = ("exact_match", "chrf", "target_loss")

    def measured(self, examples: Any) -> dict[str, NDArray[Any]]:
        """Return the groups alone: references are texts, and kept with the texts of the examples."""
        return {} if examples.groups is None else {"groups": examples.groups}

    def auto_model(self, seq2seq: bool) -> str:
        """Return the name of the class of language models."""
        return "AutoModelForSeq2SeqLM" if seq2seq else "AutoModelForCausalLM"

    def encode(self, examples: Any, tokenizer: Any, max_length: int, seq2seq: bool) -> Encoding:
        """Tokenize prompts and texts, as `encode_prompts`."""
        from steadytune.kinds.prompted import encode_prompts

        return encode_prompts(examples, tokenizer, max_length, seq2seq)

    def collate(self, rows: Sequence[Row], tokenizer: Any) -> dict[str, Tensor]:
        """Return padded inputs (b, T) and labels (b, T) of their tokens, or (b, T') of an encoder-decoder's texts."""
        from steadytune.kinds.encoding import padded, padded_labels

        inputs = padded(rows, tokenizer)
        return {**inputs, "labels": padded_labels(rows, inputs)}


GENERATION = Generation()
