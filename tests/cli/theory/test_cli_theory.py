import pandas as pd
import pytest
from commands import command, refused

QUICK = ["--seeds", 2, "--steps", 40]


@pytest.fixture
def loo(tiny_model, tiny_task):
    return ["theory", "loo", "--model", tiny_model, "--task", tiny_task]


def test_every_command_of_the_group_has_help_with_an_example():
    text = command("theory", "--help").out
    for name in ("synthetic", "loo"):
        assert f" {name} " in text
        result = command("theory", name, "--help")
        assert result.code == 0
        assert f"steadytune theory {name}" in result.out.partition("Example")[2]


def test_the_small_synthetic_study_writes_page_and_table_and_says_every_verdict(tmp_path):
    out = tmp_path / "out"
    result = command("theory", "synthetic", "--small", "--workers", 1, "--out", out)
    assert result.code == 0, result.err
    assert result.out.splitlines()[-1] == f"report: {out / 'theory.html'}"
    assert "- seen: Leaving out one example turns the max-margin direction" in " ".join(result.out.split())
    table = pd.read_csv(out / "studies.csv")
    assert table["dataset"].nunique() == 16
    assert 0 < table.groupby("dataset")["separable"].first().sum() < 16
    bounded = table.dropna(subset=["max_margin_loo"])
    assert (bounded["max_margin_loo"] <= bounded["loo_bound"]).all()
    assert (out / "theory.html").stat().st_size > 1e6


def test_head_tuning_on_parts_of_a_task_is_measured_and_reported(loo, tmp_path):
    out = tmp_path / "out"
    result = command(*loo, "--size", 20, "--size", 40, *QUICK, "--out", out)
    assert result.code == 0, result.err
    assert "each of the 40 examples got the weight 0" in " ".join(result.out.split())
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
    words = ["--examples", 2, "--seeds", 2, "--set", "training.epochs=1", "--recipe", "standard", "--recipe", "freeze"]
    result = command(*loo, *words, "--out", out)
    assert result.code == 0, result.err
    assert "2 of the 40 examples, one by one, got the weight 0" in " ".join(result.out.split())
    summary = pd.read_csv(out / "stability.csv")
    assert list(summary["recipe"]) == ["standard", "freeze"]
    assert list(summary["left_out"]) == [2, 2]
    assert (summary["travelled"] > 0).all()
    assert "loo_bound" not in summary


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--size", 41], "size 41: task '{task}' has 40 training examples, from 3 to all"),
        (["--size", 2], "size 2: task '{task}' has 40 training examples, from 3 to all"),
        (["--learning-rate", 1e9], "beyond the stability limit"),
        (["--examples", 41], "examples must be 1 to 40, the number of training examples, not 41"),
        (["--examples", 2, "--size", 20], "--size is for head tuning"),
        (["--set", "training.setting=full"], "--examples"),
    ],
)
def test_what_cannot_be_measured_is_refused(loo, tiny_task, tmp_path, words, said):
    assert said.format(task=tiny_task) in refused(*loo, *QUICK, *words, "--out", tmp_path / "out")


def test_an_output_that_is_a_file_is_refused(loo, tmp_path):
    file = tmp_path / "file"
    file.write_text("text")
    assert refused(*loo, "--out", file) == f"error: {file} is a file: --out names a folder"
    assert refused("theory", "synthetic", "--small", "--out", file) == f"error: {file} is a file: --out names a folder"
