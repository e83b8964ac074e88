import math

import numpy as np
import pytest

from steadytune.study import Study
from steadytune.sweep.plan import plan
from steadytune.theory import leave_one_out_full
from steadytune.theory.studies import full_cohorts
from steadytune.theory.studies.full_cohorts import cohorts_stability
from steadytune.training.data import run_data

BASE = {"epochs": 1, "batch_size": 8, "learning_rate": 1e-3}


@pytest.fixture
def specs(tiny_model, tiny_task):
    def make(recipes, seeds=1, **training):
        study = {"model": str(tiny_model), "task": str(tiny_task), "seeds": seeds, "recipes": recipes}
        return plan(Study.parse({**study, "training": {**BASE, **training}}))

    return make


@pytest.fixture
def trained(monkeypatch):
    """Count what is trained."""
    seen = []

    def watch(specs, *arguments, **options):
        seen.append(specs[0].recipe)
        return leave_one_out_full(specs, *arguments, **options)

    monkeypatch.setattr(full_cohorts, "leave_one_out_full", watch)
    return seen


def test_every_cohort_has_the_numbers_that_it_has_alone(specs, tmp_path):
    runs = specs({"standard": {}, "few": {"training": {"train_size": 20, "epochs": 3}}}, seeds=2)
    told, done = [], []
    cohorts = cohorts_stability(runs, 2, tmp_path, began=lambda *counts: told.append(counts), done=done.append)
    assert told == [(2, 0)]
    assert sorted(cohort.name for cohort in done) == sorted(cohort.name for cohort in cohorts)
    few = cohorts[1]
    alone = leave_one_out_full([spec for spec in runs if spec.recipe == "few"], 2, cache=tmp_path / "other")
    row = few.summary()
    for name, values in alone.table().iterrows():
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


def test_what_is_kept_is_read_back_to_the_bit_and_not_trained_again(specs, tmp_path, trained):
    runs = specs({"standard": {}, "lnsr": {"stabilizers": ["lnsr"]}})
    first = cohorts_stability(runs, 2, tmp_path)
    told = []
    again = cohorts_stability(runs, 2, tmp_path, began=lambda *counts: told.append(counts))
    assert trained == ["standard", "lnsr"]
    assert told == [(0, 2)]
    for before, after in zip(first, again, strict=True):
        assert (after.status, after.reason) == (before.status, before.reason)
        assert str(after.summary()) == str(before.summary())
        assert after.examples() == before.examples()
    assert again[0].exact is not None
    assert again[0].exact.describe() == first[0].exact.describe()
    assert again[0].exact.examples.dtype == np.int64


@pytest.mark.parametrize("change", [{"seeds": 2}, {"learning_rate": 2e-3}, {"train_size": 30}, {"examples": 3}])
def test_what_was_asked_otherwise_is_not_taken_for_it(specs, tmp_path, trained, change):
    examples = change.pop("examples", 2)
    cohorts_stability(specs(["standard"]), 2, tmp_path)
    (cohort,) = cohorts_stability(specs(["standard"], **change), examples, tmp_path)
    assert len(trained) == 2
    assert cohort.exact is not None
    assert len(cohort.exact.examples) == examples


def test_a_file_that_was_changed_is_trained_again(specs, tmp_path, trained):
    cohorts_stability(specs(["standard"]), 2, tmp_path)
    (path,) = (tmp_path / "cohorts").iterdir()
    for content in (path.read_text().replace('"done"', '"Done"'), "", "a\nb"):
        path.write_text(content)
        (cohort,) = cohorts_stability(specs(["standard"]), 2, tmp_path)
        assert cohort.status == "done"
    assert len(trained) == 4


def test_a_cohort_that_is_lost_is_a_result_with_its_reason(specs, tmp_path, monkeypatch):
    recipes = {
        "standard": {},
        "fast": {"training": {"learning_rate": 1e30, "clip": 0.0}},
        "lnsr": {"stabilizers": ["lnsr"]},
    }
    fine, fast, lnsr = cohorts_stability(specs(recipes), 1, tmp_path)
    assert fine.status == "done"
    assert fast.status == "diverged"
    assert "the training loss was not finite" in fast.reason
    assert lnsr.status == "refused"
    for cohort in (fast, lnsr):
        assert math.isnan(cohort.summary()["loo_weights"])
        assert cohort.summary()["steps"] == 5
        assert cohort.examples() == []


def test_what_failed_otherwise_is_tried_again(specs, tmp_path, monkeypatch, trained):
    with monkeypatch.context() as patched:
        patched.setattr(full_cohorts, "leave_one_out_full", lambda *arguments, **options: 1 / 0)
        (cohort,) = cohorts_stability(specs(["standard"]), 1, tmp_path)
    assert (cohort.status, cohort.reason) == ("failed", "ZeroDivisionError: division by zero")
    (cohort,) = cohorts_stability(specs(["standard"]), 1, tmp_path)
    assert cohort.status == "done"


def test_numbers_do_not_depend_on_the_number_of_processes(specs, tmp_path):
    runs = specs({"surt": {"stabilizers": ["surt"]}, "freeze": {"stabilizers": ["freeze"]}}, train_size=16)
    apart, together = (cohorts_stability(runs, 1, tmp_path / str(workers), workers=workers) for workers in (2, 1))
    assert [str(cohort.summary()) for cohort in apart] == [str(cohort.summary()) for cohort in together]
    # Half of the model's two blocks.
    assert [cohort.frozen for cohort in apart] == [0, 1]
