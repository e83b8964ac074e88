"""Metrics of generated texts that count what they share with a reference: token F1, BLEU, ROUGE.

BLEU and ROUGE are those of the packages sacrebleu and rouge-score, whose numbers others publish.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadytune.metrics.base import Answers, Float64Array, Metric, Scores, mean_of, ratio, share
from steadytune.metrics.texts import TEXTS, references_of

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_PIECES = re.compile(r"\w+|[^\w\s]")
_ORDERS = 4


def token_f1(answers: Answers) -> Scores:
    """Mean F1 of the words shared with a reference, as SQuAD counts them; of several references the best counts.

    Words are lower case, without punctuation and English articles. Two texts without words score 1, one without 0.

    Source: the evaluation script of SQuAD 2.0 (Rajpurkar et al., ACL 2018).
    """
    return mean_of(_by_text(answers, lambda text, references: max(_word_f1(text, one) for one in references)))


def _word_f1(text: str, reference: str) -> float:
    mine, others = _words(text), _words(reference)
    if not mine or not others:
        return float(mine == others)
    return 2 * (mine & others).total() / (mine.total() + others.total())


def _words(text: str) -> Counter[str]:
    return Counter(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def bleu(answers: Answers) -> Scores:
    """BLEU of all texts together, a fraction: tokenizer 13a, case kept, orders 1 to 4, exponential smoothing.

    Examples weigh with the n-grams that they have, so it is no mean over examples.

    Source: Papineni et al., ACL 2002, as sacrebleu computes it by default (Post, WMT 2018).
    """
    from sacrebleu.metrics.bleu import BLEU as SacreBLEU  # noqa: N811

    # The effective order matters for the score of a sentence alone; of it only the counts are read.
    counter = SacreBLEU(effective_order=True)

    def counts(text: str, references: tuple[str, ...]) -> list[float]:
        found = counter.sentence_score(text, references)
        return [found.sys_len, found.ref_len, *found.counts, *found.totals]

    table = np.asarray(_by_text(answers, counts), dtype=np.float64)
    return lambda weights: _bleu(np.einsum("rn,knc->rkc", weights, table))


def _bleu(counts: Float64Array) -> Float64Array:
    """Return BLEU (...) of counts (..., 10): length, reference length, matches of each order, n-grams of each order."""
    length, expected = counts[..., 0], counts[..., 1]
    matches, totals = counts[..., 2 : 2 + _ORDERS], counts[..., 2 + _ORDERS :]
    # An order without a match counts as half a match, the next one as a quarter, and so on.
    missing = np.cumsum((matches == 0) & (totals > 0), axis=-1)
    precisions = ratio(np.where(matches == 0, 0.5**missing, matches), totals)
    geometric = precisions.prod(axis=-1) ** (1 / _ORDERS)
    penalty = np.exp(np.minimum(0.0, 1 - expected / np.maximum(length, 1)))
    # Without any match it is 0, and so it is without a text of four words.
    return np.asarray(np.where((matches > 0).any(axis=-1), np.minimum(penalty * geometric, 1.0), 0.0))


def rouge(kind: str, answers: Answers) -> Scores:
    """Mean F of ROUGE, a fraction, with Porter's stemmer; of several references the best counts.

    Args:
        kind: As rouge-score names it: "rouge1", "rouge2" or "rougeL".
        answers: Texts and references.

    Source: Lin, "ROUGE: A Package for Automatic Evaluation of Summaries", 2004, as rouge-score computes it.
    """
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer([kind], use_stemmer=True)
    return mean_of(
        _by_text(answers, lambda text, references: scorer.score_multi(references, text)[kind].fmeasure),
    )


def _lacks_for_bleu(answers: Answers) -> str:
    # No fewer pieces than the tokenizer 13a makes.
    long = any(len(_PIECES.findall(text)) >= _ORDERS for one in references_of(answers) for text in one)
    return _lacks_package("sacrebleu") or ("" if long else "references of four words or more (chrf takes shorter ones)")


def _lacks_for_rouge(answers: Answers) -> str:
    read = [char.isascii() for one in references_of(answers) for text in one for char in text if char.isalnum()]
    latin = 2 * sum(read) >= len(read)
    return _lacks_package("rouge_score") or (
        "" if latin else "references in letters a to z, the only ones that it reads (chrf reads all)"
    )


def _lacks_package(name: str) -> str:
    return "" if find_spec(name) else f"the package {name.replace('_', '-')} (pip install 'steadytune[lm]')"


def _by_text(answers: Answers, function: Callable[[str, tuple[str, ...]], Any]) -> NDArray[Any]:
    """Return a function of text and references, (K, N, ...), computed once for texts that runs share."""
    texts: Any = answers.texts
    columns = []
    for column, references in zip(zip(*texts, strict=True), references_of(answers), strict=True):
        found = {text: function(text, references) for text in dict.fromkeys(column)}
        columns.append([found[text] for text in column])
    return np.swapaxes(np.asarray(columns, dtype=np.float64), 0, 1)


def _of_rouge(name: str, kind: str, title: str) -> Metric:
    return share(name, partial(rouge, kind), ("generation",), *TEXTS, title=title, lacks=_lacks_for_rouge)


TOKEN_F1 = share("token_f1", token_f1, ("generation",), *TEXTS, title="token F1")
BLEU = share("bleu", bleu, ("generation",), *TEXTS, title="BLEU", lacks=_lacks_for_bleu)
ROUGE1 = _of_rouge("rouge1", "rouge1", "ROUGE-1")
ROUGE2 = _of_rouge("rouge2", "rouge2", "ROUGE-2")
ROUGEL = _of_rouge("rougel", "rougeL", "ROUGE-L")
