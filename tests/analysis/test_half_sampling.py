"""Halves of the examples: what they say of the variance, and what they leave together."""

import numpy as np
import pytest

from steadytune.analysis.bootstrap import resample
from steadytune.analysis.half_sampling import SPLITS, half_deviations, random_splits
from steadytune.analysis.intervals import pair_interval
from steadytune.measures import layer_distances, pair_mean
from steadytune.records import Cohort

pytestmark = pytest.mark.slow


def related_runs(generator, runs=3, examples=40, width=6, rows=1):
    signal = np.repeat(generator.normal(size=(examples, width)), rows, axis=0)
    return [(signal + 0.3 * generator.normal(size=signal.shape))[None] for _ in range(runs)]


def deviations_of(runs, splits=SPLITS):
    return half_deviations(layer_distances(runs, splits=random_splits(runs[0].shape[-2], splits=splits)).halves)


def test_a_deviation_is_half_the_difference_of_two_halves():
    halves = {"svcca": np.array([[[0.5, 1.0], [0.25, 0.0]], [[0.0, 0.0], [1.0, 0.5]]])}
    assert half_deviations(halves)["svcca"].tolist() == [[0.125, 0.5], [-0.5, -0.25]]


def test_halves_share_no_example_and_are_of_one_size():
    for first, second in random_splits(7, splits=5):
        assert len(first) == len(second) == 3
        assert not set(first) & set(second)
        assert sorted(first) == first.tolist()


def test_candidates_of_an_example_stay_together():
    for half in random_splits(8, rows_per_example=3, splits=1)[0]:
        assert len(half) == 12
        assert all(half[at] % 3 == 0 and list(half[at : at + 3] - half[at]) == [0, 1, 2] for at in range(0, 12, 3))


def test_the_mean_square_of_the_deviations_of_a_mean_is_its_variance():
    values = np.random.default_rng(0).lognormal(size=50)
    halves = [[[values[half].mean()] for half in split] for split in random_splits(50, splits=4000)]
    deviations = half_deviations({"mean": np.array(halves)})["mean"]
    # s^2 / N, as for any mean of 50 independent examples; 4000 splits find it to about 3 %.
    assert np.square(deviations).mean() == pytest.approx(values.var(ddof=1) / 50, rel=0.08)


def test_the_same_number_of_examples_is_split_in_the_same_way():
    for one, other in zip(random_splits(40), random_splits(40), strict=True):
        assert np.array_equal(one, other)
    assert not np.array_equal(random_splits(40)[0], random_splits(40, seed=1)[0])


@pytest.mark.parametrize(
    ("examples", "known"), [(1, set()), (6, {"svcca", "procrustes"}), (8, {"svcca", "procrustes", "cka"})]
)
def test_halves_that_are_too_small_for_a_measure_leave_it_unknown(examples, known):
    found = deviations_of(related_runs(np.random.default_rng(2), examples=examples))
    assert {name for name, values in found.items() if np.isfinite(values).all()} == known
    assert all(values.shape == (8, 1) for values in found.values())


def test_progress_ends_with_everything_done():
    shares = []
    runs = related_runs(np.random.default_rng(3))
    layer_distances(runs, splits=random_splits(40, splits=4), progress=shares.append)
    # A factorisation, three pairs and their nulls, and four splits.
    assert shares == pytest.approx(np.arange(1, 12) / 11)


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
        found_here = layer_distances(runs, splits=random_splits(60))
        distances, deviations = found_here.distances, half_deviations(found_here.halves)
        cohort = Cohort(scores=np.zeros(10))
        drawn = resample(cohort, distances, deviations, resamples=300, seed=seed)
        for name, intervals in found.items():
            value = float(pair_mean(distances[name])[0])
            intervals.append(pair_interval(value, 10, 2.0, drawn.of(name, SPLITS, 0)))
    for intervals in np.array(list(found.values())):
        truth = intervals[:, 0].mean()
        # The standard error of a rate of 95 % over 40 cohorts is 3.5 points.
        assert np.mean((intervals[:, 1] <= truth) & (truth <= intervals[:, 2])) >= 0.92 - 0.035
