"""Generation: a model writes a text, which is compared with references. Measured here, not trained."""

from __future__ import annotations

from typing import ClassVar, Literal

from steadytune.kinds.base import Kind


class Generation(Kind):
    """One text per example, with or without the logits of its tokens."""

    name: ClassVar[str] = "generation"
    answers: ClassVar[Literal["classes", "numbers", "texts", ""]] = "texts"
    answer: ClassVar[str] = "text"
    metrics: ClassVar[tuple[str, ...]] = ("exact_match", "chrf")


GENERATION = Generation()
