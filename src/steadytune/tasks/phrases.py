"""Phrases of the generated sentences, drawn at random."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from steadytune.tasks import vocabulary as words
from steadytune.tasks.vocabulary import Noun

DISTRACTION = 0.75
"""Share of the nouns between a subject and its verb that differ from the subject in number."""
ORNAMENT = 0.25
"""Share of the slots for an adjective, adverb or time that are filled."""

Pair = tuple[str, str]
Item = TypeVar("Item")


class Draw:
    """Random choices of words and phrases."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def pick(self, items: Sequence[Item]) -> Item:
        """Return one of the items."""
        return items[int(self._rng.integers(len(items)))]

    def chance(self, share: float = 0.5) -> bool:
        """Return True with this probability."""
        return float(self._rng.random()) < share

    def two(self, items: Sequence[Item]) -> tuple[Item, Item]:
        """Return two different items."""
        first = int(self._rng.integers(len(items)))
        return items[first], items[(first + 1 + int(self._rng.integers(len(items) - 1))) % len(items)]

    def optional(self, items: Sequence[str]) -> str:
        """Return one of the words with a space before it, or nothing."""
        return f" {self.pick(items)}" if self.chance(ORNAMENT) else ""

    def phrase(self, noun: Noun, plural: bool, owner: str | None = None) -> str:
        """Return a determiner, perhaps an adjective, and the noun."""
        adjectives = words.PERSON_ADJECTIVES if noun in words.PEOPLE else words.THING_ADJECTIVES
        return f"{owner or self.pick(words.OWNERS)}{self.optional(adjectives)} {noun.form(plural)}"

    def person(self) -> str:
        """Return a phrase for a person, singular or plural."""
        return self.phrase(self.pick(words.PEOPLE), self.chance())

    def thing(self) -> str:
        """Return a phrase for a thing, singular or plural."""
        return self.phrase(self.pick(words.THINGS), self.chance())

    def name(self) -> str:
        """Return a first name."""
        return self.pick(self.pick((words.JOHNS, words.MARYS)))

    def subject(self) -> str:
        """Return a name or a phrase for a person, where the number does not matter."""
        return self.name() if self.chance() else self.person()

    def distractor(self, plural: bool) -> bool:
        """Return the number of a noun between a subject of that number and its verb."""
        return plural != self.chance(DISTRACTION)

    def predicate(self) -> Pair:
        """Return present-tense predicates of a singular and a plural subject that differ only in the verb's form."""
        kind = self.pick(("be", "do", "act"))
        if kind == "be":
            rest = f"{self.pick(words.PERSON_ADJECTIVES)}{self.optional(words.TIMES)}"
            return f"is {rest}", f"are {rest}"
        if kind == "do":
            verb, rest = self.pick(words.INTRANSITIVE), self.optional(words.TIMES)
        else:
            verb, rest = self.pick(words.TRANSITIVE), f" {self.person()}"
        return f"{verb.third}{rest}", f"{verb.base}{rest}"


def sentence(text: str) -> str:
    """Capitalise a text and end it with a full stop unless it ends with a question mark."""
    return f"{text[0].upper()}{text[1:]}{'' if text.endswith('?') else '.'}"
