"""Profiles: hand-computed values, and every way in which a cohort can fall short."""

import math
import re
from importlib.metadata import EntryPoint

import numpy as np
import pytest
from saying import names, says

from steadytune import UserError, registry
from steadytune.analysis.failures import failure_clauses
from steadytune.analysis.profile import (
    profile,
    profile_all,
)
from steadytune.measures import MEASURES as EVERY
from steadytune.measures import (
    correlation_distance,
    intraclass_correlation,
    judged,
    linear_cka,
    pair_mean,
    permutation_null,
    prediction_rmse,
    procrustes,
)
from steadytune.records import Cohort
from steadytune.records.cohort import LostRun

pytestmark = pytest.mark.slow

MEASURES = tuple(measure.name for measure in judged())
PREDICTION_MEASURES = ("disagreement", "kappa", "jensen_shannon")
REGRESSION_MEASURES = ("prediction_rmse", "prediction_correlation", "icc")
REPRESENTATION_MEASURES = ("svcca", "procrustes", "cka")


@pytest.fixture
def three_runs(make_cohort, wrong_at):
    """Runs that score 1.0, 0.9 and 0.7; pairs differ at 1, 3 and 4 of 10 examples."""
    generator = np.random.default_rng(0)
    common = generator.standard_normal((2, 10, 4))
    states = [common + 0.2 * generator.standard_normal(common.shape) for _ in range(3)]
    return make_cohort([wrong_at(), wrong_at(0), wrong_at(7, 8, 9)], representations=states)


def unknown(found, measures):
    return all(math.isnan(found.last(measure).value) for measure in measures)


class TestValues:
    def test_a_measure_of_another_name_is_no_unknown_value(self, three_runs):
        with pytest.raises(UserError, match=says("measure 'dissagreement'", "'disagreement'")):
            profile(three_runs).last("dissagreement")

    def test_measures_come_in_order_with_representations_once_per_layer(self, three_runs):
        found = profile(three_runs)
        assert [value.measure for value in found.values] == [
            *MEASURES[:4],
            *(measure for measure in MEASURES[4:] for _ in range(2)),
        ]
        assert [value.layer for value in found.values] == [None] * 4 + [1, 2] * 3

    def test_score_measures_are_those_computed_by_hand(self, three_runs):
        found = profile(three_runs)
        assert found.mean.value == pytest.approx(2.6 / 3)
        assert found.last("sd").value == pytest.approx(math.sqrt((0.4**2 + 0.1**2 + 0.5**2) / 9 / 2))

    def test_prediction_measures_are_those_computed_by_hand(self, three_runs):
        found = profile(three_runs)
        assert found.distances["disagreement"] == pytest.approx(np.array([[0, 1, 3], [1, 0, 4], [3, 4, 0]]) / 10)
        disagreement = 8 / 30
        # Class 1 is predicted 4 + 5 + 1 = 10 times of 30; two classes: 1 - kappa = disagreement / (1 - P_e).
        assert found.last("disagreement").value == pytest.approx(disagreement)
        assert found.last("kappa").value == pytest.approx(disagreement / (1 - (100 + 400) / 900))

    def test_jensen_shannon_counts_the_examples_that_differ(self, three_runs):
        p = 1 / (1 + math.exp(-4))
        entropy = -p * math.log(p) - (1 - p) * math.log(1 - p)
        assert profile(three_runs).last("jensen_shannon").value == pytest.approx(8 / 30 * (math.log(2) - entropy))

    def test_representation_measures_and_their_nulls_are_those_of_the_single_functions(self, three_runs):
        found = profile(three_runs)
        layers = [value for value in found.values if value.measure == "procrustes"]
        states = three_runs.representations
        assert [value.value for value in layers] == pytest.approx(pair_mean(procrustes(states)))
        assert [value.null for value in layers] == pytest.approx(permutation_null(procrustes, states))
        assert found.distances["cka"] == pytest.approx(linear_cka(states))
        assert found.last("cka").layer == 2

    def test_representations_of_one_layer_need_no_layer_axis(self, three_runs, make_cohort):
        states = three_runs.representations
        flat = profile(make_cohort(scores=[0.7, 0.8, 0.9], representations=[run[1] for run in states]))
        assert flat.last("svcca").layer == 1
        assert flat.last("svcca").value == pytest.approx(profile(three_runs).last("svcca").value)

    def test_every_interval_holds_its_value(self, three_runs):
        for value in profile(three_runs).values:
            assert value.low <= value.value <= value.high

    def test_the_same_cohort_gives_the_same_profile(self, three_runs):
        assert repr(profile(three_runs).values) == repr(profile(three_runs).values)


class TestDraws:
    def test_everything_measured_is_resampled_layers_side_by_side(self, three_runs):
        found = profile(three_runs)
        assert set(found.resampled.both) == {"mean", *MEASURES}
        assert found.resampled.both["sd"].shape == (10_000,)
        assert found.resampled.both["svcca"].shape == (10_000, 2)

    def test_other_examples_widen_the_interval_of_the_mean(self, three_runs):
        known, unknown = (profile(cohort).mean.interval for cohort in (three_runs, Cohort(scores=three_runs.scores)))
        # t_2 = 4.302653
        half = 4.302653 * three_runs.scores.std(ddof=1) / math.sqrt(3)
        assert unknown.value - unknown.low == pytest.approx(half)
        same_examples_twenty_times = Cohort(
            logits=np.tile(three_runs.logits, (1, 20, 1)), labels=np.tile(three_runs.labels, 20)
        )
        many = profile(same_examples_twenty_times).mean.interval
        error, error_of_many = profile(three_runs).evaluation.standard_error, 0.0
        error_of_many = profile(same_examples_twenty_times).evaluation.standard_error
        assert error_of_many == pytest.approx(error / math.sqrt(20), rel=0.05)
        assert many.value - many.low == pytest.approx(half, rel=0.1)
        assert many.high == 1
        assert known.value == many.value

    def test_the_evaluation_set_has_its_own_error_beside_the_seeds(self, three_runs):
        found = profile(three_runs)
        assert found.evaluation.examples == 10
        assert found.evaluation.seed_sd == pytest.approx(found.last("sd").value)
        assert len(found.evaluation.best_of) == 3

    def test_the_candidates_of_a_choice_are_drawn_together(self, make_cohort):
        generator = np.random.default_rng(0)
        signal = generator.standard_normal((1, 36, 5))
        states = [signal + 0.2 * generator.standard_normal(signal.shape) for _ in range(4)]
        logits = generator.standard_normal((4, 12, 3))
        found = profile(Cohort(logits=logits, labels=np.zeros(12), kind="choice", representations=states))
        assert found.last("cka").low < found.last("cka").value < found.last("cka").high


class TestProgress:
    def test_progress_grows_to_everything_done_over_all_cohorts(self, three_runs, make_cohort):
        shares = []
        found = profile_all([three_runs, make_cohort(scores=[0.7, 0.8]), three_runs], progress=shares.append)
        assert len(found) == 3
        assert shares == sorted(shares)
        assert shares[-1] == 1
        assert any(0 < share < 1 / 3 for share in shares)


class TestTexts:
    def test_texts_are_measured_by_exact_match_and_characters(self):
        generations = [["a cat", "a dog", "no"], ["a cat", "the dog", "no"], ["that", "a dog", "no"]]
        found = profile(Cohort(kind="generation", generations=generations, references=["a cat", "a dog", "no"]))
        assert found.mean.value == pytest.approx(7 / 9)
        assert found.last("disagreement").value == pytest.approx((1 + 1 + 2) / 9)
        assert 0 < found.last("chrf").value < found.last("disagreement").value
        assert unknown(found, ["kappa", "jensen_shannon"])
        assert any(names(note, "texts", "1 − κ", "disagreement") for note in found.notes)

    def test_only_texts_have_a_distance_of_characters(self, three_runs):
        assert "chrf" not in {value.measure for value in profile(three_runs).values}


class TestShortCohorts:
    def test_no_finished_run_leaves_everything_unknown(self, make_cohort):
        found = profile(make_cohort(scores=[], lost=(LostRun("0", "diverged", "the loss is nan"),)))
        assert unknown(found, MEASURES)
        assert math.isnan(found.mean.value)
        assert found.distances == {}
        (note,) = found.notes
        assert note.startswith("No run")

    def test_one_run_has_a_score_and_nothing_else(self, make_cohort, wrong_at):
        found = profile(make_cohort([wrong_at(1)], representations=np.ones((1, 2, 10, 3))))
        assert found.mean.value == pytest.approx(0.9)
        assert unknown(found, MEASURES)
        (note,) = found.notes
        assert names(note, "One run", "two")

    def test_two_runs_have_values_but_no_interval(self, make_cohort, wrong_at):
        found = profile(make_cohort([wrong_at(), wrong_at(1)]))
        assert found.last("disagreement").value == pytest.approx(0.1)
        assert math.isnan(found.last("disagreement").low)
        assert math.isnan(found.last("sd").low)
        assert math.isnan(found.mean.low)
        assert found.notes[0].startswith("Two runs")


class TestDegenerateCohorts:
    def test_identical_runs_are_zero_without_interval(self, make_cohort, wrong_at):
        states = [np.random.default_rng(0).standard_normal((2, 10, 4))] * 4
        found = profile(make_cohort([wrong_at(3)] * 4, representations=states))
        for value in found.values:
            assert value.value == pytest.approx(0, abs=1e-7)
            assert math.isnan(value.low)
        assert any(names(note, "score", "same", "SD", "no interval") for note in found.notes)

    def test_one_single_answer_counts_as_agreement_and_is_said(self, make_cohort):
        found = profile(make_cohort(np.zeros((3, 10), dtype=int)))
        assert found.last("kappa").value == 0
        assert any(names(note, "kappa", "0/0") for note in found.notes)

    def test_a_regression_has_measures_of_its_own_in_the_place_of_those_of_classes(self, make_cohort):
        logits = np.random.default_rng(0).standard_normal((3, 10, 1))
        found = profile(make_cohort(scores=[0.7, 0.8, 0.85], logits=logits, kind="regression", metric="pearson"))
        assert unknown(found, PREDICTION_MEASURES)
        assert [value.measure for value in found.values] == ["sd", *REGRESSION_MEASURES, *REPRESENTATION_MEASURES]
        numbers = logits[..., 0]
        expected = pair_mean(prediction_rmse(numbers)), pair_mean(correlation_distance(numbers))
        assert [found.last(name).value for name in REGRESSION_MEASURES] == pytest.approx(
            [*expected, 1 - intraclass_correlation(numbers)]
        )
        for name in REGRESSION_MEASURES:
            value = found.last(name)
            assert 0 < value.low < value.value < value.high
        assert any(names(note, "RMSE, 1 − Pearson and 1 − ICC", "1 − κ") for note in found.notes)

    def test_equal_predictions_of_a_regression_are_zero_without_interval(self, make_cohort):
        logits = np.tile(np.arange(10.0)[:, None], (3, 1, 1))
        found = profile(make_cohort(scores=[0.7, 0.7, 0.7], logits=logits, kind="regression", metric="pearson"))
        for name in REGRESSION_MEASURES:
            assert found.last(name).value == pytest.approx(0, abs=1e-12)
            assert math.isnan(found.last(name).low)

    def test_a_constant_run_of_a_regression_is_named(self, make_cohort):
        logits = np.random.default_rng(0).standard_normal((3, 10, 1))
        logits[1] = 0.3
        found = profile(make_cohort(scores=[0.7, 0.0, 0.8], logits=logits, kind="regression", metric="pearson"))
        assert found.distances["prediction_correlation"][0, 1] == 1
        assert any(names(note, "Seed 1", "0/0") for note in found.notes)

    def test_a_regression_whose_scores_alone_are_known_says_that_the_rest_is_missing(self, make_cohort):
        found = profile(make_cohort(scores=[0.7, 0.8, 0.85], kind="regression", metric="pearson"))
        assert unknown(found, REGRESSION_MEASURES)
        assert any(note.startswith("No predictions") for note in found.notes)

    def test_scores_alone_leave_the_rest_unknown_and_say_why(self, make_cohort):
        found = profile(make_cohort(scores=[0.7, 0.8]))
        assert unknown(found, MEASURES[1:])
        assert {"No predictions", "No representations"} <= {" ".join(note.split()[:2]) for note in found.notes}

    def test_a_frozen_encoder_has_no_representations_to_compare_and_says_why(self, make_cohort, wrong_at):
        found = profile(make_cohort([wrong_at(), wrong_at(1)], frozen_encoder=True))
        # Not 0, which would say that they were measured and found stable.
        assert unknown(found, REPRESENTATION_MEASURES)
        assert found.last("disagreement").value > 0
        assert any(names(note, "frozen encoder", "SVCCA, Procrustes and CKA") for note in found.notes)


class TestNotes:
    def test_a_grid_of_seeds_says_that_runs_share_seeds(self, make_cohort, wrong_at):
        predictions = [wrong_at(n) for n in range(4)]
        grid = profile(make_cohort(predictions, seeds=("0", "0/1/0", "1/0/0", "1/1/0")))
        assert any("grid" in note for note in grid.notes)
        plain = profile(make_cohort(predictions, seeds=("0", "1", "2", "3")))
        assert not any("grid" in note for note in plain.notes)

    def test_failed_runs_are_named(self, make_cohort, wrong_at):
        found = profile(make_cohort([wrong_at(), [0] * 10, wrong_at(1), [0] * 10], seeds=("0", "3", "5", "7")))
        assert found.notes[0].startswith("Seeds 3 and 7 ")

    def test_lost_runs_are_counted(self, make_cohort):
        found = profile(make_cohort(scores=[0.7, 0.8, 0.9], lost=(LostRun("3", "failed", "out of memory"),)))
        assert names(found.notes[0], "One seed", "finish")
        lost = tuple(LostRun(seed, "diverged", "its outputs are NaN throughout") for seed in "34")
        found = profile(make_cohort(scores=[0.7, 0.8, 0.9], lost=lost))
        assert names(found.notes[0], "Two seeds", "diverged")
        assert names(failure_clauses(found.cohort)[0], "seeds 3 and 4", "diverged", "NaN")

    def test_what_is_missing_for_a_score_is_named(self):
        states = np.random.default_rng(0).normal(size=(2, 1, 6, 3))
        for given, missing in (({"labels": [0, 1] * 3}, ["predictions"]), ({}, ["predictions", "labels"])):
            notes = profile(Cohort(representations=states, **given)).notes
            (note,) = [note for note in notes if "score" in note and "predictions" in note]
            assert [word for word in ("predictions", "labels") if word in note] == missing

    def test_svcca_is_called_vacuous_with_fewer_examples_than_dimensions(self, make_cohort):
        states = np.random.default_rng(0).standard_normal((3, 1, 10, 40))
        notes = profile(make_cohort(scores=[0.7, 0.8, 0.9], representations=states)).notes
        assert any(names(note, "SVCCA", "10", "40") for note in notes)

    def test_unrelated_runs_are_near_their_null_and_similar_ones_are_not(self, make_cohort):
        generator = np.random.default_rng(0)
        unrelated = generator.standard_normal((3, 60, 5))
        related = generator.standard_normal((60, 5)) + 0.1 * generator.standard_normal((3, 60, 5))
        states = np.stack([related, unrelated, related], axis=1)
        notes = profile(make_cohort(scores=[0.7, 0.8, 0.9], representations=states)).notes
        named = [note for note in notes if "null" in note]
        assert [note.split()[0] for note in named] == ["SVCCA", "Procrustes", "CKA"]
        assert all(re.findall(r"layers? (.*?) \(", note) == ["2"] for note in named)

    def test_collapsed_representations_are_named_by_layer(self, make_cohort):
        states = np.random.default_rng(0).standard_normal((3, 2, 10, 4))
        states[1, 1] = 1.0
        notes = profile(make_cohort(scores=[0.7, 0.8, 0.9], representations=states)).notes
        assert any(names(note, "layer 2", "representation", "same") for note in notes)

    def test_representations_that_overflow_are_unknown_and_their_run_is_named(self, make_cohort):
        states = np.ones((3, 1, 10, 4), dtype=np.float16)
        states[2, 0, 0, 0] = np.inf
        found = profile(make_cohort(scores=[0.7, 0.8, 0.9], representations=states))
        assert unknown(found, REPRESENTATION_MEASURES)
        assert any(names(note, "Representations", "seed 2", "finite") for note in found.notes)

    def test_too_few_examples_for_an_interval_of_cka_are_said(self, make_cohort):
        states = np.random.default_rng(0).standard_normal((3, 1, 7, 2))
        found = profile(make_cohort(scores=[0.7, 0.8, 0.9], representations=states))
        assert math.isnan(found.last("cka").low)
        assert found.last("procrustes").low > 0
        assert any(names(note, "CKA", "interval", "7 examples") for note in found.notes)

    def test_scores_that_cannot_be_drawn_with_the_examples_are_said(self, make_cohort, wrong_at):
        predictions = [wrong_at(), wrong_at(1), wrong_at(2, 3)]
        assert not any("accuracy" in note for note in profile(make_cohort(predictions)).notes)
        notes = profile(make_cohort(predictions, metric="record_f1")).notes
        assert any(names(note, "record_f1", "SD") for note in notes)

    def test_too_few_examples_for_cka_are_said(self, make_cohort):
        states = np.random.default_rng(0).standard_normal((3, 1, 3, 2))
        found = profile(make_cohort(scores=[0.7, 0.8, 0.9], representations=states))
        assert unknown(found, ["cka"])
        assert any(names(note, "CKA", "four examples", "3") for note in found.notes)


class TestChosenMeasures:
    @pytest.mark.parametrize("chosen", [["sd"], ["disagreement"], ["procrustes"], ["cka", "kappa"]])
    def test_notes_are_about_the_measures_that_were_requested(self, chosen):
        # SVCCA is vacuous, all are near their null, and without probabilities Jensen-Shannon is unknown.
        generator = np.random.default_rng(0)
        predictions = generator.integers(0, 2, size=(3, 12))
        states = generator.standard_normal((3, 1, 12, 30))
        cohort = Cohort(predictions=predictions, labels=np.arange(12) % 2, representations=states)
        about = {"svcca": "SVCCA", "procrustes": "Procrustes", "cka": "CKA", "jensen_shannon": "Jensen-Shannon"}
        every, found = (profile(cohort, measures=asked, resamples=200) for asked in (None, chosen))
        assert all(any(name in note for note in every.notes) for name in about.values())
        assert {value.measure for value in found.values} == set(chosen)
        assert set(found.notes) < set(every.notes)
        begins = {name for name, title in about.items() if any(note.startswith(title) for note in found.notes)}
        assert begins == set(chosen) & {"procrustes", "cka"}

    def test_a_measure_that_the_runs_cannot_have_is_named(self):
        numbers = np.random.default_rng(0).standard_normal((3, 8, 1))
        cohort = Cohort(logits=numbers, labels=np.arange(8.0), kind="regression")
        found = profile(cohort, measures=["sd", "kappa", "disagreement"], resamples=200)
        assert [value.measure for value in found.values] == ["sd"]
        assert any(names(note.lower(), "disagreement", "κ", "'regression'") for note in found.notes)
        assert not any("RMSE" in note for note in found.notes)


class TestBadInput:
    def test_a_measure_of_a_package_that_cannot_be_imported_is_named_with_its_package(self, three_runs, monkeypatch):
        point = EntryPoint("broken", "not_there_at_all.measure:BROKEN", "steadytune.measures")
        monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == point.group else [])
        EVERY.forget()
        try:
            with pytest.raises(UserError, match=says("measure 'broken'", point.value, "uninstall")) as raised:
                profile(three_runs)
        finally:
            monkeypatch.undo()
            EVERY.forget()
        assert str(raised.value).startswith("measure 'broken'")
        assert len(str(raised.value).splitlines()) == 1

    def test_scores_that_are_nan_name_the_cohort(self, make_cohort):
        with pytest.raises(UserError, match=says("standard: scores", "finite", "run 1")):
            profile(make_cohort(scores=[0.7, math.nan]))
