import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from saying import says
from scipy.spatial.distance import jensenshannon
from scipy.special import softmax

from steadytune.measures import MEASURES, Choices, Outputs, jensen_shannon, pair_token_disagreements
from steadytune.measures.tokens import pair_token_divergences, token_jensen_shannon


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape) * 3


def test_by_hand():
    sure = np.log([[1.0, 1e-300]])
    other = np.log([[1e-300, 1.0]])
    half = np.zeros((1, 2))
    distances = token_jensen_shannon([sure, other, half])
    assert distances[0, 1] == pytest.approx(np.log(2))
    # m = (3/4, 1/4): H(m) - ln 2 / 2.
    assert distances[0, 2] == pytest.approx(-0.75 * np.log(0.75) - 0.25 * np.log(0.25) - np.log(2) / 2)


@given(st.integers(0, 1000), st.integers(2, 4), st.integers(1, 6), st.integers(2, 9))
def test_it_is_the_squared_distance_of_scipy_at_every_token(seed, runs, tokens, words):
    logits = normal(runs, tokens, words, seed=seed)
    p = softmax(logits, axis=-1)
    first, second = np.triu_indices(runs, 1)
    expected = np.array([jensenshannon(p[i], p[j], axis=-1) ** 2 for i, j in zip(first, second, strict=True)])
    np.testing.assert_allclose(pair_token_divergences(logits), expected, atol=1e-12)


def test_padding_does_not_count_and_all_tokens_that_do_weigh_the_same():
    logits = normal(3, 2, 4, 5)
    mask = np.array([[1, 1, 1, 0], [1, 0, 0, 0]])
    expected = jensen_shannon(softmax(logits[:, mask.astype(bool)], axis=-1))
    np.testing.assert_allclose(token_jensen_shannon(logits, mask), expected, atol=1e-14)
    logits[:, 0, 3] = np.nan
    np.testing.assert_allclose(token_jensen_shannon(logits, mask), expected, atol=1e-14)


def test_a_word_that_is_ruled_out_has_probability_0():
    logits = normal(2, 3, 4)
    logits[:, :, 1] = -np.inf
    expected = token_jensen_shannon(np.delete(logits, 1, axis=2))
    np.testing.assert_allclose(token_jensen_shannon(logits), expected, atol=1e-15)


@pytest.mark.slow
def test_a_large_vocabulary_in_half_precision_on_disk_needs_little_memory(tmp_path):
    runs, tokens, words = 3, 300, 32_000
    mapped = []
    for run in range(runs):
        path = tmp_path / f"{run}.npy"
        np.save(path, normal(tokens, words, seed=run).astype(np.float16))
        mapped.append(np.load(path, mmap_mode="r"))
    tracemalloc.start()
    token_jensen_shannon(mapped)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200e6
    assert runs * tokens * words * 8 > peak


def test_blocks_of_tokens_are_joined_in_order(monkeypatch):
    logits = normal(3, 7, 4)
    whole = pair_token_divergences(logits)
    monkeypatch.setattr("steadytune.measures.tokens._BLOCK", 8 * 3 * 4 * 2)
    np.testing.assert_array_equal(pair_token_divergences(logits), whole)


@pytest.mark.parametrize(
    ("logits", "mask", "said"),
    [
        ([normal(2, 3), normal(2, 4)], None, ["logits", "[(2, 3), (2, 4)]"]),
        (normal(2, 3), None, ["logits", "[(3,)]"]),
        (normal(2, 0, 3), None, ["logits", "empty", "(0, 3)"]),
        (normal(2, 3, 4), np.ones(4), ["mask", "(3,)", "(4,)"]),
        (normal(2, 3, 4), np.zeros(3), ["mask", "every token"]),
        (np.where(np.arange(24).reshape(2, 3, 4) == 21, np.nan, 0.0), None, ["run 1", "NaN", "token 2"]),
        (np.where(np.arange(24).reshape(2, 3, 4) == 5, np.inf, 0.0), None, ["run 0", "infinite", "token 1"]),
        (np.full((2, 3, 4), -np.inf), None, ["run 0", "infinite", "token 0"]),
    ],
)
def test_what_does_not_fit_is_refused(logits, mask, said):
    with pytest.raises(ValueError, match=says(*said)):
        token_jensen_shannon(logits, mask)


def test_words_that_differ_are_counted_by_token():
    choices = Choices([np.array([1, 2, 3]), np.array([1, 5, 3]), np.array([0, 2, 3])], np.array([2, 0, 1]))
    table = pair_token_disagreements(choices)
    assert table.means(np.ones((1, 3)))[0] == pytest.approx([1 / 3, 1 / 3, 2 / 3])
    # The last example twice: 4 tokens.
    assert table.means(np.array([[1.0, 1, 2]]))[0] == pytest.approx([1 / 4, 1 / 4, 2 / 4])
    part = Outputs(choices=choices).take(np.array([2]))
    assert MEASURES["token_disagreement"].pairs(part).means(np.ones((1, 1))).tolist() == [[0, 0, 0]]
    assert pair_token_disagreements(choices.of_runs([0])).distances().tolist() == [[0]]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([np.zeros(3, int), np.zeros(2, int)], ["run 1", "(3,)", "(2,)"]),
        ([np.zeros(3), np.zeros(3, int)], ["run 0", "float64", "integers"]),
    ],
)
def test_choices_that_do_not_fit_are_refused(words, said):
    with pytest.raises(ValueError, match=says(*said)):
        pair_token_disagreements(Choices(words, np.array([3])))
