"""What users read, word for word, in one place: tests/wording.md. All other tests leave wording free.

Whoever changes words writes the page anew, by `WORDING=write pytest tests/test_wording.py`, and reads what changed.
"""

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from commands import command
from test_hand import MISTAKES

import steadytune as st

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
PAGE = HERE / "wording.md"


def _commands(folder):
    study, runs = folder / "study", folder / "runs"
    shutil.copytree(HERE / "recorded/study", study, ignore=shutil.ignore_patterns("*.csv"))
    runs.mkdir()
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    for seed in range(4):
        logits = rng.normal(size=(40, 2)) + 2 * np.eye(2)[labels]
        np.savez(runs / f"seed{seed}.npz", logits=logits, labels=labels)
    return [
        ["report", study],
        ["compare", study],
        ["validate", study],
        ["ls", study],
        ["doctor", study],
        ["measure", runs],
        ["measure", runs / "seed0.npz"],
        ["measure", runs, "--metric", "acuracy"],
        ["measure", runs, "--set", "grup=x"],
        ["compare", runs / "seed0.npz", runs / "seed1.npz"],
        ["compare", study, "--baseline", "standrad"],
        ["report", runs],
        ["run", "--task", "acceptability", "--out", folder / "x"],
        ["run", "--model", "minilm", "--task", "glue/rtee", "--out", folder / "x"],
        ["run", "--model", "minilm", "--task", "acceptability", "--recipe", "mrm", "--out", folder / "x"],
        ["run", "--model", "minilm", "--task", "acceptability", "--set", "training.epoch=3", "--out", folder / "x"],
        ["run", "--model", "minilm", "--task", "acceptability", "--set", "training.epochs=-3", "--out", folder / "x"],
        ["theory", "loo", "--model", "minilm", "--task", "acceptability", "--size", "1", "--out", folder / "x"],
        ["nothing"],
    ]


def _said(folder, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    for words in _commands(folder):
        result = command(*words)
        given = " ".join(str(word) for word in words)
        yield f"## steadytune {given}\n\nexit code {result.code}\n\n```\n{result.out}{result.err}```\n"
    yield "## Mistakes in Python\n"
    for mistake, (make, _) in MISTAKES.items():
        with pytest.raises(st.UserError) as raised:
            make(folder)
        yield f"- `{mistake}`: {raised.value}"


def test_what_users_read_is_what_the_page_says(tmp_path, monkeypatch):
    text = "# What users read\n\n" + "\n".join(_said(tmp_path, monkeypatch)) + "\n"
    text = re.sub(re.escape(str(tmp_path)), "FOLDER", text)
    text = re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)
    if os.environ.get("WORDING") == "write":
        PAGE.write_text(text, encoding="utf-8")
    assert text == PAGE.read_text(encoding="utf-8")
