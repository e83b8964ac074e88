"""The scripts in examples/ do what they say, on the tiny model and task."""

import re
import runpy
import sys
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from transformers import AutoModelForSequenceClassification, AutoTokenizer

EXAMPLES = Path(__file__).parents[2] / "examples"
SCRIPTS = ["stable_trainer", "plain_loop", "with_accelerate"]


@pytest.fixture
def example(monkeypatch, capsys):
    """Run a script of examples/ as `python` would; return the last line that it prints."""

    def go(name, *words):
        AcceleratorState._reset_state(reset_partial_state=True)
        monkeypatch.setattr(sys, "argv", [name, *map(str, words)])
        monkeypatch.syspath_prepend(str(EXAMPLES))
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().out.strip().splitlines()[-1]

    return go


@pytest.mark.parametrize("name", SCRIPTS)
def test_it_learns_and_leaves_a_model_that_plain_transformers_loads(example, name, tiny_model, tiny_task, tmp_path):
    words = ["--model", tiny_model, "--task", tiny_task, "--epochs", 20, "--learning-rate", 5e-3, "--batch-size", 8]

    line = example(name, *words, "--out", tmp_path / "model")

    said = re.fullmatch(r"accuracy ([0-9.]+) on 24 examples, BertForSequenceClassification", line)
    # Three of five sentences are of one class.
    assert float(said[1]) > 0.8
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    texts = runpy.run_path(str(EXAMPLES / "texts.py"))
    loaded = texts["Texts"](str(tiny_model), str(tiny_task))
    batch = tokenizer.pad(loaded.validation, return_tensors="pt")
    with torch.no_grad():
        right = (model(**batch).logits.argmax(-1) == batch["labels"]).float().mean()
    assert float(right) == pytest.approx(float(said[1]), abs=5e-4)


@pytest.mark.parametrize("name", SCRIPTS)
def test_one_seed_is_one_result(example, name, tiny_model, tiny_task, tmp_path):
    words = ["--model", tiny_model, "--task", tiny_task, "--epochs", 1, "--learning-rate", 1e-3]
    heads = []
    for turn, seed in enumerate((3, 3, 4)):
        torch.manual_seed(turn)
        example(name, *words, "--seed", seed, "--out", tmp_path / str(turn))
        model = AutoModelForSequenceClassification.from_pretrained(tmp_path / str(turn))
        heads.append(model.classifier.weight.detach())

    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


@pytest.mark.parametrize(("name", "marks"), [("stable_trainer", "12345"), ("plain_loop", "12345AB")])
def test_as_many_lines_are_marked_as_are_promised(name, marks):
    text = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
    assert sorted(re.findall(r"  # ([1-9AB])\b", text)) == sorted(marks)
    assert "five lines" in text
