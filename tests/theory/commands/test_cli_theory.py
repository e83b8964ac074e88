import os
import re
import signal
from typing import get_args

import pandas as pd
import pytest
from commands import command, refused

from steadytune.reporting.blocks import Verdict


def test_every_command_of_the_group_has_help_with_an_example():
    text = command("theory", "--help").out
    for name in ("synthetic", "loo"):
        assert f" {name} " in text
        result = command("theory", name, "--help")
        assert result.code == 0
        assert f"steadytune theory {name}" in result.out.partition("Example")[2]


def test_the_small_synthetic_study_writes_page_and_table_and_prints_every_verdict(tmp_path):
    out = tmp_path / "out"
    result = command("theory", "synthetic", "--small", "--workers", 1, "--out", out)
    assert result.code == 0, result.err
    assert result.out.splitlines()[-1] == f"report: {out / 'theory.html'}"
    verdicts = re.findall(r"^- ([a-z ]+): ", result.out, re.MULTILINE)
    assert verdicts[0] == "supported"
    assert len(verdicts) > 30
    assert set(verdicts) <= set(get_args(Verdict))
    table = pd.read_csv(out / "studies.csv")
    assert table["dataset"].nunique() == 16
    assert 0 < table.groupby("dataset")["separable"].first().sum() < 16
    bounded = table.dropna(subset=["max_margin_loo"])
    assert (bounded["max_margin_loo"] <= bounded["loo_bound"]).all()
    assert (out / "theory.html").stat().st_size > 1e6


@pytest.mark.parametrize(
    ("words", "where"),
    [
        (["synthetic", "--small"], "steadytune.theory.studies.table.synthetic_study"),
        (["features", "--task", "acceptability"], "steadytune.sweep.plan.plan"),
    ],
)
def test_an_interrupted_study_says_so_in_a_line(monkeypatch, tmp_path, words, where):
    monkeypatch.setattr(where, lambda *args, **named: os.kill(os.getpid(), signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        result = command("theory", *words, "--out", tmp_path)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert result.code == 130
    assert result.err.splitlines() == ["stopped by Ctrl-C"]


def test_an_output_that_is_a_file_is_refused(tmp_path):
    file = tmp_path / "file"
    file.write_text("text")
    said = refused("theory", "synthetic", "--small", "--out", file)
    assert str(file) in said
    assert "--out" in said
