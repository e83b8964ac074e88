"""The study files at full size, in a dry run with tiny models and a few examples in the place of theirs."""

import json
import re
from pathlib import Path

import pytest
import torch
import transformers
import yaml
from commands import command

from steadytune.study import Study
from steadytune.testing.models import CONFIGS, letter_tokenizer

FOLDER = Path(__file__).parents[1] / "studies"
MODELS = {
    "bart-xsum": ("Bart", "ForConditionalGeneration", "bart"),
    "t5-samsum": ("T5", "ForConditionalGeneration", "t5"),
    "qwen-lora": ("Qwen2", "ForCausalLM", "qwen2"),
}
TEMPLATE = "{% for message in messages %}<{{ message.role }}>{{ message.content }}{% endfor %}"
CHAT = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hello to you, too"}]
ROWS = {
    "bart-xsum": {"document": "a long story about one thing", "summary": "a story about one thing"},
    "t5-samsum": {"dialogue": "Ann: tea? Ben: yes, please.", "summary": "Ann makes some tea for Ben."},
    "qwen-lora": {"messages": CHAT},
}


def test_every_study_is_tried_and_listed():
    names = {path.stem for path in FOLDER.glob("*.yaml")}
    assert names == set(MODELS) == set(ROWS)
    assert names == set(re.findall(r"\[([\w-]+)\.yaml\]", (FOLDER / "README.md").read_text(encoding="utf-8")))


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_a_study_at_full_size_is_ready(name, tmp_path):
    content = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    whole = Study.parse(content)
    assert len(list(whole.grid())) == 80

    config, ending, tiny = MODELS[name]
    tokenizer = letter_tokenizer(start=tiny == "bart", end=tiny in ("bart", "t5"))
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(tmp_path / "model")
    sizes = {"vocab_size": len(tokenizer), **CONFIGS[tiny], "max_position_embeddings": 1100}
    with torch.random.fork_rng():
        model = getattr(transformers, config + ending)(getattr(transformers, f"{config}Config")(**sizes))
    model.save_pretrained(tmp_path / "model")
    for split in ("train", "validation"):
        rows = [{**ROWS[name], "number": number} for number in range(4)]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")

    content["model"] = str(tmp_path / "model")
    content["task"]["name"] = str(tmp_path)
    content["training"].pop("train_size", None)
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    result = command("run", tmp_path / "study.yaml", "--dry-run")
    assert result.code == 0, result.err
    assert re.findall(r"\d+", result.out.splitlines()[-1]) == ["80", "80"]
