import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import CHRF
from saying import says

from steadytune.measures.text import (
    chrf,
    chrf_distance,
    pair_chrf_distances,
    pair_rouge_l_distances,
    pair_text_disagreements,
    rouge_l_distance,
    text_disagreement,
)

texts = st.text(alphabet="abc é\t.", max_size=12)
runs = st.integers(1, 4).flatmap(
    lambda examples: st.lists(st.lists(texts, min_size=examples, max_size=examples), min_size=1, max_size=4)
)


def sacrebleu(text, reference):
    return CHRF().sentence_score(text, [reference]).score / 100


def test_texts_disagree_where_they_differ_but_for_white_space_at_their_ends():
    generations = [["a cat", "a dog", "x", ""], [" a cat\n", "A dog", "x y", " "], ["b", "a dog", "x", "z"]]
    expected = np.array([[0, 2, 2], [2, 0, 4], [2, 4, 0]]) / 4
    np.testing.assert_array_equal(text_disagreement(generations), expected)


def test_pairs_stand_in_the_order_of_the_upper_triangle():
    table = pair_text_disagreements([["a", "a"], ["a", "b"], ["c", "b"]])
    assert table.tolist() == [[False, True], [True, True], [True, False]]


def test_chrf_by_hand():
    # "ab" in "abc": unigrams 2/2 and 2/3, bigrams 1/1 and 1/2, no trigram in both. P = 1, R = 7/12.
    forward, backward = 5 * 7 / 12 / (4 + 7 / 12), 5 * 7 / 12 / (4 * 7 / 12 + 1)
    assert chrf(["ab"], ["abc"]) == pytest.approx([forward])
    assert chrf(["abc"], ["ab"]) == pytest.approx([backward])
    assert chrf_distance([["ab"], ["abc"]])[0, 1] == pytest.approx(1 - (forward + backward) / 2)


def test_a_repeated_character_counts_as_often_as_in_the_text_with_fewer():
    assert chrf(["aaaa"], ["a"]) == pytest.approx([5 * 0.25 / (4 * 0.25 + 1)])


@settings(max_examples=60, deadline=None)
@given(texts, texts)
def test_chrf_is_that_of_sacrebleu(text, reference):
    assert chrf([text], [reference])[0] == pytest.approx(sacrebleu(text, reference), abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(runs)
def test_the_distance_is_1_minus_the_mean_of_both_directions(generations):
    distances = chrf_distance(generations)
    for i, one in enumerate(generations):
        for j, other in enumerate(generations):
            by_example = [
                0.0 if a.strip() == b.strip() else 1 - (sacrebleu(a, b) + sacrebleu(b, a)) / 2
                for a, b in zip(one, other, strict=True)
            ]
            assert distances[i, j] == pytest.approx(np.mean(by_example), abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(runs)
def test_texts_that_agree_are_at_distance_0_and_no_distance_is_larger_than_a_disagreement(generations):
    differ, distances = pair_text_disagreements(generations), pair_chrf_distances(generations)
    assert differ.shape == distances.shape == (len(generations) * (len(generations) - 1) // 2, len(generations[0]))
    assert (distances[~differ] == 0).all()
    assert (distances <= differ).all()
    assert (distances >= 0).all()


def test_an_empty_text_is_as_far_as_can_be_from_any_other():
    assert chrf_distance([[""], ["a"], ["  "]]).tolist() == [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
    assert chrf(["", "a"], ["", ""]).tolist() == [0, 0]


def test_one_run_has_no_pairs():
    assert text_disagreement([["a", "b"]]).tolist() == [[0]]
    assert chrf_distance([["a", "b"]]).tolist() == [[0]]


@pytest.mark.parametrize("measure", [text_disagreement, chrf_distance, rouge_l_distance])
@pytest.mark.parametrize(
    ("generations", "said"),
    [
        ([["a"], ["a", "b"]], ["(K, N)", "[1, 2]"]),
        ([], ["(K, N)", "empty", "[]"]),
        ([[], []], ["(K, N)", "empty", "[0, 0]"]),
        ([["a"], [3]], ["generations", "int", "run 1, row 0"]),
    ],
)
def test_what_is_no_rectangle_of_texts_is_refused(measure, generations, said):
    with pytest.raises(ValueError, match=says(*said)):
        measure(generations)


def test_every_text_needs_its_reference():
    with pytest.raises(ValueError, match="shorter"):
        chrf(["a", "b"], ["a"])


WORDS = st.lists(st.sampled_from(["the", "The", "cat,", "cat", "cats", "sat", "3.5", "a_b", "-", " "]), max_size=12)


@given(WORDS.map(" ".join), WORDS.map(" ".join))
def test_rouge_l_is_that_of_rouge_score_without_its_stemmer(text, other):
    scorer = RougeScorer(["rougeL"])
    found = rouge_l_distance([[text], [other]])
    if not any(map(str.isalnum, text + other)):
        assert not found.any()
        return
    assert found[0, 1] == pytest.approx(1 - scorer.score(text, other)["rougeL"].fmeasure, abs=1e-12)
    assert found[1, 0] == found[0, 1]


def test_rouge_l_by_hand():
    # the, sat of three and of four words.
    found = rouge_l_distance([["The cat sat."], ["the dog sat there"], ["THE cat -- sat"]])
    assert found == pytest.approx(np.array([[0, 1 - 4 / 7, 0], [1 - 4 / 7, 0, 1 - 4 / 7], [0, 1 - 4 / 7, 0]]))
    # Words of any alphabet; texts without words are the same.
    assert rouge_l_distance([["кот спит"], ["кот ест"], ["кот спит!"]])[0].tolist() == [0, 0.5, 0]
    assert rouge_l_distance([[""], ["-"], ["a"]]).tolist() == [[0, 0, 1], [0, 0, 1], [1, 1, 0]]
    assert rouge_l_distance([["a b", "c"]]).tolist() == [[0]]


def test_rouge_l_of_long_texts_is_that_of_rouge_score():
    generator = np.random.default_rng(0)
    texts = [" ".join(map(str, generator.integers(0, 9, size))) for size in (70, 150, 64)]
    found = pair_rouge_l_distances([[text] for text in texts])[:, 0]
    scorer = RougeScorer(["rougeL"])
    pairs = [(0, 1), (0, 2), (1, 2)]
    assert found == pytest.approx([1 - scorer.score(texts[i], texts[j])["rougeL"].fmeasure for i, j in pairs])
