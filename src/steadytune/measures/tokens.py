"""Instability of what a generator expects next under teacher forcing: distributions of words, and likeliest words.

All runs read the same tokens (those of the references), so their next-token distributions are comparable.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from .base import Candidates, Choices, PairMeasure, PairTable, Seen, Tokens
from .candidates import CandidateDivergences, candidate_divergences
from .inputs import Float64Array, to_array
from .pairs import square

# A run's weighted probabilities sum to 1 but for the draw. How far off they may be, and in standard errors; ours.
_MASS_TOLERANCE, _FAR = 0.1, 4.0
# Bytes of all runs' distributions that are in memory at once.
_BLOCK = 1 << 25


def token_jensen_shannon(logits: Any, mask: Any = None) -> Float64Array:
    """Return the mean Jensen-Shannon divergence between two runs' next-token distributions, in nats.

    Formula: as `jensen_shannon`, (1/T) sum_t JSD(p_it, p_jt), over the T tokens that the mask keeps, all examples
    together: a long example weighs more than a short one.

    Range: [0, ln 2 = .693]. 0: the same distribution at every token. ln 2: no word has mass in both runs.

    Do not read it as the instability of generated text: teacher forcing returns every run to the reference after
    each token, so a difference that would derail a text counts once. `text_disagreement` sees that.

    Logits are read a few tokens at a time: memory stays below 200 MB beyond the arrays, which may be memory-mapped.
    Time is one logarithm per pair, token and word.

    Source: Lin, IEEE Transactions on Information Theory 37, 1991; on classes used by Du & Nguyen, ACL 2023. Its use
    on tokens is our choice.

    Args:
        logits: Logits of each run before the softmax: (K, ..., V), or a sequence of K arrays (..., V), where ... is
            tokens, or examples and tokens. Minus infinity is a word of probability 0.
        mask: (...), true at the tokens that count, such as those that are not padding; by default all.

    Returns:
        Divergences of shape (K, K), symmetric, with a zero diagonal.

    Raises:
        ValueError: If shapes disagree, no token is left, or a logit is NaN or infinite, naming run and token.

    Example:
        >>> p = np.log([[0.5, 0.5], [0.9, 0.1]])
        >>> float(token_jensen_shannon([p, p])[0, 1])
        0.0
    """
    return square(pair_token_divergences(logits, mask).mean(axis=1))


def pair_token_divergences(logits: Any, mask: Any = None) -> Float64Array:
    """Return the divergence of every pair of runs at every token, in nats, see `token_jensen_shannon`.

    Returns:
        Shape (P, T) over the P = K(K - 1)/2 pairs i < j, in the order of `numpy.triu_indices(K, 1)`, and the T tokens
        that the mask keeps, in the order of the array.
    """
    runs, kept = _flat(logits, mask)
    first, second = np.triu_indices(len(runs), 1)
    table = np.empty((len(first), len(kept)))
    filled = 0
    for probabilities in _blocks(runs, kept):
        until = filled + probabilities.shape[1]
        entropies = entropy(probabilities)
        for pair, (i, j) in enumerate(zip(first, second, strict=True)):
            middle = entropy((probabilities[i] + probabilities[j]) / 2)
            table[pair, filled:until] = middle - (entropies[i] + entropies[j]) / 2
        filled = until
    return np.clip(table, 0, np.log(2))


def _flat(logits: Any, mask: Any) -> tuple[list[NDArray[Any]], NDArray[np.intp]]:
    """Return each run as (tokens, V), a view if possible, and the positions of the tokens that count."""
    runs = [to_array(run, f"logits of run {number}") for number, run in enumerate(logits)]
    shapes = {run.shape for run in runs}
    if len(shapes) != 1 or runs[0].ndim < 2 or not runs[0].size:
        raise ValueError(f"logits must be K non-empty arrays of one shape (..., V), got {sorted(shapes)}")
    counted = np.ones(runs[0].shape[:-1], bool) if mask is None else to_array(mask, "mask").astype(bool)
    if counted.shape != runs[0].shape[:-1]:
        raise ValueError(f"the mask must have the tokens' shape {runs[0].shape[:-1]}, got {counted.shape}")
    kept = np.flatnonzero(counted)
    if not len(kept):
        raise ValueError("the mask excludes every token")
    return [run.reshape(-1, run.shape[-1]) for run in runs], kept


def _blocks(runs: list[NDArray[Any]], kept: NDArray[np.intp]) -> Iterator[Float64Array]:
    """Yield the distributions of all runs, (K, a few tokens, V)."""
    tokens = max(1, _BLOCK // (8 * len(runs) * runs[0].shape[1]))
    for start in range(0, len(kept), tokens):
        chosen = kept[start : start + tokens]
        block = np.stack([run[chosen].astype(np.float64) for run in runs])
        highest = block.max(axis=-1)
        # NaN if any logit is NaN; infinite if one is, or if all are minus infinity.
        if not np.isfinite(highest).all():
            run, token = np.argwhere(~np.isfinite(highest))[0]
            raise ValueError(f"logits of run {run} are NaN or infinite at token {chosen[token]}")
        yield np.asarray(softmax(block, axis=-1))


def entropy(probabilities: Float64Array) -> Float64Array:
    """Return the entropy of distributions (..., V) in nats."""
    # A probability of 0 has no logarithm and adds nothing. NumPy's logarithm is several times faster than scipy's entr.
    logarithms = np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))
    return -np.asarray(np.einsum("...v,...v->...", probabilities, logarithms))


class TokenTable(PairTable):
    """The divergences of all pairs of runs on all examples, whose tokens weigh the same.

    Attributes:
        found: Where the divergences come from, if they are estimated from candidate words.
    """

    def __init__(self, tokens: Tokens) -> None:
        given = tokens.logits
        self.found: CandidateDivergences | None = None
        if isinstance(given, Candidates):
            self.found = candidate_divergences(*given)
        values = pair_token_divergences(given) if self.found is None else self.found.values
        super().__init__(*_by_example(values, tokens.counts), most=float(np.log(2)))


def _by_example(values: Any, counts: NDArray[np.int64]) -> tuple[Float64Array, NDArray[np.int64]]:
    """Return the means (P, N) over the tokens of each example of values (P, T), and the numbers of tokens (N,)."""
    sizes = np.asarray(counts)
    owners = np.repeat(np.arange(len(sizes)), sizes)
    sums = [np.bincount(owners, weights=pair, minlength=len(sizes)) for pair in values]
    return np.reshape(sums, (len(values), len(sizes))) / np.maximum(sizes, 1), sizes


def estimation(seen: Seen) -> str:
    """Return how exact divergences are that are estimated from candidate words, or ""."""
    tokens = seen.outputs.tokens
    if tokens is None or not isinstance(tokens.logits, Candidates):
        return ""
    words = tokens.logits
    found = seen.outputs.made("tokens", TokenTable).found
    drawn = words.weights.shape[1] - words.exact
    if found is None or not drawn or not found.values.size:
        return ""
    by_chance = _FAR * np.nan_to_num(found.mass_errors, nan=1.0)
    if (wrong := np.flatnonzero(np.abs(found.mass - 1) > _MASS_TOLERANCE + by_chance)).size:
        return (
            f"The weighted probabilities of tokens sum to {found.mass[wrong[0]]:.3g} on average in "
            f"{seen.named([int(wrong[0])])}, not to 1: the Jensen-Shannon divergence is doubtful. Are the weights of "
            f"drawn words 1 / ({drawn} times the probability of drawing them)?"
        )
    error, lower = found.mean_error, found.lower.mean()
    how = "an unknown standard error" if np.isnan(error) else f"a standard error of {error:.2g}"
    return (
        f"The Jensen-Shannon divergence of tokens is an estimate from {drawn} drawn words beside the {words.exact} "
        f"likeliest, with {how}; whatever was drawn, it is at least {lower:.3g}."
    )


def pair_token_disagreements(choices: Choices) -> PairTable:
    """Return for every pair of runs the share of each example's tokens at which their likeliest next words differ.

    Formula: D_ij = (1/T) sum_t 1[argmax_v p_itv != argmax_v p_jtv], over the T tokens of all examples: a long example
    weighs more than a short one.

    Range: [0, 1]. 0: the same word is likeliest at every token. 1: at none.

    Do not read it as the share of words in which generated texts differ: teacher forcing returns every run to the
    reference after each token, where a generated text would go on from the difference.

    Source: pairwise disagreement of Du & Nguyen, "Measuring the Instability of Fine-Tuning", ACL 2023, with words in
    the place of classes; ours.

    Args:
        choices: The likeliest words of K runs.

    Raises:
        ValueError: If runs have different numbers of tokens, or words are not integers.
    """
    runs = [to_array(run, f"words of run {number}") for number, run in enumerate(choices.words)]
    if wrong := [number for number, run in enumerate(runs) if run.dtype.kind not in "iu"]:
        raise ValueError(f"words must be integers, but those of run {wrong[0]} are {runs[wrong[0]].dtype}")
    expected = (int(np.sum(choices.counts)),)
    if wrong := [number for number, run in enumerate(runs) if run.shape != expected]:
        raise ValueError(f"words must have shape {expected}, but those of run {wrong[0]} have {runs[wrong[0]].shape}")
    first, second = np.triu_indices(len(runs), 1)
    differ = np.reshape([runs[i] != runs[j] for i, j in zip(first, second, strict=True)], (len(first), *expected))
    return PairTable(*_by_example(differ, choices.counts))


TOKEN_DISAGREEMENT = PairMeasure(
    name="token_disagreement",
    title="Token disagreement",
    short="token disagr.",
    called="token disagreement",
    meaning="Share of the target tokens at which two runs expect another word, after the same words of the reference, "
    "averaged over pairs. 0: the same likeliest word at every token. Generated texts only.",
    largest=1.0,
    preference=7,
    of={"choices": pair_token_disagreements},
)
