"""`steadytune compare`: what it prints, and what it refuses."""

import numpy as np
import pytest
from commands import command, refused
from made_runs import made_arrays, made_record, made_specs, made_store, made_study

from steadytune import RunStore

MEANS = {"standard": 0.7, "mmr": 0.9}


def scored_store(path, recipes, seeds=8, means=MEANS):
    """A folder of runs whose scores are those of their recipe, give or take two points."""
    study = made_study(recipes=list(recipes), seeds=seeds)
    store = RunStore.create(path, study, {})
    generator = np.random.default_rng(0)
    for spec in made_specs(study):
        store.write_examples(spec, "classification", [f"text {n}" for n in range(6)], ["no", "yes"])
        score = means.get(spec.recipe, 0.7) + generator.normal(0, 0.02)
        store.write(made_record(spec, score=score, scores={"accuracy": score}), made_arrays(spec))
    return store


def test_recipes_are_compared_in_a_table_with_p_values_a_verdict_and_the_seeds_needed(tmp_path):
    result = command("compare", scored_store(tmp_path / "out", MEANS).path)
    assert result.code == 0, result.err
    for word in (
        "a-model on a/task: difference from standard [95 % interval, adjusted]",
        "adjusted",
        "accuracy ",
        "SD ratio",
        "Brown-Forsythe",
        "no failure in 8 seeds: up to 31 % of runs may fail (95 %)",
        "failed, %",
        "Fisher",
        "disagree",
        "bootstrap",
        "accuracy is higher",
        "to see a difference of 1 point",
        "38 to see an SD twice another",
        "36 to know an SD to about a quarter either way",
    ):
        assert word in result.out, word


def test_rows_that_are_adjusted_for_the_recipes_alone_are_marked_and_explained(tmp_path):
    out = command("compare", scored_store(tmp_path / "out", MEANS).path).out
    lines = {line.split("  ")[1].strip(): line for line in out.splitlines() if line.startswith("   ")}
    assert {"1 − κ *", "JSD *", "disagree"} <= set(lines)
    assert "* adjusted for the number of recipes alone" in out


def test_the_baseline_and_the_difference_to_see_may_be_chosen(tmp_path):
    store = scored_store(tmp_path / "out", MEANS)
    result = command("compare", store.path, "--baseline", "mmr", "--detect", "0.5")
    assert result.code == 0, result.err
    assert "difference from mmr" in result.out
    assert "accuracy is lower" in result.out
    assert "standard against mmr: " in result.out
    assert "to see a difference of 0.5 points" in result.out


def test_several_recipes_have_their_p_values_adjusted(tmp_path):
    result = command("compare", scored_store(tmp_path / "out", ["standard", "mmr", "surt"]).path)
    assert result.code == 0, result.err
    assert "adjusted for the six tests" in " ".join(result.out.split())


def test_nothing_is_written(tmp_path):
    store = scored_store(tmp_path / "out", MEANS)
    before = sorted(store.path.rglob("*"))
    command("compare", store.path)
    assert sorted(store.path.rglob("*")) == before


def test_an_unknown_baseline_is_refused(tmp_path):
    store = scored_store(tmp_path / "out", MEANS, seeds=2)
    assert "unknown baseline recipe 'standart': did you mean 'standard'?" in refused(
        "compare", store.path, "--baseline", "standart"
    )


def test_one_recipe_has_nothing_to_be_compared_with(tmp_path):
    said = refused("compare", made_store(tmp_path / "out").path)
    assert "one recipe only, 'standard', so there is nothing to compare it with" in said


def test_one_run_of_a_recipe_is_too_few(tmp_path):
    said = refused("compare", scored_store(tmp_path / "out", MEANS, seeds=1).path)
    assert "recipe 'standard' has 1 finished run, and a comparison needs at least two of each recipe" in said


def test_a_folder_without_runs_is_refused(tmp_path):
    assert "there are no runs yet" in refused("compare", RunStore.create(tmp_path / "out", made_study(), {}).path)
    assert "holds no study.yaml" in refused("compare", tmp_path)


@pytest.mark.parametrize("points", ["0", "-1", "nan", "inf"])
def test_a_difference_that_means_nothing_is_refused(tmp_path, points):
    said = refused("compare", tmp_path, "--detect", points)
    assert f"--detect must be a positive number, not {points}" in said


def test_a_difference_that_no_study_could_show_is_refused(tmp_path):
    store = scored_store(tmp_path / "out", MEANS)
    assert "more than 1,000,000 seeds would be needed" in refused("compare", store.path, "--detect", "0.00001")
