import pandas as pd
import pytest
from commands import command, refused


@pytest.fixture
def features(tiny_model, tiny_task):
    return ["theory", "features", "--model", tiny_model, "--task", tiny_task]


def test_the_small_study_writes_page_and_table_and_says_every_verdict(features, tiny_task, tmp_path):
    out = tmp_path / "out"
    result = command(*features, "--small", "--draws", 1, "--workers", 1, "--out", out)
    assert result.code == 0, result.err
    assert result.out.splitlines()[-1] == f"report: {out / 'theory.html'}"
    assert "More examples make head tuning more stable" in " ".join(result.out.split())
    table = pd.read_csv(out / "studies.csv")
    assert sorted(table["n"].unique()) == [20, 40]
    assert set(table["task"]) == {str(tiny_task)}
    page = (out / "theory.html").read_text(encoding="utf-8")
    assert f"features of {tiny_task.name}</h1>" in page


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--size", 41], "size 41: of these tasks '{task}' has the most training examples, 40"),
        (["--size", 3], "size 3: a sub-sample of task '{task}' with its 2 classes needs at least 4 examples"),
        (["--set", "training.mode=full"], "features are frozen, which is mode 'head'"),
        (["--set", "training.nothing=1"], "nothing"),
    ],
)
def test_what_cannot_be_studied_is_refused(features, tiny_task, tmp_path, words, said):
    assert said.format(task=tiny_task) in refused(*features, *words, "--out", tmp_path / "out")


def test_an_output_that_is_a_file_is_refused(features, tmp_path):
    file = tmp_path / "file"
    file.write_text("text")
    assert refused(*features, "--out", file) == f"error: {file} is a file: --out names a folder"


def test_help_has_an_example():
    assert "steadytune theory features" in command("theory", "features", "--help").out.partition("Example")[2]
