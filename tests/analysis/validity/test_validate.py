"""Validation of a study: convergence by hand, which cohorts take part, and the rows of the file."""

import math

import numpy as np
import pytest
from failing_runs import LAYERS, failing_profile

from steadytune.analysis.profile import Profile
from steadytune.analysis.validity.validate import ValidityRow, converge, validate, validity_rows
from steadytune.errors import UserError
from steadytune.measures import judged

pytestmark = pytest.mark.slow

MEASURES = tuple(measure.name for measure in judged() if measure.applies_to("classification"))


def with_curves(**curves):
    """A profile whose pair means over the layers are given."""
    base = failing_profile(runs=3, failed=0)
    distances = {measure: np.array([value * (1 - np.eye(3)) for value in curve]) for measure, curve in curves.items()}
    return Profile(**{**vars(base), "distances": distances})


def test_convergence_is_the_correlation_of_the_pair_means_over_the_layers():
    found = converge(with_curves(svcca=[0.1, 0.1, 0.1], procrustes=[0.1, 0.2, 0.3], cka=[0.3, 0.2, 0.1]))
    assert found.layers == 3
    values = {(pair.measure, pair.other): pair.value for pair in found.pairs}
    assert values["procrustes", "cka"] == pytest.approx(-1)
    assert math.isnan(values["svcca", "cka"])


def test_two_layers_and_no_layers_have_no_convergence():
    found = converge(with_curves(procrustes=[0.1, 0.2], cka=[0.3, 0.2]))
    assert math.isnan(found.pairs[0].value)
    assert converge(failing_profile(representations=None)) is None


@pytest.fixture(scope="module")
def validations():
    profiles = [failing_profile(name, failed=failed) for name, failed in (("standard", 2), ("mmr", 0), ("surt", 0))]
    profiles.append(failing_profile("alone", runs=1, failed=0))
    profiles.append(failing_profile("alone", runs=1, failed=0, task="other"))
    return validate(profiles)


def test_only_cohorts_of_two_runs_and_their_groups_take_part(validations):
    assert list(validations) == [("m", "t")]
    found = validations["m", "t"]
    assert [profile.cohort.recipe for profile in found.profiles] == ["standard", "mmr", "surt"]
    assert [len(part) for part in (found.convergent, found.groups, found.agreements)] == [3, 3, 3]
    assert [bool(group.reason) for group in found.groups] == [False, True, True]
    assert {entry.recipe for entry in found.subsamples} == {"standard", "mmr", "surt"}
    assert found.overall.cohorts == 3
    assert found.recommendation.sentences


def test_one_recipe_is_not_ranked():
    (found,) = validate([failing_profile()]).values()
    assert found.ranking == ()
    assert math.isnan(found.overall.r)


def test_tasks_of_one_model_share_their_overall_consistency_and_nothing_else():
    profiles = [failing_profile(name, failed=0, task=task) for task in ("t", "u") for name in ("a", "b")]
    profiles.append(failing_profile("a", failed=0, model="n"))
    found = validate(profiles)
    assert found["m", "t"].overall == found["m", "u"].overall
    assert found["m", "t"].overall.cohorts == 4
    assert found["n", "t"].overall.cohorts == 1
    assert len(found["m", "t"].profiles) == 2


def test_progress_ends_when_all_is_done():
    told = []
    validate([failing_profile(), failing_profile("mmr")], progress=lambda done, total: told.append((done, total)))
    assert told == [(done, 16) for done in range(1, 17)]


def test_nothing_to_validate_is_nothing():
    with pytest.raises(UserError, match="nothing to"):
        validate([])
    assert validity_rows({}) == []


def test_scores_alone_are_validated_without_complaint():
    (found,) = validate([failing_profile(logits=None, labels=None, representations=None)]).values()
    assert found.convergent == ()
    assert found.subsamples == ()
    assert found.recommendation.report == ("sd",)


def test_the_rows_hold_every_number_in_the_columns_of_the_file(validations):
    rows = validity_rows(validations)
    assert ValidityRow._fields == (
        *("model", "task", "recipe", "analysis", "measure", "other"),
        *("layer", "value", "low", "high", "p", "note"),
    )
    pairs = len(MEASURES) * (len(MEASURES) - 1) // 2
    amounts = {
        "convergent": 3 * 3,
        # Four numbers for two matrices and three measures of three layers; two recipes say why they have none.
        "known_groups": 4 * (2 + 3 * LAYERS) + 2,
        "subsampling": 3 * 7 * 2,
        "ranking": pairs,
        "bootstrap": 3 * pairs,
        "bootstrap_published": 3 * pairs,
        "overall": 1,
    }
    assert {name: sum(row.analysis == name for row in rows) for name in amounts} == amounts
    assert sum(amounts.values()) == len(rows)
    subset = next(row for row in rows if row.analysis == "subsampling")
    assert subset.low <= subset.value <= subset.high
    assert subset.note == "40 examples"
    (difference,) = [row for row in rows if (row.measure, row.other) == ("disagreement", "failed minus successful")]
    means = {row.other: row.value for row in rows if row.analysis == "known_groups" and row.measure == "disagreement"}
    assert difference.value == pytest.approx(means["failed"] - means["successful"])
    assert 0 < difference.p <= 1
