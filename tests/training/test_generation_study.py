"""Studies of tasks that ask for texts, from files to cohorts, on tiny models that read single letters."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from saying import says
from transformers import LlamaConfig, LlamaForCausalLM, T5Config, T5ForConditionalGeneration

import steadytune as st
from steadytune.errors import UserError
from steadytune.study import TaskSpec, Training
from steadytune.tasks import load_task
from steadytune.tasks.data_facts import data_facts
from steadytune.tasks.splits import Splits
from steadytune.testing.models import CONFIGS, letter_tokenizer
from steadytune.training.data import with_cut
from steadytune.training.loading import build_model, load_tokenizer

CHATML = (
    "{% for message in messages %}<{{ message.role }}>{{ message.content }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
MODELS = {"llama": (LlamaConfig, LlamaForCausalLM), "t5": (T5Config, T5ForConditionalGeneration)}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders of a decoder and an encoder-decoder, both of which have a chat template."""
    made = {}
    for name, (config, model) in MODELS.items():
        tokenizer = letter_tokenizer(start=name == "llama", end=name == "t5")
        tokenizer.chat_template = CHATML
        made[name] = tmp_path_factory.mktemp(name)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model(config(vocab_size=len(tokenizer), **CONFIGS[name])).save_pretrained(made[name])
        tokenizer.save_pretrained(made[name])
    return made


def given(folder):
    """Write a task of two examples to a folder; return the facts of its data, and its splits."""
    for name in ("train", "validation"):
        rows = [{"prompt": str(number), "completion": "x"} for number in range(2)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = load_task(TaskSpec(name=str(folder)))
    splits = Splits(task.train, None, task.validation)
    return data_facts(task, splits), splits


def trained(model, folder, rows, out):
    for name in ("train", "validation"):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    study = {
        "model": str(model),
        "task": str(folder),
        "seeds": 2,
        "training": {"epochs": 40, "batch_size": 4, "learning_rate": 0.02, "decoding": {"max_new_tokens": 5}},
    }
    return st.run(study, out=out).cohort("standard")


def chat(content, answer):
    return {"messages": [{"role": "user", "content": content}, {"role": "assistant", "content": answer}]}


def test_a_model_that_would_read_what_it_is_to_write_is_refused(tiny_model, tmp_path):
    facts, splits = given(tmp_path)
    with pytest.raises(UserError, match=says("tiny-bert", "generation", "decoder")):
        with_cut(facts, splits, str(tiny_model), 64)
    with pytest.raises(UserError, match=says("tiny-bert", "generation", "decoder")):
        st.run({"model": str(tiny_model), "task": str(tmp_path), "seeds": 1}, out=tmp_path / "out")


@pytest.mark.parametrize("name", MODELS)
def test_a_model_without_its_last_layer_or_with_less_is_refused(folders, name, tmp_path):
    folder = shutil.copytree(folders[name], tmp_path / name)
    weights = load_file(folder / "model.safetensors")
    lost = "lm_head.weight" if name == "llama" else "decoder.block.0.layer.0.SelfAttention.q.weight"
    save_file({key: weights[key] for key in weights if key != lost}, folder / "model.safetensors", {"format": "pt"})
    given(tmp_path)
    task = load_task(TaskSpec(name=str(tmp_path)))
    with pytest.raises(UserError, match=says(lost, "belong together")):
        build_model(str(folder), task, Training().resolved(str(folder)), load_tokenizer(str(folder)))


@pytest.mark.parametrize("name", MODELS)
def test_a_model_that_has_learned_one_text_goes_on_with_it_and_ends(folders, name, tmp_path):
    rows = [{"prompt": "ask " * number + "me", "completion": "xy"} for number in range(1, 9)]
    cohort = trained(folders[name], tmp_path, rows, tmp_path / "out")

    assert [set(map(str.strip, run)) for run in cohort.generations] == [{"xy"}, {"xy"}]
    assert (cohort.kind, cohort.metric, cohort.scores.tolist()) == ("generation", "exact_match", [1, 1])
    assert cohort.references == (("xy",),) * 8
    assert cohort.token_counts.tolist() == [3] * 8


def test_an_answer_to_a_chat_counts_if_it_is_one_of_those_that_are_accepted(folders, tmp_path):
    cohort = trained(folders["llama"], tmp_path, [chat("a" * n, "xy") for n in range(1, 9)], tmp_path / "out")
    assert [set(run) for run in cohort.generations] == [{"xy"}, {"xy"}]

    rows = [{"question": "a" * n, "answers": ["xy", "z"] if n % 2 else ["xy"]} for n in range(1, 9)]
    other = trained(folders["llama"], tmp_path, rows, tmp_path / "other")
    assert other.references == tuple(("xy", "z") if n % 2 else ("xy",) for n in range(1, 9))
    right = [
        [text in accepted for text, accepted in zip(run, other.references, strict=True)] for run in other.generations
    ]
    assert other.scores == pytest.approx([sum(run) / 8 for run in right])
