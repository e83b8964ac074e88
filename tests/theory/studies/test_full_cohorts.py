import math
import os

import numpy as np
import pytest

from steadytune.errors import UserError
from steadytune.files import sha256
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


def test_what_is_kept_is_read_back_to_the_bit_and_not_trained_again(specs, tmp_path, trained):
    runs = specs({"standard": {}, "fast": {"training": {"learning_rate": 1e30, "clip": 0.0}}})
    first = cohorts_stability(runs, 2, tmp_path)
    told = []
    again = cohorts_stability(runs, 2, tmp_path, began=lambda *counts: told.append(counts))
    assert sorted(trained) == ["fast", "standard"]
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
    path.unlink()
    os.mkfifo(path)
    assert cohorts_stability(specs(["standard"]), 2, tmp_path)[0].status == "done"
    assert len(trained) == 5


@pytest.mark.parametrize("change", [("travelled", "traveled"), ('"labels"', '"classes"'), ('"exact"', '"measured"')])
def test_a_whole_file_with_other_fields_is_trained_again(specs, tmp_path, trained, change):
    cohorts_stability(specs(["standard"]), 2, tmp_path)
    (path,) = (tmp_path / "cohorts").iterdir()
    content = path.read_text().splitlines()[1]
    other = content.replace(*change)
    assert other != content
    path.write_text(f"{sha256(other.encode())}\n{other}\n")
    (cohort,) = cohorts_stability(specs(["standard"]), 2, tmp_path)
    assert (cohort.status, len(trained)) == ("done", 2)


def test_a_file_of_another_format_is_not_taken_for_it(specs, tmp_path, trained, monkeypatch):
    cohorts_stability(specs(["standard"]), 2, tmp_path)
    monkeypatch.setattr(full_cohorts, "_FORMAT", full_cohorts._FORMAT + 1)
    cohorts_stability(specs(["standard"]), 2, tmp_path)
    assert len(trained) == 2


def test_a_users_error_in_one_cohort_is_its_reason_and_the_study_goes_on(specs, tmp_path, monkeypatch):
    def refuse(runs, *arguments, **options):
        if runs[0].recipe == "refused":
            raise UserError("there is no language model to re-train")
        return leave_one_out_full(runs, *arguments, **options)

    runs = specs({"refused": {"training": {"epochs": 2}}, "standard": {}})
    with monkeypatch.context() as patched:
        patched.setattr(full_cohorts, "leave_one_out_full", refuse)
        refused, fine = cohorts_stability(runs, 1, tmp_path)
    assert (refused.status, refused.reason) == ("refused", "there is no language model to re-train")
    assert fine.status == "done"
    told = []
    again, _ = cohorts_stability(runs, 1, tmp_path, began=lambda *counts: told.append(counts))
    assert told == [(1, 1)]
    assert again.status == "done"


def test_the_standard_error_is_that_of_a_sample_of_examples_from_a_finite_training_set(specs, tmp_path):
    (some,) = cohorts_stability(specs(["standard"], seeds=2, train_size=8, epochs=4), 3, tmp_path)
    row, exact = some.summary(), some.exact
    assert exact is not None
    for name in ("weights", "predictions"):
        a, b, c = getattr(exact.leave_one_out, name).mean(axis=0)
        mean = (a + b + c) / 3
        variance = ((a - mean) ** 2 + (b - mean) ** 2 + (c - mean) ** 2) / 2
        assert row[f"loo_{name}_error"] == pytest.approx(math.sqrt(variance / 3 * (8 - 3) / 8))
    assert row["loo_weights_error"] > 0
    assert f"standard error of {row['loo_weights_error']:.2g} " in exact.describe()[2]


def test_one_example_has_no_standard_error_and_a_whole_training_set_none_that_is_not_0(specs, tmp_path):
    (one,) = cohorts_stability(specs(["standard"], train_size=8), 1, tmp_path)
    assert math.isnan(one.summary()["loo_weights_error"])
    (every,) = cohorts_stability(specs(["standard"], train_size=8, epochs=4), 8, tmp_path)
    assert every.exact is not None
    assert np.ptp(every.exact.leave_one_out.weights) > 0
    assert every.summary()["loo_weights_error"] == 0


def test_the_blocks_of_a_model_are_counted_once(specs, tmp_path, monkeypatch):
    built, build = [], full_cohorts.build_model
    monkeypatch.setattr(full_cohorts, "build_model", lambda *given: built.append(given) or build(*given))
    cohort = full_cohorts.CohortStability(specs(["freeze"])[0], 40, "failed")
    assert [cohort.summary()["frozen"] for _ in range(3)] == [1, 1, 1]
    assert len(built) == 1


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
