import re

import numpy as np
import pandas as pd
from commands import command, refused
from made_runs import VERSIONS, made_arrays, made_record, made_specs, made_store, made_study

from steadytune.records import RunStore


def made_folder(path, task, seeds=3):
    """Runs of four recipes, each further away and less stable than the one before."""
    recipes = ["standard", "mmr", "mhloss", "surt"]
    study = made_study(task=task, seeds=seeds, recipes=recipes)
    store = RunStore.create(path, study, VERSIONS)
    for spec in made_specs(study):
        store.write_examples(spec, "classification", [f"text {n}" for n in range(6)], ["no", "yes"])
        place = 1 + recipes.index(spec.recipe)
        score = 0.6 + 0.01 * place * (spec.seeds.init % 2)
        record = made_record(spec, score=score, measurements={"distance_from_start": float(place)})
        store.write(record, made_arrays(spec, representations=False))
    return path


def test_folders_of_runs_become_a_table_and_a_page_and_the_verdict_is_printed(tmp_path):
    folders = [made_folder(tmp_path / task, f"glue/{task}") for task in ("one", "two")]
    out = tmp_path / "out"
    result = command("theory", "predict", *folders, "--out", out)
    assert result.code == 0, result.err
    said = " ".join(result.out.split())
    assert re.search(r"- SD of the score: [^.]* predicts\b", said)
    assert "'glue/one'" in said
    assert result.out.splitlines()[-1] == f"report: {out / 'prediction.html'}"
    table = pd.read_csv(out / "predictor.csv")
    assert list(table["task"].unique()) == ["glue/one", "glue/two"]
    expected = [0.01 * place * np.sqrt(0.5) for place in (1, 2, 3, 4)] * 2
    assert np.allclose(table["sd"], expected, rtol=1e-4)
    assert (out / "prediction.html").stat().st_size > 1e6


def test_one_task_is_correlated_and_not_held_out(tmp_path):
    result = command("theory", "predict", made_folder(tmp_path / "one", "glue/one"), "--out", tmp_path / "out")
    assert result.code == 0, result.err
    assert "- SD of the score: inconclusive" in " ".join(result.out.split())


def test_what_holds_no_runs_or_too_few_is_refused(tmp_path):
    out = tmp_path / "out"
    assert "study.yaml" in refused("theory", "predict", tmp_path, "--out", out)
    made_store(tmp_path / "two", made_study(seeds=2))
    assert "3 finished runs" in refused("theory", "predict", tmp_path / "two", "--out", out)
    file = tmp_path / "file"
    file.write_text("text")
    assert str(file) in refused("theory", "predict", tmp_path / "two", "--out", file)


def test_the_command_has_help_with_an_example():
    result = command("theory", "predict", "--help")
    assert result.code == 0
    assert "steadytune theory predict" in result.out.partition("Example")[2]
