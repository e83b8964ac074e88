import os
import re
import signal

import pandas as pd
import pytest
import yaml
from commands import Started, command, refused, wait_for

QUICK = ["--seeds", 2, "--steps", 40]
FULL = ["--examples", 2, "--seeds", 2, "--set", "training.epochs=1", "--workers", 1]


@pytest.fixture
def loo(tiny_model, tiny_task):
    return ["theory", "loo", "--model", tiny_model, "--task", tiny_task]


@pytest.fixture
def file(tiny_model, tiny_task, tmp_path):
    """Write a study file."""

    def write(**content):
        path = tmp_path / "study.yaml"
        base = {"model": str(tiny_model), "task": str(tiny_task), "seeds": 1}
        path.write_text(
            yaml.safe_dump({**base, "training": {"epochs": 1, "learning_rate": 1e-3}} | content, sort_keys=False)
        )
        return path

    return write


def test_head_tuning_on_parts_of_a_task_is_measured_and_reported(loo, tmp_path):
    out = tmp_path / "out"
    result = command(*loo, "--size", 20, "--size", 40, *QUICK, "--out", out)
    assert result.code == 0, result.err
    assert re.search(r"\b40 examples\b", " ".join(result.out.split()))
    assert result.out.splitlines()[-1] == f"report: {out / 'loo.html'}"
    summary = pd.read_csv(out / "stability.csv")
    assert list(summary["n"]) == [20, 40]
    assert (summary[["loo_weights", "loo_directions", "loo_loss", "seed_weights", "seed_directions"]] > 0).all(
        axis=None
    )
    assert (summary["influence_rank_weights"] > 0.5).all()
    examples = pd.read_csv(out / "examples.csv")
    assert len(examples) == 2 * (20 + 40)
    per_seed = examples[examples["n"] == 40].groupby("seed")["loo_directions"].mean()
    assert per_seed.mean() == pytest.approx(summary["loo_directions"][1], rel=1e-4)
    assert sorted(examples[(examples["n"] == 40) & (examples["seed"] == 0)]["example"]) == list(range(40))
    small, large = (set(examples[examples["n"] == n]["example"]) for n in (20, 40))
    assert small < large


def test_full_fine_tuning_leaves_out_a_sample_with_the_seeds_held_fixed(loo, tmp_path):
    out = tmp_path / "out"
    words = [*FULL, "--recipe", "standard", "--recipe", "freeze", "--recipe", "lnsr"]
    result = command(*loo, *words, "--out", out)
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert re.findall(r"\d+", lines[0]) == ["3"]
    assert [line for line in lines if "refused: lnsr" in line]
    assert lines[-1] == f"report: {out / 'loo.html'}"
    summary = pd.read_csv(out / "stability.csv")
    assert list(summary["recipe"]) == ["standard", "freeze", "lnsr"]
    assert list(summary["left_out"]) == [2, 2, 0]
    assert list(summary["frozen"]) == [0, 1, 0]
    assert list(summary["status"]) == ["done", "done", "refused"]
    assert (summary["travelled"][:2] > 0).all()
    assert summary.loc[2, ["travelled", "loo_weights", "seed_weights"]].isna().all()
    examples = pd.read_csv(out / "examples.csv")
    means = examples[examples["recipe"] == "freeze"]["loo_weights"].mean()
    assert means == pytest.approx(summary["loo_weights"][1], rel=1e-4)
    again = command(*loo, *words, "--out", out)
    # What was refused may have been put right, and is tried again.
    assert re.findall(r"\d+", again.out.splitlines()[0]) == ["1", "2"]
    pd.testing.assert_frame_equal(pd.read_csv(out / "stability.csv"), summary)


def test_a_study_file_is_read_and_options_go_before_it(file, tmp_path):
    out = tmp_path / "out"
    path = file(recipes={"standard": {}, "slow": {"training": {"learning_rate": 1e-4}}}, seeds=3)
    words = ["--seeds", 1, "--set", "training.train_size=20", "--examples", 1, "--workers", 1]
    result = command("theory", "loo", path, *words, "--out", out)
    assert result.code == 0, result.err
    assert "Learning rate\n- " in result.out
    summary = pd.read_csv(out / "stability.csv")
    assert list(summary["recipe"]) == ["standard", "slow"]
    assert list(summary["learning_rate"]) == [1e-3, 1e-4]
    assert list(summary["n"]) == [20, 20]
    assert summary["seed_weights"].isna().all()
    head = command("theory", "loo", path, "--size", 20, *QUICK, "--recipe", "standard", "--out", tmp_path / "head")
    assert head.code == 0, head.err
    assert list(pd.read_csv(tmp_path / "head" / "stability.csv")["steps"]) == [40]


def test_an_interrupted_study_ends_its_processes_and_goes_on_with_what_is_missing(file, tmp_path):
    out = tmp_path / "out"
    rates = {f"r{n}": {"training": {"learning_rate": n * 1e-4}} for n in range(1, 7)}
    words = ["theory", "loo", file(recipes=rates), "--examples", 2, "--workers", 2, "--out", out]
    process = Started(*words, folder=tmp_path)
    runs = out / "trainings" / "runs"
    wait_for(lambda: list(runs.glob("[!.]*")) or not process.running)
    assert process.running, process.log
    os.kill(process.pid, signal.SIGINT)
    result = process.wait()
    assert result.code == 130, result.out
    assert "report: " not in result.out
    kept = {path: path.stat().st_mtime_ns for path in runs.glob("[!.]*/run.json")}
    assert 1 <= len(kept) < 6 * 3
    again = command(*words[:-3], 1, "--out", out)
    assert again.code == 0, again.err
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert list(pd.read_csv(out / "stability.csv")["recipe"]) == list(rates)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--size", 41], ("size 41", "{task}", "40 ", "3 ")),
        (["--size", 2], ("size 2", "{task}", "40 ", "3 ")),
        (["--learning-rate", 1e9], ("1e+09",)),
        (["--workers", 0], ("--workers", "--examples")),
        (["--set", "recipes={a: {}, b: {training: {learning_rate: 1e-5, epochs: 9}}}"], ("'a'", "'b'")),
        (["--set", "recipes={a: {}, b: {stabilizers: [{mhloss: {heads: 1}}]}}"], ("'a'", "'b'")),
        (["--set", "training.mode=full"], ("--examples",)),
        (["--recipe", "surt", "--vary", "init"], ("--vary",)),
    ],
)
def test_what_cannot_be_measured_is_refused(loo, tiny_task, tmp_path, words, said):
    answer = refused(*loo, *QUICK, *words, "--out", tmp_path / "out")
    assert all(part.format(task=tiny_task) in answer for part in said)
    assert not (tmp_path / "out" / "stability.csv").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--examples", 41], (" 40 ", "41")),
        (["--size", 20], ("--size", "--examples", "--set training.train_size=")),
        (["--steps", 500], ("--steps", "--examples", "--set training.epochs=")),
        (["--learning-rate", 0], ("--learning-rate", "--examples", "--set training.learning_rate=")),
        (["--set", "training.mode=head"], ("--examples", "training.mode")),
        (["--recipe", "mmmr"], ("'mmmr'", "'mmr'")),
    ],
)
def test_what_cannot_be_measured_in_full_fine_tuning_is_refused(loo, tiny_task, tmp_path, words, said):
    words = ["--examples", 2, "--seeds", 2, *words]
    answer = refused(*loo, *words, "--out", tmp_path / "out")
    assert all(part in answer for part in said)
    assert not (tmp_path / "out" / "trainings").exists()


def test_heads_of_mhloss_are_trained_and_averaged_in_head_tuning(loo, tmp_path):
    out = tmp_path / "out"
    result = command(*loo, "--recipe", "standard", "--recipe", "mhloss", "--size", 20, *QUICK, "--out", out)
    assert result.code == 0, result.err
    summary = pd.read_csv(out / "stability.csv").set_index("recipe")
    # Distances of two means of H independent draws are those of single draws over sqrt(H), about.
    ratio = summary.loc["standard", "seed_weights"] / summary.loc["mhloss", "seed_weights"]
    assert 50**0.5 / 1.6 < ratio < 50**0.5 * 1.6


def test_a_finished_task_is_kept_where_a_later_one_fails(loo, tmp_path):
    few, out = tmp_path / "few", tmp_path / "out"
    few.mkdir()
    for name in ("train", "validation"):
        (few / f"{name}.csv").write_text("sentence,label\nanna likes the door,0\nthe book is good,1\nben sees,1\n")
    said = refused(*loo, "--task", few, "--size", 20, *QUICK, "--out", out)
    assert all(part in said for part in ("size 20", str(few), " 3 "))
    assert len(pd.read_csv(out / "stability.csv")) == 1
    assert (out / "loo.html").exists()


def test_a_study_file_that_cannot_be_used_is_refused_before_anything_is_trained(file, tmp_path):
    out = ["--examples", 2, "--out", tmp_path / "out"]
    assert str(tmp_path / "none.yaml") in refused("theory", "loo", tmp_path / "none.yaml", *out)
    said = refused("theory", "loo", *out)
    assert "--task" in said
    assert "steadytune theory loo --help" in said
    assert "--examples" in refused("theory", "loo", file(training={"mode": "head"}), *out)
    assert "training" in refused("theory", "loo", file(training=[1]), *out)
    sizes = file(recipes={"few": {"training": {"train_size": 6}}})
    assert "'few'" in refused("theory", "loo", sizes, "--examples", 7, "--out", tmp_path / "out")
    mixed = file(recipes={"standard": {}, "other": {"training": {"mode": "head"}}})
    said = refused("theory", "loo", mixed, *out)
    assert "'other'" in said
    assert "'full'" in said
    redrawn = file(seeds={"vary": ["data"], "values": 2}, training={"train_size": 20})
    assert "data" in refused("theory", "loo", redrawn, *out)
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_a_file_is_refused(loo, tmp_path):
    file = tmp_path / "file"
    file.write_text("text")
    assert str(file) in refused(*loo, "--out", file)
