from types import SimpleNamespace

import pytest
import torch
from saying import says
from torch import nn
from transformers import AutoConfig, AutoTokenizer, DataCollatorWithPadding

import steadytune as st
from steadytune.errors import UserError
from steadytune.models.modules import learned_positions
from steadytune.models.padding import align_padding, padding_id, say_padding, tokenizer_in
from steadytune.testing.models import END, tiny_classifier

LONG, SHORT = [4, 10, 11, 12, 13, 14], [5, 20, 21, 22]


def padded(used):
    return {
        "input_ids": torch.tensor([LONG, [*SHORT, used, used]]),
        "attention_mask": torch.tensor([[1] * 6, [1] * 4 + [0] * 2]),
    }


@pytest.mark.parametrize("name", ["llama", "qwen2", "llama+lora"])
@pytest.mark.parametrize("used", [7, END])
def test_a_decoder_reads_a_padded_text_as_it_reads_it_alone(name, used):
    model = tiny_classifier(name).eval()
    with torch.no_grad():
        alone = model(input_ids=torch.tensor([SHORT]), attention_mask=torch.ones(1, 4).long()).logits[0]
        assert not torch.allclose(model(**padded(used)).logits[1], alone, atol=1e-3)
        with pytest.warns(UserWarning, match=says("0", "pad", str(used))):
            say_padding(model, SimpleNamespace(pad_token_id=used))
        assert torch.allclose(model(**padded(used)).logits[1], alone, atol=1e-5)
    assert padding_id(model) == used


@pytest.mark.parametrize("name", ["bert", "bert+lora", "llama"])
def test_the_embedding_that_learns_nothing_is_that_of_the_tokenizers_padding(name):
    model = tiny_classifier(name)
    embeddings = model.get_input_embeddings()
    embeddings.weight.requires_grad_(True)
    assert embeddings.padding_idx == 0
    align_padding(model, SimpleNamespace(pad_token_id=7))
    ids = torch.tensor([[4, 0, 10, 11, 7, 7]])
    model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.square().sum().backward()
    assert embeddings.weight.grad[0].any()
    assert not embeddings.weight.grad[7].any()


def test_where_nothing_contradicts_nothing_is_said():
    model = tiny_classifier("llama")
    assert align_padding(model, SimpleNamespace(pad_token_id=0)) is None
    assert align_padding(model, SimpleNamespace(pad_token_id=None)) is None
    model.config.pad_token_id = None
    assert align_padding(model, SimpleNamespace(pad_token_id=5)) is None
    assert padding_id(model) == 5
    assert align_padding(nn.Linear(2, 2), SimpleNamespace(pad_token_id=5)) is None


def test_the_tokenizer_is_found_in_what_pads(tiny_model):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    collator = DataCollatorWithPadding(tokenizer)
    loader = torch.utils.data.DataLoader([], collate_fn=collator)
    assert tokenizer_in(None, loader) is tokenizer
    assert tokenizer_in(None, len, nn.Linear(1, 1)) is None


def test_a_batch_that_is_padded_otherwise_is_refused_in_training_and_said_in_a_recording(tmp_path):
    model = tiny_classifier("llama")
    inputs = {**padded(7), "labels": torch.tensor([0, 1])}
    with pytest.raises(UserError, match=says("pad", "7", "0")):
        st.Stabilization(model.train(), ["mmr"]).backward(model, inputs)
    with pytest.warns(UserWarning, match=says("pad", "7", "0")):
        st.record_model(tmp_path / "run.safetensors", tiny_classifier("llama"), [inputs])


@pytest.mark.parametrize(
    ("name", "options", "places"),
    [
        ("bert", {"max_position_embeddings": 40}, 40),
        ("gpt2", {"n_positions": 48}, 48),
        ("roberta", {"max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ("llama", {"max_position_embeddings": 40}, None),
        ("modernbert", {}, None),
        ("deberta-v2", {"relative_attention": True}, None),
        ("t5", {}, None),
    ],
)
def test_learned_positions_alone_are_a_limit(name, options, places):
    assert learned_positions(AutoConfig.for_model(name, **options)) == places
