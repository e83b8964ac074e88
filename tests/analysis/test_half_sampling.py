"""Halves of the examples: what they say of the variance, and what they leave together."""

import numpy as np
import pytest

from steadytune.analysis import half_sampling
from steadytune.analysis.bootstrap import resample
from steadytune.analysis.half_sampling import SPLITS, half_deviations
from steadytune.analysis.intervals import pair_interval
from steadytune.measures import pair_mean, representation_distances
from steadytune.records import Cohort

pytestmark = pytest.mark.slow


def related_runs(generator, runs=3, examples=40, width=6, rows=1):
    signal = np.repeat(generator.normal(size=(examples, width)), rows, axis=0)
    return [(signal + 0.3 * generator.normal(size=signal.shape))[None] for _ in range(runs)]


def test_a_deviation_is_half_the_difference_of_two_halves_that_share_no_example(monkeypatch):
    taken = []

    def measure(runs, measures):
        taken.append([run[0, :, 0].tolist() for run in runs])
        return {"svcca": np.full((1, 2, 2), float(len(taken)))}

    monkeypatch.setattr(half_sampling, "representation_distances", measure)
    states = [np.arange(7.0)[None, :, None], np.arange(7.0)[None, :, None]]
    assert half_deviations(states, splits=2)["svcca"].tolist() == [[-0.5], [-0.5]]
    first, second = taken[0][0], taken[1][0]
    assert len(first) == len(second) == 3
    assert not set(first) & set(second)
    assert taken[0][0] == taken[0][1]


def test_candidates_of_an_example_stay_together(monkeypatch):
    taken = []

    def measure(runs, measures):
        taken.append(runs[0][0, :, 0].tolist())
        return representation_distances(runs, measures)

    monkeypatch.setattr(half_sampling, "representation_distances", measure)
    states = [np.arange(24.0).reshape(1, 24, 1) ** power for power in (1, 2)]
    half_deviations(states, rows_per_example=3, splits=1)
    for rows in taken:
        assert len(rows) == 12
        assert all(
            rows[at] % 3 == 0 and rows[at : at + 3] == [rows[at] + k for k in range(3)] for at in range(0, 12, 3)
        )


def test_the_mean_square_of_the_deviations_of_a_mean_is_its_variance(monkeypatch):
    def mean(runs, measures):
        return {"svcca": runs[0].mean() * np.ones((1, 2, 2))}

    monkeypatch.setattr(half_sampling, "representation_distances", mean)
    values = np.random.default_rng(0).lognormal(size=50)
    deviations = half_deviations([values[None, :, None]] * 2, splits=4000)["svcca"]
    # s^2 / N, as for any mean of 50 independent examples; 4000 splits find it to about 3 %.
    assert np.square(deviations).mean() == pytest.approx(values.var(ddof=1) / 50, rel=0.08)


def test_the_same_number_of_examples_is_split_in_the_same_way():
    runs = related_runs(np.random.default_rng(1))
    again = half_deviations(runs)
    assert all((values == again[name]).all() for name, values in half_deviations(runs).items())


@pytest.mark.parametrize(
    ("examples", "known"), [(1, set()), (6, {"svcca", "procrustes"}), (8, {"svcca", "procrustes", "cka"})]
)
def test_halves_that_are_too_small_for_a_measure_leave_it_unknown(examples, known):
    found = half_deviations(related_runs(np.random.default_rng(2), examples=examples))
    assert {name for name, values in found.items() if np.isfinite(values).all()} == known
    assert all(values.shape == (8, 1) for values in found.values())


def test_progress_ends_with_everything_done():
    shares = []
    half_deviations(related_runs(np.random.default_rng(3)), splits=4, progress=shares.append)
    assert shares == [0.25, 0.5, 0.75, 1.0]


def test_intervals_of_representation_measures_cover_the_truth_of_other_runs_on_other_examples():
    generator = np.random.default_rng(0)
    found = {"svcca": [], "procrustes": [], "cka": []}
    for seed in range(40):
        decay = np.arange(1, 21) ** -0.75
        signal = generator.normal(size=(60, 20)) * decay
        own = 0.5 * generator.lognormal(0, 0.3, size=10)
        maps = 2 * generator.normal(size=(10, 20, 20)) / np.sqrt(20)
        runs = [
            (signal + size * np.tanh(signal @ turned) * decay)[None] for size, turned in zip(own, maps, strict=True)
        ]
        distances, deviations = representation_distances(runs), half_deviations(runs)
        cohort = Cohort(scores=np.zeros(10))
        drawn = resample(cohort, distances, deviations, resamples=300, seed=seed)
        for name, intervals in found.items():
            value = float(pair_mean(distances[name])[0])
            intervals.append(pair_interval(value, 10, 2.0, drawn.of(name, SPLITS, 0)))
    for intervals in np.array(list(found.values())):
        truth = intervals[:, 0].mean()
        # The standard error of a rate of 95 % over 40 cohorts is 3.5 points.
        assert np.mean((intervals[:, 1] <= truth) & (truth <= intervals[:, 2])) >= 0.92 - 0.035
