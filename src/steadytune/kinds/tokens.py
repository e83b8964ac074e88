"""Token classification: each token belongs to one of a fixed set of classes. Studies do not train it yet."""

from __future__ import annotations

from typing import ClassVar, Literal

from steadytune.kinds.per_token import PerToken


class Tokens(PerToken):
    """One class per token, such as its tag; tokens without one, such as padding, have the label -100."""

    name: ClassVar[str] = "tokens"
    answers: ClassVar[Literal["classes", "numbers", "texts", ""]] = "classes"
    answer: ClassVar[str] = "tag"
    shared_classes: ClassVar[bool] = True
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "f1_macro")

    def auto_model(self, seq2seq: bool) -> str:
        """Return the name of the class of token classifiers."""
        return "AutoModelForTokenClassification"


TOKENS = Tokens()
