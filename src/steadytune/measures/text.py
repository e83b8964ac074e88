"""Instability of generated text: how often, and how much, two runs' texts differ for the same input.

Generations are strings, one per run and example, decoded from the same inputs. Higher values mean less stable. Each
measure has two functions: the (K, K) distances, and as `pair_...` the table (P, N) per pair and example whose means
they are, over the P = K(K - 1)/2 pairs i < j, in the order of `numpy.triu_indices(K, 1)`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .base import PairMeasure
from .inputs import Float64Array
from .pairs import square

Reference = str | tuple[str, ...]
"""A reference text, or several of which any is accepted."""

_ORDERS = 6
_WORD = re.compile(r"[^\W_]+")
_RECALL_WEIGHT = 2.0**2


def text_disagreement(generations: Any) -> Float64Array:
    """Return the share of examples for which two runs write different texts.

    Formula: D_ij = (1/N) sum_n 1[s_in != s_jn], where white space at both ends of a text does not count.

    Range: [0, 1]. 0: the same text for every example. 1: never the same text. Longer texts differ more easily, so
    compare it between recipes on one task, not between tasks.

    Do not trust it if a text has many equally good forms: any variation counts as a difference.
    `chrf_distance` measures how far apart they are.

    Source: pairwise disagreement of Du & Nguyen, "Measuring the Instability of Fine-Tuning", ACL 2023, with texts in
    the place of classes.

    Args:
        generations: K sequences of N strings.

    Returns:
        Distances of shape (K, K), symmetric, with a zero diagonal.

    Raises:
        ValueError: If the runs have different numbers of texts, none, or a text that is not a string.

    Example:
        >>> text_disagreement([["a cat", "a dog"], ["a cat ", "the dog"]])
        array([[0. , 0.5],
               [0.5, 0. ]])
    """
    return square(pair_text_disagreements(generations).mean(axis=1))


def pair_text_disagreements(generations: Any) -> NDArray[np.bool_]:
    """Return for every pair of runs and every example whether their texts differ, see `text_disagreement`."""
    numbers = np.stack([np.unique(texts, return_inverse=True)[1] for texts in _by_example(generations)], axis=1)
    first, second = np.triu_indices(len(numbers), 1)
    differ: NDArray[np.bool_] = numbers[first] != numbers[second]
    return differ


def chrf_distance(generations: Any) -> Float64Array:
    """Return the character-level distance between the texts of two runs: 1 - chrF, made symmetric.

    Formula: D_ij = 1 - (1/N) sum_n [F(s_in, s_jn) + F(s_jn, s_in)] / 2, where F(h, r) = 5 P R / (4 P + R) is the
    sentence chrF as a fraction, P and R are the mean precision and recall of character n-grams, n = 1 .. 6, of those
    orders that both texts have, and white space does not count. chrF weighs recall four times as much as precision, so
    F(h, r) differs from F(r, h), and neither run is the reference: hence the mean of both directions.

    Range: [0, 1]. 0: the same characters in the same order for every example (two empty texts count as the same). 1:
    no character in common. Unrelated texts of one language share letters and lie well below 1: compare with the
    distance between runs on shuffled examples before calling a value small.

    Do not trust it for meaning: a negation is a short word.

    Source: Popović, "chrF: character n-gram F-score for automatic MT evaluation", WMT 2015, with the effective orders
    of sacrebleu (Post, WMT 2018), whose default sentence chrF F equals. The mean of both directions is ours.

    Args:
        generations: K sequences of N strings.

    Returns:
        Distances of shape (K, K), symmetric, with a zero diagonal.

    Raises:
        ValueError: As `text_disagreement`.

    Example:
        >>> chrf_distance([["a cat"], ["a cat"], ["dig"]])
        array([[0., 0., 1.],
               [0., 0., 1.],
               [1., 1., 0.]])
    """
    return square(pair_chrf_distances(generations).mean(axis=1))


def pair_chrf_distances(generations: Any) -> Float64Array:
    """Return the distance of the texts of every pair of runs for every example, see `chrf_distance`."""
    columns = []
    for texts in _by_example(generations):
        # Runs often agree: each distinct text is processed once.
        distinct, run = np.unique(texts, return_inverse=True)
        scores = _chrf(list(distinct))
        distances = 1 - (scores + scores.T) / 2
        np.fill_diagonal(distances, 0.0)
        first, second = np.triu_indices(len(run), 1)
        columns.append(distances[run[first], run[second]])
    return np.clip(np.stack(columns, axis=1), 0, 1)


def matches(generations: Sequence[str], references: Sequence[Reference]) -> NDArray[np.bool_]:
    """Return which texts equal their reference, or one of several: (N,). White space at both ends does not count.

    Raises:
        ValueError: If their numbers differ.
    """
    pairs = zip(generations, references, strict=True)
    return np.array([text.strip() in {one.strip() for one in several(reference)} for text, reference in pairs], bool)


def several(reference: Reference) -> tuple[str, ...]:
    """Return the texts of a reference, any of which is accepted."""
    return (reference,) if isinstance(reference, str) else tuple(reference)


def chrf(generations: Sequence[str], references: Sequence[Reference]) -> Float64Array:
    """Return the sentence chrF of texts against their references, as fractions: (N,), see `chrf_distance`.

    Here 1 is best. An empty text scores 0, whatever the reference. Of several references the best match counts, as in
    sacrebleu.

    Raises:
        ValueError: If their numbers differ.
    """
    pairs = zip(generations, references, strict=True)
    return np.array([max(_chrf([text, one])[0, 1] for one in several(reference)) for text, reference in pairs])


def _chrf(texts: Sequence[str]) -> Float64Array:
    """Return chrF (U, U) of each of U texts against each as the reference.

    With h_i the n-grams of text i and m_ij those that i and j share, each as often as in the text with fewer, the
    precision of i against j is m_ij / h_i and its recall m_ij / h_j, the precision of j against i. So one matrix holds
    both.
    """
    precision = np.zeros((len(texts), len(texts)))
    orders = np.zeros_like(precision)
    for counts in _ngram_counts(["".join(text.split()) for text in texts]):
        totals = counts.sum(axis=1)
        # An n-gram of only one text matches no other; among different texts these are the majority.
        shared = counts[:, (counts > 0).sum(axis=0) > 1]
        matches = np.stack([np.minimum(shared, row).sum(axis=1) for row in shared])
        np.fill_diagonal(matches, totals)
        both = (totals[:, None] > 0) & (totals[None, :] > 0)
        orders += both
        precision += np.where(both, matches / np.maximum(totals, 1)[:, None], 0.0)
    precision /= np.maximum(orders, 1)
    recall = precision.T
    weighted = _RECALL_WEIGHT * precision + recall
    return (1 + _RECALL_WEIGHT) * precision * recall / np.where(weighted > 0, weighted, 1.0)


def _ngram_counts(texts: Sequence[str]) -> list[NDArray[np.int64]]:
    """Return, for n = 1 .. 6, how often each text (row) contains each character n-gram of any of them (column)."""
    lengths = np.array([len(text) for text in texts])
    owner = np.repeat(np.arange(len(texts)), lengths)
    left = np.concatenate([np.arange(length, 0, -1) for length in lengths])
    _, letters = np.unique(np.array(list("".join(texts)), dtype="U1"), return_inverse=True)
    grams = letters
    counts = []
    for order in range(1, _ORDERS + 1):
        # The positions from which a text has at least n characters left.
        places = np.flatnonzero(left >= order)
        if order > 1:
            longer = grams[places] * (letters.max(initial=0) + 1) + letters[places + order - 1]
            _, numbers = np.unique(longer, return_inverse=True)
            grams = np.zeros(len(letters), dtype=np.int64)
            grams[places] = numbers
        width = int(grams[places].max(initial=-1)) + 1
        cells = np.bincount(owner[places] * width + grams[places], minlength=len(texts) * width)
        counts.append(cells.reshape(len(texts), width))
    return counts


def rouge_l_distance(generations: Any) -> Float64Array:
    """Return the word-level distance between the texts of two runs: 1 - ROUGE-L.

    Formula: D_ij = 1 - (1/N) sum_n 2 LCS(s_in, s_jn) / (|s_in| + |s_jn|), where |s| counts the words of a text and LCS
    those of the longest common subsequence. This F weighs precision and recall alike, so it is symmetric.

    Range: [0, 1]. 0: the same words in the same order for every example (two texts without words count as the same).
    1: no word in common.

    Do not trust it for meaning, nor for languages that write no spaces between words: there `chrf_distance` sees more.

    Source: Lin, "ROUGE: A Package for Automatic Evaluation of Summaries", 2004. Words are those of rouge-score without
    its stemmer, lower case and without punctuation, but of any alphabet. As a distance of runs ours.

    Args:
        generations: K sequences of N strings.

    Returns:
        Distances of shape (K, K), symmetric, with a zero diagonal.

    Raises:
        ValueError: As `text_disagreement`.

    Example:
        >>> rouge_l_distance([["the cat sat"], ["The cat, sat."], ["a cat"]]).round(2)
        array([[0. , 0. , 0.6],
               [0. , 0. , 0.6],
               [0.6, 0.6, 0. ]])
    """
    return square(pair_rouge_l_distances(generations).mean(axis=1))


def pair_rouge_l_distances(generations: Any) -> Float64Array:
    """Return the distance of the texts of every pair of runs for every example, see `rouge_l_distance`."""
    columns = []
    for texts in _by_example(generations):
        words = [tuple(_WORD.findall(text.lower())) for text in texts]
        number = {text: place for place, text in enumerate(dict.fromkeys(words))}
        distances = np.zeros((len(number), len(number)))
        for (one, i), (other, j) in combinations(number.items(), 2):
            distances[i, j] = distances[j, i] = 1 - 2 * _common(one, other) / (len(one) + len(other))
        run = np.array([number[text] for text in words])
        first, second = np.triu_indices(len(run), 1)
        columns.append(distances[run[first], run[second]])
    return np.stack(columns, axis=1)


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """Return the length of the longest common subsequence, whose table's rows are the bits of an integer.

    Source: Hyyrö, "Bit-parallel LCS-length computation revisited", AWOCA 2004 (recalled).
    """
    places: dict[str, int] = {}
    for place, word in enumerate(one):
        places[word] = places.get(word, 0) | 1 << place
    every = (1 << len(one)) - 1
    row = every
    for word in other:
        matched = row & places.get(word, 0)
        row = ((row + matched) | (row - matched)) & every
    return len(one) - row.bit_count()


def _by_example(generations: Any) -> list[tuple[str, ...]]:
    """Return the texts of all runs, example by example, without white space at both ends."""
    runs = [list(run) for run in generations]
    sizes = {len(run) for run in runs}
    if not runs or len(sizes) > 1 or not sizes.pop():
        raise ValueError(
            f"generations must be strings of shape (K, N) and not be empty, got runs of {[len(r) for r in runs]}"
        )
    for run, texts in enumerate(runs):
        for example, text in enumerate(texts):
            if not isinstance(text, str):
                raise ValueError(f"generations must be strings, got {type(text).__name__} in run {run}, row {example}")
    return [tuple(text.strip() for text in texts) for texts in zip(*runs, strict=True)]


CHRF = PairMeasure(
    name="chrf",
    title="1 − chrF",
    short="1 − chrF",
    meaning="One minus the overlap of the character n-grams of two runs’ texts (chrF), averaged over examples and "
    "pairs. 0: identical texts; 1: no n-gram in common. Generated texts only.",
    largest=1.0,
    preference=5,
    of={"generations": pair_chrf_distances},
)

ROUGE_L = PairMeasure(
    name="rouge_l",
    title="1 − ROUGE-L",
    short="1 − ROUGE-L",
    meaning="One minus the share of words that two runs’ texts have in common in the same order (ROUGE-L), averaged "
    "over examples and pairs. 0: the same words; 1: no word in common. Generated texts only.",
    largest=1.0,
    preference=6,
    of={"generations": pair_rouge_l_distances},
)
