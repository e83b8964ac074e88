"""`steadytune compare`: what it prints, and what it refuses."""

import numpy as np
import pytest
from commands import command, refused
from made_runs import made_arrays, made_record, made_specs, made_store, made_study
from saying import names

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
        "accuracy is ",
        "1 point",
        "  38 to ",
        "  36 to ",
    ):
        assert word in result.out, word


def test_rows_that_are_adjusted_for_the_recipes_alone_are_marked_and_explained(tmp_path):
    out = command("compare", scored_store(tmp_path / "out", MEANS).path).out
    lines = {line.split("  ")[1].strip(): line for line in out.splitlines() if line.startswith("   ")}
    assert {"1 − κ *", "JSD *", "disagree"} <= set(lines)
    assert names(out, "* adjusted", "recipes")


def test_the_baseline_and_the_difference_to_see_may_be_chosen(tmp_path):
    store = scored_store(tmp_path / "out", MEANS)
    result = command("compare", store.path, "--baseline", "mmr", "--detect", "0.5")
    assert result.code == 0, result.err
    assert names(result.out, "difference", "mmr")
    assert names(result.out, "accuracy", "lower")
    assert any(names(line, "standard", "mmr") for line in result.out.splitlines())
    assert "0.5 points" in result.out


def test_several_recipes_have_their_p_values_adjusted(tmp_path):
    result = command("compare", scored_store(tmp_path / "out", ["standard", "mmr", "surt"]).path)
    assert result.code == 0, result.err
    assert names(result.out, "adjusted", "six")


def test_nothing_is_written(tmp_path):
    store = scored_store(tmp_path / "out", MEANS)
    before = sorted(store.path.rglob("*"))
    command("compare", store.path)
    assert sorted(store.path.rglob("*")) == before


def test_an_unknown_baseline_is_refused(tmp_path):
    store = scored_store(tmp_path / "out", MEANS, seeds=2)
    assert names(refused("compare", store.path, "--baseline", "standart"), "baseline", "'standart'", "'standard'")


def test_one_recipe_has_nothing_to_be_compared_with(tmp_path):
    said = refused("compare", made_store(tmp_path / "out").path)
    assert names(said, "one recipe", "'standard'")


def test_one_run_of_a_recipe_is_too_few(tmp_path):
    said = refused("compare", scored_store(tmp_path / "out", MEANS, seeds=1).path)
    assert names(said, "'standard'", "1 finished run", "two")


def test_a_folder_without_runs_is_refused(tmp_path):
    assert "no runs" in refused("compare", RunStore.create(tmp_path / "out", made_study(), {}).path)
    assert names(refused("compare", tmp_path), str(tmp_path), "no study.yaml")


def test_two_study_folders_are_refused_with_what_to_do(tmp_path):
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        folder.mkdir()
        (folder / "study.yaml").touch()
    told = refused("compare", *folders)
    assert names(
        told, "2 study folders", f"steadytune run --out {folders[0]}", "st.compare([", *map(repr, map(str, folders))
    )


@pytest.mark.parametrize("points", ["0", "-1", "nan", "inf"])
def test_a_difference_that_means_nothing_is_refused(tmp_path, points):
    said = refused("compare", tmp_path, "--detect", points)
    assert names(said, "--detect", points)


def test_a_difference_that_no_study_could_show_is_refused(tmp_path):
    store = scored_store(tmp_path / "out", MEANS)
    assert names(refused("compare", store.path, "--detect", "0.00001"), "1,000,000 seeds")
