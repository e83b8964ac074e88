"""Sub-samples: what must not change does not, what must does, and every subset is what it says."""

import math

import numpy as np
import pytest
from failing_runs import EXAMPLES, LAYERS, failing_cohort, failing_profile

from steadytune.analysis.profile import profile
from steadytune.analysis.validity.subsampling import DRAWS, SHARES, Subsample, steps, subsample
from steadytune.measures import judged

pytestmark = pytest.mark.slow

MEASURES = tuple(measure.name for measure in judged() if measure.applies_to("classification"))


def by_measure(found, share=0.5):
    return {(entry.measure, entry.layer): entry for entry in found if entry.share == share}


def test_all_seven_measures_are_taken_at_the_last_layer_on_both_shares():
    found = subsample(failing_profile())
    assert {entry.measure for entry in found} == set(MEASURES)
    assert {entry.layer for entry in found} == {None, LAYERS}
    assert {(entry.share, entry.examples) for entry in found} == {(0.5, EXAMPLES // 2), (0.1, EXAMPLES // 10)}
    assert all(len(entry.values) == DRAWS for entry in found)


def test_all_layers_are_taken_where_asked_for():
    layers = {entry.layer for entry in subsample(failing_profile(), "all")}
    assert layers == {None, *range(1, LAYERS + 1)}


def test_the_full_values_are_those_of_the_profile():
    measured = failing_profile()
    for (measure, _), entry in by_measure(subsample(measured)).items():
        assert entry.full == measured.last(measure).value


def test_a_subset_of_all_examples_changes_nothing(monkeypatch):
    monkeypatch.setattr("steadytune.analysis.validity.subsampling.SHARES", (1.0,))
    for entry in subsample(failing_profile(), "all"):
        assert entry.changes == pytest.approx([0] * DRAWS, abs=1e-9)


def test_subsets_of_alike_examples_change_no_prediction_measure():
    # Every example is the same: whichever are drawn, the measures are.
    cohort = failing_cohort(runs=4, failed=0)
    logits = np.tile(np.array([[[1.0, 0]], [[0, 1.0]], [[0.4, 0.6]], [[2.0, 0]]]), (1, 40, 1))
    labels = np.zeros(40, int)
    alike = profile(
        failing_cohort(runs=4, failed=0, logits=logits, labels=labels, scores=[1, 0, 0, 1], representations=None)
    )
    assert len(cohort) == 4
    for entry in subsample(alike):
        assert entry.changes == pytest.approx([0] * DRAWS, abs=1e-9)


def test_procrustes_shrinks_with_the_examples_and_unbiased_cka_does_not():
    found = by_measure(subsample(failing_profile(failed=0)), 0.5)
    assert max(found["procrustes", LAYERS].changes) < -0.1
    assert abs(found["cka", LAYERS].change) < 0.1


def test_disagreement_is_unbiased_over_many_subsets(monkeypatch):
    monkeypatch.setattr("steadytune.analysis.validity.subsampling.DRAWS", 400)
    cohort = failing_cohort(failed=0, representations=None)
    found = by_measure(subsample(profile(cohort)), 0.1)
    assert found["disagreement", None].change == pytest.approx(0, abs=0.05)
    # Few examples add their own luck to that of the seeds.
    assert found["sd", None].change > 0.2


def test_recipes_of_one_size_are_measured_on_the_same_examples():
    standard = failing_cohort()
    one, other = (
        by_measure(subsample(profile(failing_cohort(name, logits=standard.logits, representations=None))))
        for name in ("standard", "other")
    )
    for key in {("disagreement", None), ("kappa", None), ("jensen_shannon", None)}:
        assert one[key].values == other[key].values
    assert len(set(one["disagreement", None].values)) > 1


def test_a_multiple_choice_example_takes_all_its_candidates_along():
    # States of candidate 0 are shared by the runs, those of candidate 1 are not: a mix-up of rows would be seen.
    generator = np.random.default_rng(0)
    shared = generator.normal(size=(1, 40, 2, 6))
    run = np.concatenate([shared, shared], axis=0)
    states = [run.reshape(2, 80, 6) * factor for factor in (1.0, 2.0, 3.0)]
    logits = generator.normal(size=(3, 40, 2))
    cohort = failing_cohort(
        kind="choice",
        runs=3,
        failed=0,
        logits=logits,
        labels=np.zeros(40, int),
        scores=[0.1, 0.2, 0.3],
        representations=states,
    )
    found = by_measure(subsample(profile(cohort)), 0.5)
    assert found["cka", 2].values == pytest.approx([0] * DRAWS, abs=1e-9)


def test_fewer_than_four_examples_are_no_subset():
    cohort = failing_cohort(runs=3, failed=0, representations=None, logits=None, labels=None)
    assert subsample(profile(cohort)) == ()
    few = np.random.default_rng(0).normal(size=(3, 10, 2))
    cohort = failing_cohort(
        runs=3, failed=0, representations=None, logits=few, labels=np.zeros(10, int), scores=[0.1, 0.2, 0.3]
    )
    assert {entry.share for entry in subsample(profile(cohort))} == {0.5}


def test_scores_that_do_not_follow_from_the_logits_have_no_subset():
    measured = failing_profile(scores=np.linspace(0.1, 0.9, 6))
    assert "sd" not in {entry.measure for entry in subsample(measured)}


def test_a_measure_that_is_zero_has_no_relative_change():
    entry = Subsample("", "sd", None, 0.5, 10, 0.0, (0.0, 0.1))
    assert all(map(math.isnan, entry.changes))


def test_progress_is_told_as_often_as_it_was_promised():
    told = []
    measured = failing_profile(runs=3, failed=0)
    subsample(measured, step=lambda: told.append(1))
    assert len(told) == steps([measured]) == len(SHARES) * DRAWS
