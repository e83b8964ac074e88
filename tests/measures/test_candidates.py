"""Divergences estimated from candidate words: unbiased, with their errors, above a certified bound."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from saying import names, says
from scipy.spatial.distance import jensenshannon
from scipy.special import log_softmax

from steadytune.measures import MEASURES, Candidates, Outputs, Seen, Tokens, candidate_divergences
from steadytune.measures.tokens import TokenTable


def distributions(runs, tokens, words, seed=0, spread=2.0):
    generator = np.random.default_rng(seed)
    shared = generator.normal(size=(tokens, words)) * spread
    return log_softmax(shared + generator.normal(size=(runs, tokens, words)), axis=-1)


def pairs_of(runs):
    return list(zip(*np.triu_indices(runs, 1), strict=True))


def truth(logs):
    p = np.exp(logs)
    return np.array([jensenshannon(p[i], p[j], axis=-1) ** 2 for i, j in pairs_of(len(p))])


def drawn(logs, exact, choices, chances):
    """Return the candidates (K, T, m + r) and weights, if `choices` (T, r) are drawn of the rest with `chances`."""
    tokens, times = choices.shape
    chosen = np.concatenate([np.tile(np.arange(exact), (tokens, 1)), choices], axis=1)
    weights = np.ones(chosen.shape)
    weights[:, exact:] = 1 / (times * np.take_along_axis(chances, choices, axis=1))
    return np.take_along_axis(logs, chosen[None], axis=2), weights


def test_by_hand():
    # f(1/2, 1/4) + 3 f(1/8, 3/8), with f(p, q) = [p ln(2p/(p+q)) + q ln(2q/(p+q))] / 2.
    found = candidate_divergences(np.log([[[1 / 2, 1 / 8]], [[1 / 4, 3 / 8]]]), [[1.0, 3.0]], 1)
    first = (1 / 2 * np.log(4 / 3) + 1 / 4 * np.log(2 / 3)) / 2
    second = (1 / 8 * np.log(1 / 2) + 3 / 8 * np.log(3 / 2)) / 2
    rest = (1 / 2 * np.log(4 / 5) + 3 / 4 * np.log(6 / 5)) / 2
    assert found.values == pytest.approx(np.array([[first + 3 * second]]))
    assert found.lower == pytest.approx(np.array([[first + rest]]))
    assert np.isnan(found.errors).all()
    assert found.mass == pytest.approx([1 / 2 + 3 / 8, 1 / 4 + 9 / 8])


def test_the_standard_error_by_hand():
    # Of terms f/pi with the values x and y the mean has the standard error |x - y| / 2.
    logs = np.log([[[1 / 2, 1 / 8, 1 / 4]], [[1 / 4, 3 / 8, 1 / 4]]])
    term = (1 / 8 * np.log(1 / 2) + 3 / 8 * np.log(3 / 2)) / 2
    found = candidate_divergences(logs, [[1.0, 4.0, 4.0]], 1)
    # Twice the weight, for the weight is 1/(r pi) with r = 2; the other term is 0.
    assert found.errors == pytest.approx(np.array([[8 * term / 2]]))
    assert found.mean_errors == pytest.approx(found.errors[0])
    assert found.mean_error == pytest.approx(8 * term / 2)


@given(st.integers(0, 1000), st.integers(2, 4), st.integers(1, 5), st.integers(2, 9))
def test_of_the_whole_vocabulary_it_is_the_squared_distance_of_scipy(seed, runs, tokens, words):
    logs = distributions(runs, tokens, words, seed)
    found = candidate_divergences(logs, np.ones((tokens, words)), words)
    np.testing.assert_allclose(found.values, truth(logs), atol=1e-12)
    np.testing.assert_allclose(found.lower, found.values, atol=1e-12)
    assert not found.errors.any()
    assert not found.mean_errors.any()
    table = TokenTable(Tokens(list(logs), np.array([tokens])))
    same = TokenTable(Tokens(Candidates(list(logs), np.ones((tokens, words)), words), np.array([tokens])))
    np.testing.assert_allclose(table.values, same.values, atol=1e-12)


@pytest.mark.parametrize(("exact", "times"), [(0, 2), (2, 1), (2, 2), (3, 3)])
def test_all_draws_weighed_by_their_probability_give_the_divergence(exact, times):
    words = 6
    logs = distributions(3, 1, words, seed=5)
    chances = np.zeros((1, words))
    chances[0, exact:] = np.random.default_rng(1).dirichlet(np.ones(words - exact))
    mean, variance, mean_variance, errors, mean_errors = 0, 0, 0, 0, 0
    exactly = truth(logs)
    for choice in product(range(exact, words), repeat=times):
        chosen = np.array([choice])
        chance = chances[0, list(choice)].prod()
        found = candidate_divergences(*drawn(logs, exact, chosen, chances), exact)
        mean += chance * found.values
        variance += chance * (found.values - exactly) ** 2
        mean_variance += chance * (found.values.mean(axis=0) - exactly.mean(axis=0)) ** 2
        errors += chance * found.errors**2
        mean_errors += chance * found.mean_errors**2
    np.testing.assert_allclose(mean, exactly, rtol=1e-12)
    if times > 1:
        # The square of the standard error is unbiased too, for a pair and for the mean over pairs.
        np.testing.assert_allclose(errors, variance, rtol=1e-9)
        np.testing.assert_allclose(mean_errors, mean_variance, rtol=1e-9)


def test_over_many_tokens_the_mean_is_within_its_standard_error():
    runs, tokens, words, exact, times = 3, 4000, 60, 8, 8
    logs = distributions(runs, tokens, words, seed=3)
    base = np.exp(logs.mean(axis=0))
    order = np.argsort(-base, axis=1)
    logs, base = np.take_along_axis(logs, order[None], axis=2), np.take_along_axis(base, order, axis=1)
    base[:, :exact] = 0
    chances = base / base.sum(axis=1, keepdims=True)
    generator = np.random.default_rng(0)
    chosen = (generator.random((tokens, times, 1)) > np.cumsum(chances, axis=1)[:, None]).sum(axis=2)
    found = candidate_divergences(*drawn(logs, exact, chosen, chances), exact)
    exactly = truth(logs)
    off = found.values.mean() - exactly.mean()
    assert abs(off) < 3 * found.mean_error
    assert found.mean_error < 0.02 * exactly.mean()
    # Without clipping tokens, some of which are above what a divergence can be, or below the bound of it.
    z = (found.values - exactly) / np.maximum(found.errors, 1e-12)
    assert np.square(found.errors).mean() == pytest.approx(np.square(found.values - exactly).mean(), rel=0.1)
    assert np.isfinite(z).all()
    assert found.mass == pytest.approx(np.ones(runs), abs=0.02)


@given(st.integers(0, 10**6), st.integers(1, 8), st.floats(0.1, 6))
def test_the_lower_bound_is_below_the_truth_whatever_is_drawn(seed, exact, spread):
    logs = distributions(3, 4, 9, seed, spread)
    found = candidate_divergences(
        np.concatenate([logs[..., :exact], logs[..., -1:]], axis=2),
        np.pad(np.ones((4, exact)), ((0, 0), (0, 1))),
        exact,
    )
    assert (found.lower <= truth(logs) + 1e-12).all()
    assert (found.lower >= 0).all()


def test_equal_runs_are_at_0_and_the_order_of_a_pair_does_not_matter():
    logs = distributions(2, 5, 7)
    weights = np.full((5, 7), 1.7)
    weights[:, :3] = 1
    same = candidate_divergences([logs[0], logs[0]], weights, 3)
    assert not same.values.any()
    assert not same.lower.any()
    assert not same.errors.any()
    one, other = candidate_divergences(logs, weights, 3), candidate_divergences(logs[::-1], weights, 3)
    np.testing.assert_array_equal(one.values, other.values)
    assert candidate_divergences(logs[:1], weights, 3).values.shape == (0, 5)


def test_a_word_of_probability_0_and_half_precision_and_blocks(monkeypatch):
    logs = distributions(3, 7, 6)
    logs[0, :, 5] = -np.inf
    weights = np.ones((7, 6))
    whole = candidate_divergences(logs, weights, 4)
    assert np.isfinite(whole.values).all()
    half = candidate_divergences(logs.astype(np.float16), weights.astype(np.float16), 4)
    np.testing.assert_allclose(half.values, whole.values, atol=1e-3)
    monkeypatch.setattr("steadytune.measures.candidates._BLOCK", 8 * 3 * 6 * 2)
    for one, other in zip(candidate_divergences(logs, weights, 4), whole, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


@pytest.mark.parametrize(
    ("change", "exact", "told"),
    [
        ({"weights": np.ones((3, 5))}, 2, ["token_weights", "(3, 4)", "(3, 5)"]),
        ({"weights": np.where(np.eye(3, 4, 2), -1.0, 1.0)}, 2, ["token_weights", "at least 0", "token 0"]),
        ({"weights": np.where(np.eye(3, 4, -1), 2.0, 1.0)}, 2, ["token_weights", "first 2", "token 1"]),
        ({"logs": np.where(np.eye(3, 4, 1), np.nan, -2.0)}, 2, ["run 0", "NaN", "token 0"]),
        ({"logs": np.where(np.eye(3, 4, -2), 1.5, -2.0)}, 2, ["run 0", "at most 0", "token 2"]),
        ({"logs": np.full((3, 4), -0.1)}, 2, ["run 0", "first 2", "1.81", "token 0", "more than 1"]),
        ({"logs": np.full((3, 4), -2.0)}, 4, ["no drawn word", "0.5413", "token 0"]),
        ({}, 5, ["token_exact", "0 to 4", "5"]),
        ({"logs": np.full(3, -2.0)}, 2, ["(3,)", "(tokens, candidate words)"]),
    ],
)
def test_what_does_not_fit_is_refused(change, exact, told):
    logs = change.get("logs", np.full((3, 4), -2.0))
    with pytest.raises(ValueError, match=says(*told)):
        candidate_divergences([logs, logs], change.get("weights", np.ones((3, 4))), exact)


def seen(outputs):
    return Seen(outputs, 1, 0, lambda runs: f"run {runs[0]}")


def outputs(logs, weights, exact, counts):
    return Outputs(tokens=Tokens(Candidates(list(logs), weights, exact), np.array(counts)))


def test_the_measure_takes_tokens_alike_and_says_how_exact_it_is():
    logs = distributions(3, 5, 6, seed=2)
    weights = np.ones((5, 6))
    weights[:, 4:] = 1.3
    measure = MEASURES["jensen_shannon"]
    given = outputs(logs, weights, 4, [2, 0, 3])
    found = candidate_divergences(logs, weights, 4)
    table = measure.pairs(given)
    np.testing.assert_allclose(table.means(np.ones((1, 3)))[0], found.values.mean(axis=1))
    np.testing.assert_allclose(
        table.means(np.array([[2.0, 5, 1]]))[0], found.values[:, [0, 1, 0, 1, 2, 3, 4]].mean(axis=1)
    )
    part = given.take(np.array([2, 0]))
    np.testing.assert_allclose(
        measure.pairs(part).means(np.ones((1, 2)))[0], found.values[:, [2, 3, 4, 0, 1]].mean(axis=1)
    )
    said = measure.doubt(seen(given))
    assert names(said, "2 drawn", "4 likeliest", f"{found.mean_error:.2g}", f"{found.lower.mean():.3g}")
    assert "unknown" in measure.doubt(seen(outputs(logs[..., :5], weights[:, :5], 4, [2, 0, 3])))
    assert measure.doubt(seen(Outputs(tokens=Tokens(list(logs), np.array([5]))))) == ""


def test_a_mean_above_what_a_divergence_can_be_is_that_and_weights_that_are_none_are_told():
    logs = np.log([[[0.9, 0.05]], [[0.05, 0.9]]])
    given = outputs(logs, np.array([[1.0, 40.0]]), 1, [1])
    assert candidate_divergences(logs, [[1.0, 40.0]], 1).values[0, 0] > np.log(2)
    assert MEASURES["jensen_shannon"].pairs(given).means(np.ones((1, 1)))[0, 0] == np.log(2)
    assert names(MEASURES["jensen_shannon"].doubt(seen(given)), "run 1", "36 ", "doubtful")
