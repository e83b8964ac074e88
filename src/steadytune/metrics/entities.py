"""Metrics of tagged words: entities, which are spans of words of one type."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from steadytune.metrics.base import Answers, Float64Array, Scores, ratio, share

_OUTSIDE = "O"
_TAG = re.compile(r"[BIESLU](-.*)?")
# As IOBES calls what BILOU calls the last word, and the only one.
_PREFIXES = {"L": "E", "U": "S"}


def entity_tags(names: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Return names of classes that mark entities: O, and B-, I-, E-, S-, L- and U- with a type; None for others."""
    marking = [name for name in names or () if name != _OUTSIDE]
    return names if marking and all(map(_TAG.fullmatch, marking)) else None


class _Entities(NamedTuple):
    """Whether an entity begins at a word, the word at which that ends, and its type: each (..., N)."""

    begins: NDArray[np.bool_]
    ends: NDArray[np.int64]
    types: NDArray[np.int64]


def entity_f1(answers: Answers) -> Scores:
    """F1 of the entities of all sentences: right are those with the right first word, last word and type.

    Formula: 2 TP / (entities predicted + entities labelled); 0 if there is neither. Entities are found as conlleval and
    seqeval's default mode do: B- and S- begin one, and so does any tag of another type than the tag before it, so that
    an I- after O does. They do not cross sentences.

    Source: Tjong Kim Sang & De Meulder, "Introduction to the CoNLL-2003 Shared Task", CoNLL 2003; Ramshaw & Marcus,
    "Text Chunking using Transformation-Based Learning", 1995.
    """
    order = np.argsort(np.asarray(answers.questions), kind="stable")
    sentences = np.asarray(answers.questions)[order]
    names = answers.entity_tags or ()
    predicted = _entities(np.asarray(answers.predictions)[:, order], names, sentences)
    labelled = _entities(np.asarray(answers.labels, dtype=np.int64)[order], names, sentences)
    right = predicted.begins & labelled.begins
    right &= (predicted.ends == labelled.ends) & (predicted.types == labelled.types)
    hits, sizes, wanted = (np.asarray(found, dtype=np.float64) for found in (right, predicted.begins, labelled.begins))

    def scores(weights: Float64Array) -> Float64Array:
        # Weights are equal within a sentence, so that an entity counts as often as its first word.
        ordered = weights[:, order]
        return ratio(2 * ordered @ hits.T, ordered @ sizes.T + (ordered @ wanted)[:, None])

    return scores


def _entities(classes: NDArray[Any], names: tuple[str, ...], sentences: NDArray[Any]) -> _Entities:
    """Find the entities of tags (..., N), of which successive ones of one sentence belong together."""
    kinds = {kind: number for number, kind in enumerate(sorted({name[1:] for name in names if name != _OUTSIDE}))}
    prefix = np.array([_PREFIXES.get(name[0], name[0]) for name in names])[classes]
    types = np.array([-1 if name == _OUTSIDE else kinds[name[1:]] for name in names], dtype=np.int64)[classes]
    inside = types >= 0
    first = np.ones(len(sentences), dtype=bool)
    first[1:] = sentences[1:] != sentences[:-1]
    before, type_before = np.roll(prefix, 1, axis=-1), np.roll(types, 1, axis=-1)
    begins = first | (types != type_before) | np.isin(prefix, ("B", "S")) | np.isin(before, ("E", "S"))
    begins &= inside
    # The last word is the one before the next that is outside or begins another entity.
    places = np.arange(classes.shape[-1])
    stops = np.where(begins | ~inside | first, places, len(sentences))
    after = np.concatenate([stops[..., 1:], np.full((*stops.shape[:-1], 1), len(sentences))], axis=-1)
    ends = np.minimum.accumulate(after[..., ::-1], axis=-1)[..., ::-1] - 1
    return _Entities(begins, ends, types)


ENTITY_F1 = share(
    "entity_f1",
    entity_f1,
    ("tokens",),
    "predictions",
    "labels",
    "questions",
    "entity_tags",
    title="entity F1",
)
