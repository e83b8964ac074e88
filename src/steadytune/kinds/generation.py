"""Generation: a model writes a text, which is compared with references. Studies measure it, and do not train it."""

from __future__ import annotations

from typing import ClassVar, Literal

from steadytune.kinds.per_token import PerToken


class Generation(PerToken):
    """One text per example, with or without the logits of its tokens; trained on the tokens of the right text."""

    name: ClassVar[str] = "generation"
    answers: ClassVar[Literal["classes", "numbers", "texts", ""]] = "texts"
    answer: ClassVar[str] = "text"
    metrics: ClassVar[tuple[str, ...]] = ("exact_match", "chrf")
    too_few_outputs: ClassVar[str] = "resize the model's embeddings to its tokenizer"


GENERATION = Generation()
