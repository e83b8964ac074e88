"""Studies of tasks that ask for texts, from files to cohorts, on tiny models that read single letters."""

import json

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, T5Config, T5ForConditionalGeneration

import steadytune as st
from steadytune.testing.models import CONFIGS, letter_tokenizer

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
