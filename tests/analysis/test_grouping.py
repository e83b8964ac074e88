"""Examples that belong together: what is drawn, what is halved, and what is said."""

import dataclasses
import math

import numpy as np
import pytest
from saying import names

from steadytune.analysis.bootstrap import example_weights
from steadytune.analysis.comparison.compare import compare
from steadytune.analysis.evaluation import evaluation_error
from steadytune.analysis.grouping import example_groups
from steadytune.analysis.half_sampling import half_deviations, random_splits
from steadytune.analysis.profile import profile
from steadytune.analysis.validity.subsampling import subsample
from steadytune.measures import layer_distances
from steadytune.records import Cohort
from steadytune.reporting.sources import evaluation_sentence
from steadytune.reporting.tables import limits

GROUPS = np.array([7, 7, 7, 3, 3, 9, 9, 9, 9, 3])


def passages(groups=12, size=5, runs=4, seed=0):
    """Runs that answer whole passages right or wrong, but for a few questions."""
    generator = np.random.default_rng(seed)
    members = np.repeat(np.arange(groups), size)
    labels = generator.integers(0, 2, groups * size)
    right = (generator.random(groups) < 0.7)[members] ^ (generator.random((runs, groups * size)) < 0.05)
    answers = np.where(right, labels, 1 - labels)
    return Cohort(logits=2.0 * np.eye(2)[answers], labels=labels, groups=members, recipe="standard")


def test_groups_are_numbered_as_they_come():
    cohort = Cohort(logits=np.zeros((2, 10, 2)), groups=GROUPS)
    assert example_groups(cohort).tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 2, 1]
    assert example_groups(dataclasses.replace(cohort, groups=None)) is None


def test_whole_groups_are_drawn_one_less_than_there_are():
    members = example_groups(Cohort(logits=np.zeros((2, 10, 2)), groups=GROUPS))
    weights = next(example_weights(10, 200, 200, groups=members))[1]
    by_group = weights[:, [0, 3, 5]]
    assert (weights == by_group[:, members]).all()
    assert (by_group.sum(axis=1) == 2).all()
    assert by_group.mean(axis=0) == pytest.approx(2 / 3, abs=0.1)


def test_the_error_of_the_evaluation_set_is_that_of_the_means_of_its_groups():
    cohort = passages()
    found = evaluation_error(cohort)
    means = (cohort.predictions == cohort.labels).mean(axis=0).reshape(12, 5).mean(axis=1)
    assert found.standard_error == pytest.approx(means.std(ddof=1) / math.sqrt(12), rel=0.03)
    alone = evaluation_error(dataclasses.replace(cohort, groups=None)).standard_error
    assert found.standard_error > 1.7 * alone
    assert "60 examples in 12 groups" in evaluation_sentence(found, cohort.scale)


def test_groups_of_one_example_change_next_to_nothing():
    cohort = dataclasses.replace(passages(), groups=np.arange(60)[::-1])
    known, plain = profile(cohort), profile(dataclasses.replace(cohort, groups=None))
    for measure in ("sd", "disagreement", "kappa", "jensen_shannon"):
        assert known.last(measure).interval == pytest.approx(plain.last(measure).interval, rel=0.05)
    assert known.mean.interval == pytest.approx(plain.mean.interval, rel=0.05)


def test_intervals_of_groups_are_wider_and_one_group_has_none():
    cohort = passages()
    wide, narrow = profile(cohort), profile(dataclasses.replace(cohort, groups=None))
    assert wide.mean.high - wide.mean.low > 1.5 * (narrow.mean.high - narrow.mean.low)
    assert any(names(note, "60 examples", "12 groups") for note in wide.notes)
    alone = profile(dataclasses.replace(cohort, groups=np.zeros(60, int)))
    assert math.isnan(alone.evaluation.standard_error)
    for value in (alone.mean, *(alone.last(name) for name in ("sd", "disagreement", "kappa", "jensen_shannon"))):
        assert not math.isnan(value.value)
        assert math.isnan(value.low)
    assert any("1 group" in note for note in alone.notes)


@pytest.mark.slow
def test_halves_of_representations_hold_whole_groups():
    generator = np.random.default_rng(1)
    # Rows of a group are equal: split between halves they would make these alike.
    rows = generator.standard_normal((3, 8, 4))
    states = [np.repeat(run, 6, axis=0)[None] for run in rows]
    members = np.repeat(np.arange(8), 6)
    together, apart = (
        half_deviations(layer_distances(states, splits=random_splits(48, groups=groups, splits=30)).halves)["cka"]
        for groups in (members, None)
    )
    assert np.square(together).mean() > 2 * np.square(apart).mean()


def test_subsets_hold_whole_groups(monkeypatch):
    cohort = passages(groups=20, size=4)
    drawn = []
    monkeypatch.setattr(
        "steadytune.analysis.validity.subsampling._measure",
        lambda cohort, source, chosen, wanted: drawn.append(chosen) or {},
    )
    subsample(profile(cohort))
    assert [len(chosen) for chosen in drawn] == [40] * 4 + [8] * 4
    for chosen in drawn:
        assert (np.bincount(cohort.groups[chosen])[np.unique(cohort.groups[chosen])] == 4).all()


def test_differences_of_recipes_know_of_groups():
    one, other = passages(), dataclasses.replace(passages(seed=1), labels=passages().labels, recipe="mmr")
    other = Cohort(logits=other.logits, labels=one.labels, groups=one.groups, recipe="mmr")
    grouped = compare([one, other]).rows()[1].differences["mean"].interval
    plain = [dataclasses.replace(cohort, groups=None) for cohort in (one, other)]
    alone = compare(plain).rows()[1].differences["mean"].interval
    assert grouped.high - grouped.low > 1.3 * (alone.high - alone.low)


def test_the_terminal_says_that_examples_form_groups():
    assert any("60 examples in 12 groups" in line for line in limits(compare([passages()]).rows()))
