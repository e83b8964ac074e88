"""How texts are generated, as a study says it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from steadytune.config import Config


class Decoding(Config):
    """How texts are generated, for tasks of the kind generation; whatever is not said here is the model's own default.

    Attributes:
        max_new_tokens: Most tokens of a text.
        beams: Beams of the search; 1 is greedy.
        sample: Whether words are drawn, with the `decoding` seed of the run, instead of searched.
        temperature: Of the distribution that words are drawn from.
        top_p: Share of its most probable words that are drawn from.
    """

    max_new_tokens: Annotated[int, Field(ge=1, le=100_000)] = 64
    beams: Annotated[int, Field(ge=1, le=1000)] = 1
    sample: bool = False
    temperature: Annotated[float, Field(gt=0)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0

    @model_validator(mode="after")
    def _check_sampling(self) -> Decoding:
        if not self.sample and (self.temperature, self.top_p) != (1.0, 1.0):
            raise ValueError("temperature and top_p are for drawn words only: set sample: true")
        return self
