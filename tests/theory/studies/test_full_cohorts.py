import math
import shutil

import numpy as np
import pytest
from saying import names, says

from steadytune.errors import UserError
from steadytune.study import Study
from steadytune.sweep.listener import Listener
from steadytune.sweep.plan import plan
from steadytune.theory import leave_one_out_full
from steadytune.theory.studies import full_cohorts as module
from steadytune.theory.studies.full_cohorts import CohortStability, full_cohorts, train_cohorts
from steadytune.training import run as training_run
from steadytune.training.data import run_data

BASE = {"epochs": 1, "batch_size": 8, "learning_rate": 1e-3}


class Counts(Listener):
    def began(self, store, specs, missing):
        self.total = len(specs), missing


@pytest.fixture
def study(tiny_model, tiny_task):
    def make(recipes, seeds=1, **training):
        content = {"model": str(tiny_model), "task": str(tiny_task), "seeds": seeds, "recipes": recipes}
        return Study.parse({**content, "training": {**BASE, **training}})

    return make


def found(study, examples, out, **options):
    cohorts = full_cohorts(study, examples)
    store = train_cohorts(cohorts, study, out, **options)
    return [cohort.result(store) for cohort in cohorts]


def test_every_cohort_has_the_numbers_that_it_has_alone(study, tmp_path):
    given = study({"standard": {}, "few": {"training": {"train_size": 20, "epochs": 3}}}, seeds=2)
    counts = Counts()
    cohorts = found(given, 2, tmp_path, listener=counts)
    assert counts.total == (12, 12)
    few = cohorts[1]
    alone = leave_one_out_full([spec for spec in plan(given) if spec.recipe == "few"], 2, out=tmp_path / "other")
    row = few.summary()
    for name, values in alone.to_frame().iterrows():
        assert row[f"loo_{name}"] == values["leave_one_out"]
        assert row[f"seed_{name}"] == values["seed"]
    assert row["travelled"] == alone.travelled.mean()
    # 3 passes over 20 examples, 8 at a time.
    assert (row["n"], row["epochs"], row["steps"], row["left_out"], row["seeds"]) == (20, 3, 9, 2, 2)
    rows = few.examples()
    assert len(rows) == 4
    assert np.mean([one["loo_predictions"] for one in rows]) == pytest.approx(row["loo_predictions"])
    labels = run_data(few.spec).splits.train.labels
    assert [one["label"] for one in rows[:2]] == [labels[one["example"]] for one in rows[:2]]


def test_what_is_recorded_is_not_trained_again(study, tmp_path, monkeypatch):
    given = study({"standard": {}, "fast": {"training": {"learning_rate": 1e30, "clip": 0.0}}})
    first = found(given, 2, tmp_path)
    monkeypatch.setattr(training_run, "train_once", None)
    counts = Counts()
    again = found(given, 2, tmp_path, listener=counts)
    assert counts.total == (6, 0)
    for before, after in zip(first, again, strict=True):
        assert (after.status, after.reason) == (before.status, before.reason)
        assert str(after.summary()) == str(before.summary())
        assert after.examples() == before.examples()
    assert again[0].exact is not None
    assert again[0].exact.examples.dtype == np.int64


def test_a_run_that_was_removed_or_damaged_comes_back_with_the_same_bits(study, tmp_path):
    given = study(["standard"], seeds=2)
    (first,) = found(given, 2, tmp_path)
    runs = sorted((tmp_path / "trainings" / "runs").iterdir())
    shutil.rmtree(runs[0])
    (runs[1] / "run.json").write_text("{")
    (runs[2] / "arrays.safetensors").write_bytes(b"")
    (again,) = found(given, 2, tmp_path)
    assert str(again.summary()) == str(first.summary())
    assert again.examples() == first.examples()


def test_another_study_is_refused_where_one_is_held(study, tmp_path):
    found(study(["standard"]), 2, tmp_path)
    with pytest.raises(UserError, match="learning_rate"):
        found(study(["standard"], learning_rate=2e-3), 2, tmp_path)


def test_a_folder_of_an_older_version_is_refused(study, tmp_path):
    (tmp_path / "cohorts").mkdir()
    with pytest.raises(UserError, match=says(str(tmp_path), "older version")):
        found(study(["standard"]), 2, tmp_path)


def test_a_users_error_in_one_cohort_is_its_reason_and_the_study_goes_on(study, tmp_path, monkeypatch):
    train_once = training_run.train_once

    def refuse(specs, *arguments):
        if specs[0].recipe == "refused":
            raise UserError("there is no language model to re-train")
        return train_once(specs, *arguments)

    given = study({"refused": {"training": {"epochs": 2}}, "standard": {}})
    with monkeypatch.context() as patched:
        patched.setattr(training_run, "train_once", refuse)
        refused, fine = found(given, 1, tmp_path)
    assert (refused.status, refused.reason) == ("refused", "there is no language model to re-train")
    assert fine.status == "done"
    counts = Counts()
    again, _ = found(given, 1, tmp_path, listener=counts)
    assert counts.total == (4, 2)
    assert again.status == "done"


def test_the_standard_error_is_that_of_a_sample_of_examples_from_a_finite_training_set(study, tmp_path):
    (some,) = found(study(["standard"], seeds=2, train_size=8, epochs=4), 3, tmp_path)
    row, exact = some.summary(), some.exact
    assert exact is not None
    for name in ("weights", "predictions"):
        a, b, c = getattr(exact.leave_one_out, name).mean(axis=0)
        mean = (a + b + c) / 3
        variance = ((a - mean) ** 2 + (b - mean) ** 2 + (c - mean) ** 2) / 2
        assert row[f"loo_{name}_error"] == pytest.approx(math.sqrt(variance / 3 * (8 - 3) / 8))
    assert row["loo_weights_error"] > 0
    assert names(exact.describe()[2], "standard error", f"{row['loo_weights_error']:.2g}")


def test_one_example_has_no_standard_error_and_a_whole_training_set_none_that_is_not_0(study, tmp_path):
    (one,) = found(study(["standard"], train_size=8), 1, tmp_path)
    assert math.isnan(one.summary()["loo_weights_error"])
    (every,) = found(study(["standard"], train_size=8, epochs=4), 8, tmp_path / "every")
    assert every.exact is not None
    assert np.ptp(every.exact.leave_one_out.weights) > 0
    assert every.summary()["loo_weights_error"] == 0


def test_the_blocks_of_a_model_are_counted_once(study, tmp_path, monkeypatch):
    built, build = [], module.build_model
    monkeypatch.setattr(module, "build_model", lambda *given: built.append(given) or build(*given))
    cohort = CohortStability(plan(study(["freeze"]))[0], 40, "crashed")
    assert [cohort.summary()["frozen"] for _ in range(3)] == [1, 1, 1]
    assert len(built) == 1


def test_a_cohort_that_is_lost_is_a_result_with_its_reason(study, tmp_path, monkeypatch):
    recipes = {
        "standard": {},
        "fast": {"training": {"learning_rate": 1e30, "clip": 0.0}},
        "lnsr": {"stabilizers": ["lnsr"]},
    }
    fine, fast, lnsr = found(study(recipes), 1, tmp_path)
    assert fine.status == "done"
    assert fast.status == "diverged"
    assert names(fast.reason, "loss", "finite")
    assert lnsr.status == "refused"
    for cohort in (fast, lnsr):
        assert math.isnan(cohort.summary()["loo_weights"])
        assert cohort.summary()["steps"] == 5
        assert cohort.examples() == []


def test_numbers_do_not_depend_on_the_number_of_processes(study, tmp_path):
    runs = study({"surt": {"stabilizers": ["surt"]}, "freeze": {"stabilizers": ["freeze"]}}, train_size=16)
    apart, together = (found(runs, 1, tmp_path / str(workers), workers=workers) for workers in (2, 1))
    assert [str(cohort.summary()) for cohort in apart] == [str(cohort.summary()) for cohort in together]
    # Half of the model's two blocks.
    assert [cohort.frozen for cohort in apart] == [0, 1]
