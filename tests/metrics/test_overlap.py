"""Token F1, BLEU and ROUGE against the packages and the script whose numbers others publish."""

import re
import string
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu import corpus_bleu
from saying import names, says

from steadytune.errors import UserError
from steadytune.metrics import METRICS, Answers, score
from steadytune.metrics.table import recorded

WORDS = ["the", "a", "cats", "cat", "sat", "on", "mat.", "Mat", "running", "don't", "3.5", "!", "  "]
TEXT = st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join)
EXAMPLES = st.lists(st.tuples(TEXT, TEXT, st.lists(TEXT, min_size=1, max_size=3).map(tuple)), min_size=1, max_size=6)


def answers(examples):
    texts, others, references = zip(*examples, strict=True)
    return Answers("generation", texts=[texts, others], references=references)


def scores(name, found, weights=None):
    weights = np.ones((1, found.examples)) if weights is None else np.asarray(weights, dtype=np.float64)
    # Not through `scores`, which refuses references without four words for BLEU.
    return METRICS[name].function(found)(weights)


def official_f1(gold, answer):
    """F1 as the evaluation script of SQuAD 2.0 has it, word for word but for its names."""

    def normalised(text):
        text = "".join(char for char in text.lower() if char not in set(string.punctuation))
        return " ".join(re.sub(re.compile(r"\b(a|an|the)\b", re.UNICODE), " ", text).split()).split()

    gold_words, words = normalised(gold), normalised(answer)
    same = sum((Counter(gold_words) & Counter(words)).values())
    if len(gold_words) == 0 or len(words) == 0:
        return int(gold_words == words)
    if same == 0:
        return 0
    precision, recall = same / len(words), same / len(gold_words)
    return 2 * precision * recall / (precision + recall)


def repeated(runs_texts, references, counts):
    texts = [text for text, count in zip(runs_texts, counts, strict=True) for _ in range(count)]
    return texts, [one for one, count in zip(references, counts, strict=True) for _ in range(count)]


def sacrebleu(texts, references):
    most = max(map(len, references))
    streams = [[one[place] if place < len(one) else None for one in references] for place in range(most)]
    return corpus_bleu(texts, streams).score / 100


@settings(max_examples=150)
@given(EXAMPLES, st.data())
def test_bleu_is_that_of_sacrebleu_on_examples_repeated_as_often_as_their_weight(examples, data):
    found = answers(examples)
    counts = data.draw(
        st.lists(st.integers(0, 3), min_size=len(examples), max_size=len(examples)).filter(any), label="counts"
    )
    expected = [sacrebleu(*repeated(run, found.references, counts)) for run in found.texts]
    assert scores("bleu", found, [counts])[0] == pytest.approx(expected, abs=1e-9)


def test_bleu_by_hand():
    # 5 words of 6; of 5, 4, 3, 2 n-grams 5, 4, 3, 2 match: a perfect precision, shortened by exp(1 - 6/5).
    found = answers([("the cat sat on a", "", ("the cat sat on a mat",))])
    assert scores("bleu", found)[0] == pytest.approx([np.exp(-1 / 5), 0])
    # Matches 4 of 5, 3 of 4, 2 of 3 and 1 of 2.
    found = answers([("a b c d x", "a b y d x", ("a b c d e",))])
    second = (3 / 5 * 1 / 4 * (1 / 2) / 3 * (1 / 4) / 2) ** 0.25
    assert scores("bleu", found)[0] == pytest.approx([(4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25, second])


@settings(max_examples=150)
@given(EXAMPLES)
def test_token_f1_is_that_of_squad(examples):
    found = answers(examples)
    expected = [
        np.mean(
            [max(official_f1(one, text) for one in right) for text, right in zip(run, found.references, strict=True)]
        )
        for run in found.texts
    ]
    assert scores("token_f1", found)[0] == pytest.approx(expected, abs=1e-12)


def test_token_f1_by_hand():
    found = answers([("The Cat, sat!", "dog", ("a cat", "cat sat down")), ("", "an", ("the", "x"))])
    # cat, sat against cat, sat, down: 4/5; a text without words is right where a reference has none either.
    assert scores("token_f1", found)[0] == pytest.approx([(4 / 5 + 1) / 2, (0 + 1) / 2])


@settings(max_examples=80, deadline=None)
@given(EXAMPLES, st.sampled_from(["rouge1", "rouge2", "rougeL"]))
def test_rouge_is_that_of_rouge_score_with_the_stemmer(examples, kind):
    found = answers(examples)
    scorer = RougeScorer([kind], use_stemmer=True)
    expected = [
        np.mean(
            [
                max(scorer.score(one, text)[kind].fmeasure for one in right)
                for text, right in zip(run, found.references, strict=True)
            ]
        )
        for run in found.texts
    ]
    assert scores(kind.lower(), found)[0] == pytest.approx(expected, abs=1e-12)


def test_rouge_by_hand():
    found = answers([("cats run far", "far cats run", ("a cat runs", "z"))])
    # cat, run of three words each; one pair of words of two; in order two words, or, turned, two.
    assert scores("rouge1", found)[0] == pytest.approx([2 / 3, 2 / 3])
    assert scores("rouge2", found)[0] == pytest.approx([1 / 2, 1 / 2])
    found = answers([("run cats far", "", ("a cat runs",))])
    assert scores("rougel", found)[0] == pytest.approx([1 / 3, 0])


def test_rouge_of_another_alphabet_is_refused():
    found = answers([("кошка", "кот", ("кот 3",))])
    with pytest.raises(UserError, match=says("'rouge1'", "chrf", "a to z")):
        score(found, ["a", "b"], metric="rouge1")
    # Somebody else's ROUGE may read it.
    assert score(found, ["a", "b"], {"rouge1": [0.2, 0.7]}).values.tolist() == [0.2, 0.7]
    assert scores("rouge1", answers([("Müller", "x", ("Müller 3",))]))[0, 0] == pytest.approx(4 / 5)


def test_bleu_of_references_that_have_no_four_words_is_refused():
    with pytest.raises(UserError, match=says("'bleu'", "four words", "chrf")):
        score(answers([("a cat", "a cat", ("a cat", "a big cat"))]), ["a", "b"], metric="bleu")


@pytest.mark.parametrize(("name", "package"), [("bleu", "sacrebleu"), ("rougel", "rouge_score")])
def test_without_the_package_recorded_scores_are_taken_and_the_extra_is_named(monkeypatch, name, package):
    found = answers([("a cat sat here", "a dog", ("a cat sat here",))])
    monkeypatch.setattr("steadytune.metrics.overlap.find_spec", lambda asked: None if asked == package else asked)
    with pytest.raises(UserError, match=says(f"'{name}'", package.replace("_", "-"), "steadytune[lm]")):
        score(found, ["a", "b"], metric=name)
    assert score(found, ["a", "b"], {name: [27.0, 0.5]}).values == pytest.approx([0.27, 0.005])


def said(found):
    return "\n".join(found.notes)


def test_what_others_recorded_is_recognised_as_fractions_or_per_cent_by_the_texts():
    found = answers([("the cat sat on a mat", "the cat sat on it", ("the cat sat on a mat",))])
    true = scores("bleu", found)[0]
    for name in ("bleu", "eval_bleu", "sacrebleu"):
        percent = score(found, ["a", "b"], {name: (100 * true).round(2)})
        assert (percent.values.tolist(), percent.metric) == (pytest.approx(true.tolist()), "bleu")
        assert names(said(percent), name, "per cent")
    assert score(found, ["a", "b"], {"bleu": true.round(4)}).notes == ()
    rouge = scores("rougel", found)[0]
    assert score(found, ["a", "b"], {"eval_rougeL": rouge.round(4)}).values == pytest.approx(rouge)


def test_what_only_the_values_tell_is_said():
    alone = Answers("generation", texts=[["x"], ["y"]])
    small = score(alone, ["a", "b"], {"bleu": [0.27, 0.31]})
    assert small.values.tolist() == [0.27, 0.31]
    assert names(said(small), "bleu", "0.27, 0.31", "fraction")
    # A run that collapsed has less than one per cent.
    mixed = score(alone, ["a", "b"], {"bleu": [27.0, 0.4]})
    assert mixed.values == pytest.approx([0.27, 0.004])
    assert names(said(mixed), "bleu", "per cent", "(b)")
    assert (recorded("rougeLsum").unit, recorded("rougeLsum").highest) == ("points", 1.0)


def test_another_variant_is_said_to_be_one():
    found = answers([("the cat sat on a mat", "the cat sat on it", ("the cat sat on a mat",))])
    told = said(score(found, ["a", "b"], {"bleu": [0.3, 0.2]}))
    assert names(told, "0.3, 0.2", "variant")


def test_a_recorded_f1_of_texts_is_named_where_its_values_tell():
    found = answers([("a cat sat", "dog", ("cat sat down",)), ("x", "x", ("x",))])
    true = scores("token_f1", found)[0]
    squad = score(found, ["a", "b"], {"f1": (100 * true).round(3)})
    assert (squad.metric, squad.values.tolist()) == ("token_f1", pytest.approx(true.tolist()))
    other = score(found, ["a", "b"], {"f1": [0.2, 0.3]})
    assert (other.metric, other.values.tolist()) == ("f1", [0.2, 0.3])
