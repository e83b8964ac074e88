"""Runs whose next-token distributions are known at candidate words: recorded, read, refused."""

from dataclasses import replace

import numpy as np
import pytest
from saying import names, says

import steadytune as st
from steadytune.errors import UserError
from steadytune.measures import candidate_divergences

MASK = np.array([[1, 1, 1], [1, 0, 0]], bool)


def weights(last=2.5):
    found = np.ones((2, 3, 4))
    found[..., 3] = last
    return found


def fields(seed, **more):
    generator = np.random.default_rng(seed)
    logs = np.log(generator.dirichlet(np.ones(5), (2, 3)))[..., :4]
    return {
        "token_log_probabilities": logs.astype(np.float32),
        "token_weights": weights(),
        "token_exact": 3,
        "token_choices": generator.integers(0, 9, (2, 3)),
        "target_log_probabilities": np.log(generator.uniform(0.1, 1, (2, 3))),
        "token_mask": MASK,
        "seed": seed,
        **more,
    }


def recorded(tmp_path, runs):
    return [st.record_run(tmp_path / f"{seed}.safetensors", **one) for seed, one in enumerate(runs)]


def test_what_is_recorded_is_measured_as_from_arrays(tmp_path):
    runs = [fields(seed) for seed in range(3)]
    recorded(tmp_path, runs)
    cohort = st.read_runs([tmp_path], "target_loss")
    assert (cohort.kind, cohort.token_exact, cohort.token_counts.tolist()) == ("generation", 3, [3, 1])
    assert cohort.scores == pytest.approx([-run["target_log_probabilities"][MASK].mean() for run in runs])
    assert cohort.read["examples"].startswith("2,")
    assert names(cohort.summary(), "token_log_probabilities: each (4, 4)", "token_choices: each (4,)")
    given = st.Cohort(
        token_log_probabilities=[run["token_log_probabilities"][MASK] for run in runs],
        token_weights=weights()[MASK],
        token_exact=3,
        token_choices=[run["token_choices"][MASK] for run in runs],
        target_log_probabilities=[run["target_log_probabilities"][MASK] for run in runs],
        token_counts=[3, 1],
        metric="target_loss",
    )
    assert given.scores == pytest.approx(cohort.scores)
    expected = candidate_divergences([run["token_log_probabilities"][MASK] for run in runs], weights()[MASK], 3)
    for one in (cohort, given):
        found = st.profile(one, resamples=100)
        assert found.last("jensen_shannon").value == pytest.approx(min(expected.values.mean(), np.log(2)))
        assert 0 < found.last("token_disagreement").value <= 1
    # A copy with other runs is scored anew.
    other = [-one for one in np.ones((3, 4))]
    assert replace(given, target_log_probabilities=other).scores.tolist() == [1, 1, 1]


def test_tokens_one_after_another_are_recorded_by_their_numbers(tmp_path):
    padded, flat = fields(0), fields(0)
    flat = {name: value[MASK] if isinstance(value, np.ndarray) else value for name, value in flat.items()}
    flat |= {"token_mask": None, "token_counts": [3, 1]}
    recorded(tmp_path, [padded, flat | {"seed": 1}])
    cohort = st.read_runs([tmp_path])
    np.testing.assert_array_equal(*cohort.token_log_probabilities)
    np.testing.assert_array_equal(*cohort.token_choices)


def test_with_texts_and_states_and_tokens_a_cohort_has_a_row_for_each_example():
    logs = np.log(np.full((2, 3, 2), 0.5))
    cohort = st.Cohort(
        generations=[["a", "b"], ["a", "c"]],
        references=["a", "b"],
        representations=list(np.random.default_rng(0).normal(size=(2, 1, 2, 4))),
        token_log_probabilities=list(logs),
        token_weights=np.ones((3, 2)),
        token_exact=2,
        token_counts=[2, 1],
    )
    assert cohort.scores.tolist() == [1, 0.5]
    with pytest.raises(UserError, match=says("2 generations", "3 token_counts")):
        st.Cohort(generations=cohort.generations, token_choices=np.zeros((2, 3), int), token_counts=[1, 1, 1])


def test_runs_with_other_candidate_words_are_refused(tmp_path):
    recorded(tmp_path, [fields(0), fields(1, token_weights=weights(2.6))])
    with pytest.raises(UserError, match=says("1.safetensors", "0.safetensors", "token_weights", "candidate words")):
        st.read_runs([tmp_path])


def test_a_run_without_what_others_have_is_refused(tmp_path):
    recorded(tmp_path, [fields(0), fields(1, token_choices=None)])
    with pytest.raises(UserError, match=says("1.safetensors", "no token_choices", "0.safetensors")):
        st.read_runs([tmp_path])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"token_weights": None}, ["token_log_probabilities", "token_weights"]),
        ({"token_exact": None}, ["token_log_probabilities", "token_exact"]),
        ({"token_exact": 2.5}, ["token_exact", "whole number", "2.5"]),
        ({"token_exact": 7}, ["token_exact", "0 to 4", "7"]),
        ({"token_log_probabilities": None}, ["token_weights", "token_log_probabilities"]),
        ({"token_weights": -weights()}, ["token_weights", "at least 0", "token 0"]),
        ({"token_log_probabilities": np.full((2, 3, 4), 0.5)}, ["token_log_probabilities", "at most 0", "token 0"]),
        ({"token_log_probabilities": np.full((2, 3, 4), -0.5)}, ["sum to 1.82", "token 0", "token_log_probabilities"]),
        (
            {"target_log_probabilities": np.full((2, 3), 0.3)},
            ["target_log_probabilities", "at most 0", "token 0", "0.3"],
        ),
        ({"target_log_probabilities": np.full((2, 3), -np.inf)}, ["target_log_probabilities", "infinity", "token 0"]),
        ({"token_choices": np.zeros((2, 3))}, ["token_choices", "integers", "float64"]),
        ({"token_choices": -np.ones((2, 3), int)}, ["token_choices", "token 0", "-1"]),
        ({"token_mask": MASK * 0.5}, ["token_mask", "0.5", "padding"]),
        ({"token_mask": MASK * 7}, ["token_mask", "7"]),
        ({"token_mask": np.where(MASK, 1, np.nan)}, ["token_mask", "nan"]),
        ({"token_choices": np.zeros(3, int)}, ["token_choices", "(examples, tokens)", "(3,)"]),
        ({"token_choices": np.zeros((2, 4), int)}, ["token_choices", "(2, 3)", "(2, 4)"]),
        ({"token_counts": [3, 1]}, ["token_mask", "token_counts"]),
        ({"token_counts": [3, 2], "token_mask": None}, ["token_log_probabilities", "token_counts", "(2, 3, 4)"]),
        ({"kind": "classification"}, ["'generation'", "token_log_probabilities"]),
    ],
)
def test_arrays_that_do_not_fit_are_not_written(tmp_path, change, told):
    with pytest.raises(UserError, match=says("run.safetensors", *told)):
        st.record_run(tmp_path / "run.safetensors", **fields(0, **change))
    assert not list(tmp_path.iterdir())
