import numpy as np
import pytest
from made_runs import VERSIONS, made_arrays, made_record, made_specs, made_study
from saying import names, says

from steadytune.errors import UserError
from steadytune.records import RunStore
from steadytune.theory.predictor import cohorts
from steadytune.theory.predictor.cohorts import COLUMNS, cohort_table


def made_folder(path, study, **fields):
    """A folder whose runs score 0.5 + 0.1 x seed."""
    store = RunStore.create(path, study, VERSIONS)
    for spec in made_specs(study):
        store.write_examples(spec, "classification", [f"text {n}" for n in range(6)], ["no", "yes"])
        lost = fields.get("lost") == (spec.recipe, spec.seeds.init)
        given = {"status": "diverged", "score": None, "reason": "it did"} if lost else {}
        record = made_record(
            spec,
            **{
                "score": 0.5 + 0.1 * spec.seeds.init,
                "measurements": {"distance_from_start": 1.0 + spec.seeds.init},
                **given,
            },
        )
        store.write(record, {} if lost else made_arrays(spec, representations=False))
    return store


def test_quantities_are_of_the_first_run_and_instability_of_the_others(tmp_path):
    store = made_folder(tmp_path / "runs", made_study(seeds=4))
    table, notes = cohort_table([store], tmp_path / "cache")
    assert list(table.columns) == list(COLUMNS)
    (row,) = table.to_dict("records")
    assert (row["model"], row["task"], row["recipe"], row["runs"]) == ("a-model", "a/task", "standard", 4)
    assert row["distance"] == 1.0
    assert row["above_majority"] == pytest.approx(0.0)
    assert row["sd"] == pytest.approx(0.1)
    assert row["sd_all"] == pytest.approx(np.std([0.5, 0.6, 0.7, 0.8], ddof=1))
    assert [row["sd_even"], row["sd_odd"]] == pytest.approx([np.sqrt(0.02)] * 2)
    predictions = store.cohorts()[0].predictions
    pairs = {(i, j): np.mean(predictions[i] != predictions[j]) for i in range(4) for j in range(i)}
    assert row["disagreement"] == pytest.approx(np.mean([pairs[2, 1], pairs[3, 1], pairs[3, 2]]))
    assert row["disagreement_all"] == pytest.approx(np.mean(list(pairs.values())))
    assert row["disagreement_even"] == pairs[2, 0]
    assert np.isnan(row["margin"])
    assert len(notes) == 1
    assert names(notes[0], "frozen features", "'a/task'", "folder")
    assert not (tmp_path / "runs" / "cache").exists()


def test_the_first_finished_run_takes_the_place_of_one_that_diverged(tmp_path):
    store = made_folder(tmp_path / "runs", made_study(seeds=4), lost=("standard", 0))
    table, _ = cohort_table([store], tmp_path / "cache")
    assert list(table["seed"]) == ["1"]
    assert list(table["distance"]) == [2.0]
    assert list(table["runs"]) == [3]


def test_runs_that_are_lost_are_counted_and_their_cohorts_named(tmp_path):
    study = made_study(seeds=4, recipes=["standard", "mmr"])
    store = made_folder(tmp_path / "runs", study, lost=("mmr", 2))
    table, notes = cohort_table([store], tmp_path / "cache")
    assert dict(zip(table["recipe"], table["lost"], strict=True)) == {"standard": 0, "mmr": 1}
    assert names(notes[-1], "a-model / a/task / mmr (1 of 4)")


def test_cohorts_with_too_few_finished_runs_are_left_out_and_named(tmp_path):
    study = made_study(seeds=3, recipes=["standard", "mmr"])
    store = made_folder(tmp_path / "runs", study, lost=("mmr", 1))
    table, notes = cohort_table([store], tmp_path / "cache")
    assert list(table["recipe"]) == ["standard"]
    assert names(notes[0], "3 finished runs", "a-model / a/task / mmr")
    assert "a-model / a/task / mmr (1 of 3)" in notes[-1]


def test_no_cohort_with_enough_runs_is_refused(tmp_path):
    store = made_folder(tmp_path / "runs", made_study(seeds=2))
    with pytest.raises(UserError, match=says(str(store.path), "3 finished runs")):
        cohort_table([store], tmp_path / "cache")


def test_studies_stand_under_one_another_and_a_cohort_in_two_of_them_counts_once(tmp_path):
    first = made_folder(tmp_path / "first", made_study(seeds=3))
    second = made_folder(tmp_path / "second", made_study(seeds=3, recipes=["standard", "mmr"]))
    shares = []
    table, _ = cohort_table([first, second], tmp_path / "cache", progress=shares.append)
    assert list(table["recipe"]) == ["standard", "mmr"]
    assert list(table["study"]) == [str(first.path), str(second.path)]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_the_encoding_of_a_cohorts_examples_is_part_of_the_progress(tmp_path, monkeypatch):
    def encode(spec, cache, progress):
        progress(0.5)
        return {}

    monkeypatch.setattr(cohorts, "feature_quantities", encode)
    first = made_folder(tmp_path / "first", made_study(seeds=3))
    second = made_folder(tmp_path / "second", made_study(seeds=3, task="b/task"))
    shares = []
    cohort_table([first, second], tmp_path / "cache", progress=shares.append)
    assert shares == [0.0, 0.25, 0.5, 0.75, 1.0]
