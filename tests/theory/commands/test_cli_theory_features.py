import re

import pandas as pd
import pytest
from commands import command, refused


@pytest.fixture
def features(tiny_model, tiny_task):
    return ["theory", "features", "--model", tiny_model, "--task", tiny_task]


def test_the_small_study_writes_page_and_table_and_prints_every_verdict(features, tiny_task, tmp_path):
    out = tmp_path / "out"
    result = command(*features, "--small", "--draws", 1, "--workers", 1, "--out", out)
    assert result.code == 0, result.err
    assert result.out.splitlines()[-1] == f"report: {out / 'theory.html'}"
    assert len(re.findall(r"^- [a-z ]+: ", result.out, re.MULTILINE)) > 30
    table = pd.read_csv(out / "studies.csv")
    assert sorted(table["n"].unique()) == [20, 40]
    assert set(table["task"]) == {str(tiny_task)}
    page = (out / "theory.html").read_text(encoding="utf-8")
    assert f"features of {tiny_task.name}</h1>" in page


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--size", 41], ("size 41", "{task}", "40")),
        (["--size", 3], ("size 3", "{task}", "2 classes", "4 examples")),
        (["--set", "training.mode=full"], ("'head'", "training.mode")),
        (["--set", "training.nothing=1"], ("nothing",)),
    ],
)
def test_what_cannot_be_studied_is_refused(features, tiny_task, tmp_path, words, said):
    answer = refused(*features, *words, "--out", tmp_path / "out")
    assert all(part.format(task=tiny_task) in answer for part in said)


def test_an_output_that_is_a_file_is_refused(features, tmp_path):
    file = tmp_path / "file"
    file.write_text("text")
    assert str(file) in refused(*features, "--out", file)


def test_help_has_an_example():
    assert "steadytune theory features" in command("theory", "features", "--help").out.partition("Example")[2]
