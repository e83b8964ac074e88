"""Token classification: each word of a sentence belongs to one of a fixed set of classes, such as its tag."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from steadytune.kinds.per_token import PerToken

if TYPE_CHECKING:
    from torch import Tensor

    from steadytune.kinds.encoding import Encoding, Row

_AROUND = 5
"""Words on either side that are shown with a word."""


class Tokens(PerToken):
    """One class per word. A task's example is a sentence, and what is measured are its words.

    `Examples.parts` are the words of each sentence, and its label a tuple of classes, one for each. A model answers at
    the first token of every word; the other tokens have the label -100 and do not count.
    """

    name: ClassVar[str] = "tokens"
    answers: ClassVar[Literal["classes", "numbers", "texts", ""]] = "classes"
    answer: ClassVar[str] = "tag"
    item: ClassVar[str] = "word"
    long_inputs: ClassVar[str] = "read in parts"
    shared_classes: ClassVar[bool] = True
    in_sentences: ClassVar[bool] = True
    several: ClassVar[bool] = True
    trained: ClassVar[bool] = True
    metrics: ClassVar[tuple[str, ...]] = ("entity_f1", "accuracy", "f1_macro")
    task_metrics: ClassVar[tuple[str, ...]] = ("entity_f1", "accuracy", "f1_macro")

    @property
    def noun(self) -> str:
        """What it is, in a sentence."""
        return "a task of tagged words"

    def classes_in(self, labels: NDArray[Any]) -> NDArray[np.int64]:
        """Return the classes of all words."""
        return np.array([label for one in labels for label in one], dtype=np.int64)

    def measured(self, examples: Any) -> dict[str, NDArray[Any]]:
        """Return labels, groups and questions of all words; a question is a sentence, and so is a group by default."""
        lengths = [len(one) for one in examples.labels]
        sentences = np.repeat(np.arange(len(lengths)), lengths)
        groups = sentences if examples.groups is None else np.repeat(examples.groups, lengths)
        return {"labels": self.classes_in(examples.labels), "groups": groups, "questions": sentences}

    def texts(self, examples: Any) -> list[str]:
        """Return each word, in brackets, among its neighbours."""
        return [_shown(words, place) for words in examples.parts for place in range(len(words))]

    def auto_model(self, seq2seq: bool) -> str:
        """Return the class of models with an output for each token."""
        return "AutoModelForTokenClassification"

    def encode(self, examples: Any, tokenizer: Any, max_length: int, seq2seq: bool) -> Encoding:
        """Tokenize sentences, in parts of whole words where they are too long."""
        from steadytune.kinds.words import encode_words

        return encode_words(examples, tokenizer, max_length)

    def collate(self, rows: Sequence[Row], tokenizer: Any) -> dict[str, Tensor]:
        """Return padded inputs (b', T), one for each part of a sentence, and the labels (b', T) of their tokens."""
        from steadytune.kinds.encoding import padded, padded_labels

        parts = [
            {"inputs": [inputs], "labels": labels}
            for row in rows
            for inputs, labels in zip(row["inputs"], row["labels"], strict=True)
        ]
        inputs = padded(parts, tokenizer)
        return {**inputs, "labels": padded_labels(parts, inputs)}


def _shown(words: Sequence[str], place: int) -> str:
    before, after = words[max(0, place - _AROUND) : place], words[place + 1 : place + 1 + _AROUND]
    start, end = ("... " if place > _AROUND else ""), (" ..." if place + 1 + _AROUND < len(words) else "")
    return start + " ".join([*before, f"[{words[place]}]", *after]) + end


TOKENS = Tokens()
