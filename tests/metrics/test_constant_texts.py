"""What the best constant text scores, by which generated texts count as a failed run."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from saying import names

from steadytune.analysis.failures import failure_clauses, failure_words
from steadytune.metrics import METRICS, Answers, Metric, constant_score
from steadytune.records import Cohort

REFERENCES = ("the cat sat on the mat", "the dog sat on the mat", "a bird sang there", "the cat sat on the mat")
OF_TEXTS = [name for name, metric in METRICS.items() if set(metric.needs_of("generation")) == {"texts", "references"}]
WORDS = st.sampled_from(["a", "b", " b", "a b", "c a b", ""])


def answers(references, texts=None):
    return Answers("generation", texts=[texts or [""] * len(references)], references=references)


def constant(name, references):
    return constant_score(METRICS[name], answers(references))


def throughout(name, text, references):
    return METRICS[name].plain(answers(references, [text] * len(references)), len(references))[0]


def test_by_exact_match_it_is_the_reference_that_most_examples_accept():
    assert constant("exact_match", REFERENCES) == 0.5
    assert constant("exact_match", ["a", ("b", "c"), ("c", "d", "c"), " c "]) == 0.75
    assert constant("exact_match", ["a", "b", "c"]) == pytest.approx(1 / 3)


@given(st.lists(st.lists(WORDS, min_size=1, max_size=3).map(tuple), min_size=1, max_size=12), WORDS)
def test_no_text_equals_more_references(references, other):
    assert constant("exact_match", references) >= throughout("exact_match", other, references) - 1e-12


@pytest.mark.parametrize("name", OF_TEXTS)
def test_by_every_metric_of_texts_it_is_the_reference_that_scores_best_everywhere(name):
    pytest.importorskip("sacrebleu")
    pytest.importorskip("rouge_score")
    assert constant(name, REFERENCES) == max(throughout(name, text, REFERENCES) for text in REFERENCES) > 0


def test_that_which_scores_best_need_not_be_the_most_frequent():
    # Each other reference has one word of two; "a b" shares a word with all of them.
    references = ["c d", "c d", "a b", "a e", "b f", "a g", "b h"]
    assert constant("token_f1", references) == throughout("token_f1", "a b", references)
    assert throughout("token_f1", "c d", references) == pytest.approx(2 / 7)


def test_an_error_of_texts_is_lowest_at_the_best():
    def length(given):
        wrong = [
            [len(text) != len(one) for text, one in zip(run, given.references, strict=True)] for run in given.texts
        ]
        return lambda weights: weights @ np.array(wrong, float).T / weights.sum(axis=1, keepdims=True)

    worse = Metric(
        "length",
        lowest=0.0,
        higher_is_better=False,
        function=length,
        kinds=("generation",),
        needs=("texts", "references"),
    )
    assert constant_score(worse, answers(["aa", "bbb", "cc", "d"])) == 0.5


def test_no_more_than_ten_texts_are_tried_and_the_most_frequent_come_first():
    tried = []

    def counted(given):
        tried.append([run[0] for run in given.texts])
        return lambda weights: np.zeros((len(weights), len(given.texts)))

    metric = Metric(
        "counted", lowest=0.0, highest=1.0, higher_is_better=True, function=counted, kinds=("generation",),
        needs=("texts", "references"),
    )  # fmt: skip
    constant_score(metric, answers([*(f"text {n}" for n in range(30)), "text 29", " text 20"]))
    assert tried == [["text 20", "text 29", *(f"text {n}" for n in range(8))]]


def test_it_is_unknown_without_references_and_by_the_loss_of_tokens():
    assert constant_score(METRICS["exact_match"], Answers("generation", texts=[["a"]])) is None
    assert constant("exact_match", []) is None
    read = Answers(
        "generation", texts=[["a"]], references=["a"], target_log_probabilities=[np.zeros(1)], token_counts=np.ones(1)
    )
    assert constant_score(METRICS["target_loss"], read) is None


def test_a_run_that_writes_the_same_text_throughout_has_failed_and_the_others_have_not():
    right = [f"answer {n % 4}" for n in range(8)]
    cohort = Cohort(
        generations=[right, ["answer 1"] * 8, [*right[:7], "?"], ["nothing"] * 8, ["answer 0", *["?"] * 7]],
        references=right,
        kind="generation",
    )
    assert cohort.majority_score == 0.25
    assert cohort.failed.tolist() == [False, True, False, True, True]
    one, other = failure_clauses(cohort)
    assert names(one, "1 and 3", "collapsed", "0.0 to 25.0")
    assert names(other, "seed 4", "constant", "12.5")
    assert names(failure_words(cohort), "3 failures", "5 seeds")
