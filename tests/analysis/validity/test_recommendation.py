"""The recommendation: each rule on evidence made for it, and the words that go with it."""

import math

import numpy as np
import pytest
from failing_runs import failing_profile
from saying import names

from steadytune.analysis.profile import Profile, profile
from steadytune.analysis.validity.consistency import Agreement
from steadytune.analysis.validity.groups import KnownGroups, Separation
from steadytune.analysis.validity.recommendation import Evidence, recommend
from steadytune.analysis.validity.subsampling import Subsample
from steadytune.measures import judged
from steadytune.records import Cohort

pytestmark = pytest.mark.slow

MEASURES = tuple(measure.name for measure in judged() if measure.applies_to("classification"))

WIDE = ("sd", "disagreement", "kappa", "jensen_shannon", "procrustes", "cka")


def profile_with(nulls=math.nan, **fields):
    """A cohort of more examples than dimensions, its representation measures beside given nulls."""
    found = failing_profile(failed=0, **fields)
    values = tuple(
        type(value)(value.measure, value.layer, 0.5, 0.4, 0.6, nulls) if value.layer else value
        for value in found.values
    )
    return Profile(**{**vars(found), "values": values})


def agreement(**pairs):
    matrix = np.full((len(MEASURES), len(MEASURES)), 0.3)
    for pair, value in pairs.items():
        first, second = (MEASURES.index(name) for name in pair.split("__"))
        matrix[first, second] = matrix[second, first] = value
    return Agreement("standard", MEASURES, matrix, matrix)


def halves(measure, *changes):
    return Subsample("standard", measure, None, 0.5, 40, 1.0, tuple(1 + change for change in changes))


def chosen(profiles=None, groups=(), subsamples=(), agreements=()):
    given = profiles or (profile_with(nulls=1.0),)
    return recommend(Evidence(tuple(given), tuple(groups), tuple(subsamples), tuple(agreements)))


def test_without_a_fault_all_measures_are_reported():
    found = chosen(agreements=[agreement()])
    assert found.report == MEASURES
    assert found.left_out == {}
    assert names(found.sentences[0], "score SD, disagreement")


def test_a_measure_near_its_null_is_left_out():
    found = chosen([profile_with(nulls=0.55)])
    assert found.report == ("sd", "disagreement", "kappa", "jensen_shannon")
    assert "91 %" in found.left_out["cka"]


def test_svcca_with_fewer_examples_than_dimensions_is_left_out():
    states = list(np.random.default_rng(0).normal(size=(6, 3, 80, 100)))
    found = chosen([profile_with(nulls=1.0, representations=states)])
    assert found.left_out.keys() == {"svcca"}
    assert names(found.left_out["svcca"], "examples", "80", "dimensions", "100")


def test_a_measure_that_half_of_the_examples_change_is_left_out():
    found = chosen(subsamples=[halves("procrustes", -0.2, -0.3, -0.2, -0.25)])
    assert "-24 %" in found.left_out["procrustes"]


@pytest.mark.parametrize("changes", [(-0.3, -0.3, -0.3, 0.1), (-0.02, -0.03, -0.01, -0.02)])
def test_a_change_that_is_small_or_goes_both_ways_is_no_fault(changes):
    assert "procrustes" in chosen(subsamples=[halves("procrustes", *changes)]).report


def test_score_sd_is_reported_even_where_it_changes_and_that_is_said():
    found = chosen(subsamples=[halves("sd", 0.3, 0.4, 0.3, 0.4)])
    assert "sd" in found.report
    assert any(names(sentence, "SD", "+35 %") for sentence in found.sentences)


def test_of_two_measures_that_say_the_same_the_simpler_is_kept():
    found = chosen(agreements=[agreement(disagreement__kappa=0.99, procrustes__cka=0.97)])
    assert found.report == ("sd", "disagreement", "jensen_shannon", "svcca", "cka")
    assert names(found.left_out["kappa"], "disagreement", "r = 0.99")
    assert names(found.left_out["procrustes"], "CKA", "r = 0.97")


def test_measures_of_different_kinds_are_kept_however_well_they_agree():
    assert "cka" in chosen(agreements=[agreement(disagreement__cka=0.99, sd__disagreement=0.99)]).report


def test_one_recipe_of_three_is_no_rule():
    profiles = [profile_with(nulls=null) for null in (1.0, 1.0, 0.55)]
    assert "cka" in chosen(profiles).report


def test_a_frozen_encoder_and_measures_that_are_missing_are_named_as_such():
    frozen = failing_profile(failed=0, representations=None, frozen_encoder=True)
    assert "frozen encoder" in chosen([frozen]).left_out["cka"]


def test_measures_of_classes_do_not_apply_to_a_regression_and_its_own_are_not_judged():
    generator = np.random.default_rng(0)
    numbers = Cohort(generator.random(4), logits=generator.normal(size=(4, 20, 1)), kind="regression", metric="pearson")
    found = chosen([profile(numbers)])
    assert "regression" in found.left_out["kappa"]
    assert found.report == ("sd",)
    assert any("Pairwise RMSE" in sentence for sentence in found.sentences)
    scores = failing_profile(failed=0, representations=None, logits=None, labels=None)
    found = chosen([scores])
    assert found.report == ("sd",)
    (reason,) = set(found.left_out.values())
    assert "measured" in reason
    assert sum("measured" in sentence for sentence in found.sentences) == 1


def test_how_far_score_sd_stands_for_the_others_is_said():
    together = agreement(**{f"sd__{measure}": 0.8 for measure in MEASURES[1:]})
    (little,) = [said for said in chosen(agreements=[agreement()]).sentences if names(said, "Score SD", "0.30")]
    (much,) = [said for said in chosen(agreements=[together]).sentences if names(said, "Score SD", "0.80")]
    assert little.replace("0.30", "0.80") != much


def test_failed_runs_are_described_with_the_sign_that_they_have():
    seen = (
        Separation("disagreement", None, 0.2, 0.0, 0.5, 0.01),
        Separation("jensen_shannon", None, 0.1, 0.12, 0.2, 0.4),
        Separation("cka", 2, 0.5, 0.1, 0.5, 0.01),
        Separation("cka", 3, 0.4, 0.95, 0.9, 0.01),
    )
    sentences = chosen(groups=[KnownGroups("standard", "", seen)]).sentences
    by = ["less", "CKA", "more", "disagreement", "not", "Jensen-Shannon"]
    assert any(names(sentence, "standard: failed runs", *by) for sentence in sentences)


def test_few_runs_are_named():
    assert names(chosen().sentences[-1], "six runs", "ten")


def test_what_nobody_measured_is_not_recommended_and_several_measures_are_plural():
    states = list(np.random.default_rng(0).normal(size=(3, 2, 20, 5)))
    found = chosen([profile(Cohort(representations=states), resamples=100)])
    assert "sd" not in found.report
    assert "sd" in found.left_out
    assert any(names(sentence, "score SD", "they were") for sentence in found.sentences)
    unknown = chosen([profile(Cohort(logits=np.random.default_rng(1).normal(size=(3, 20, 2))), resamples=100)])
    assert "sd" not in unknown.report
    assert "disagreement" in unknown.report


TEXTS = tuple(
    measure.name for measure in judged() if measure.applies_to("generation") and measure.level == "prediction"
)


def texts(*runs, **fields):
    return profile(Cohort(generations=runs, kind="generation", **fields), resamples=100)


def test_a_measure_that_is_0_in_every_pair_is_not_recommended():
    same = texts(*[["a", "b b", "c"]] * 4, scores=[0.1, 0.2, 0.3, 0.4])
    found = chosen([same])
    assert found.report == ("sd",)
    assert {"disagreement", "chrf", "rouge_l"} <= set(found.left_out) & set(TEXTS)
    assert all(names(found.left_out[name], "0 in every pair") for name in ("disagreement", "chrf", "rouge_l"))
    other = texts(["a", "b b", "c"], ["a", "b d", "c"], ["a", "b b", "e"])
    # In one of two recipes it is not.
    assert "disagreement" in chosen([same, other]).report


def test_a_measure_that_is_the_same_in_every_pair_is_not_recommended_and_its_value_is_told():
    # No two texts are equal, but they differ by more or less.
    found = chosen([texts(["a b c d"], ["a b c e"], ["a b f g"], ["h i"], scores=[0.1, 0.2, 0.3, 0.4])])
    assert "disagreement" not in found.report
    assert names(found.left_out["disagreement"], "1 in every pair")
    assert "rouge_l" in found.report
    assert any(names(sentence, "Leave out disagreement", "1 in every pair") for sentence in found.sentences)


def test_one_pair_of_runs_does_not_make_a_constant():
    assert "disagreement" in chosen([texts(["a", "b"], ["a", "c"])]).report


def test_score_sd_is_not_recommended_where_all_scores_are_the_same():
    found = chosen([profile_with(nulls=1.0, scores=[0.5] * 6, logits=None, predictions=DIFFERENT, labels=None)])
    assert "sd" not in found.report
    assert names(found.left_out["sd"], "0 in every pair")
    assert "disagreement" in found.report
    assert not any(names(sentence, "SD correlates") for sentence in found.sentences)


DIFFERENT = np.random.default_rng(3).integers(0, 2, (6, 80))
