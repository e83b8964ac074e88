"""What is asked of generators: texts, distributions under teacher forcing, and the words that are compared."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from saying import says
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    BartConfig,
    GPT2Config,
    LlamaConfig,
    PreTrainedTokenizerFast,
    T5Config,
)

from steadytune.decoding import Decoding
from steadytune.errors import UserError
from steadytune.kinds.encoding import IGNORED
from steadytune.models.candidates import EXACT, SAMPLED, Candidates, draw_candidates
from steadytune.models.texts import forced, generate
from steadytune.testing.models import CONFIGS, END, PAD, START, VOCABULARY

CPU = torch.device("cpu")
MODELS = {
    "llama": (LlamaConfig, AutoModelForCausalLM),
    "t5": (T5Config, AutoModelForSeq2SeqLM),
    "bart": (BartConfig, AutoModelForSeq2SeqLM),
}


def make(name):
    config, auto = MODELS[name]
    torch.manual_seed(0)
    return auto.from_config(config(vocab_size=VOCABULARY, **CONFIGS[name])).eval()


@pytest.fixture(scope="module")
def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {"[PAD]": PAD, "[UNK]": 1, "[BOS]": START, "[EOS]": END}
    words |= {f"w{number}": number for number in range(len(words), VOCABULARY)}
    raw = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="[PAD]", unk_token="[UNK]", bos_token="[BOS]", eos_token="[EOS]"
    )


PROMPTS = [[5, 6, 7], [8, 9], [10, 11, 12, 13, 14, 15], [16]]
TARGETS = [[20, 21, END], [22, END], [23, 24, 25, 26, END], [27, END]]


def batch_of(name, rows, extra=0):
    """Pad some examples by hand, `extra` positions wider than needed."""
    if name != "llama":
        inputs, labels = [PROMPTS[row] for row in rows], [TARGETS[row] for row in rows]
    else:
        inputs = [PROMPTS[row] + TARGETS[row] for row in rows]
        labels = [[IGNORED] * len(PROMPTS[row]) + TARGETS[row] for row in rows]

    def padded(lists, fill):
        width = max(map(len, lists)) + extra
        return torch.tensor([one + [fill] * (width - len(one)) for one in lists])

    mask = padded([[1] * len(one) for one in inputs], 0)
    return {"input_ids": padded(inputs, PAD), "attention_mask": mask, "labels": padded(labels, IGNORED)}


@pytest.mark.parametrize("name", MODELS)
def test_the_log_probabilities_of_targets_are_the_models_own_loss(name):
    model = make(name)
    found = list(forced(model, [batch_of(name, [0, 1]), batch_of(name, [2, 3])], CPU, False, None))
    assert [len(one.targets) for one in found] == [3, 2, 5, 2]
    for row, one in enumerate(found):
        assert one.targets.tolist() == TARGETS[row]
        assert torch.allclose(one.log_probabilities.exp().sum(1), torch.ones(len(one.targets)), atol=1e-5)
        mean = -one.log_probabilities.gather(1, one.targets[:, None]).mean()
        assert float(mean) == pytest.approx(model(**batch_of(name, [row])).loss.item(), abs=1e-5)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("position", ["last", "mean", "cls"])
def test_padding_and_company_change_nothing(name, position):
    model = make(name)
    whole = list(forced(model, [batch_of(name, [0, 1, 2, 3], extra=3)], CPU, False, position))
    for row, one in enumerate(whole):
        (alone,) = forced(model, [batch_of(name, [row])], CPU, False, position)
        torch.testing.assert_close(one.log_probabilities, alone.log_probabilities, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(one.states, alone.states, atol=1e-5, rtol=1e-4)
        assert one.states.shape == (2, 16)


def test_states_are_of_the_last_token_of_the_prompt_or_of_the_targets():
    model = make("llama")
    hidden = model(input_ids=torch.tensor([PROMPTS[2] + TARGETS[2]]), output_hidden_states=True).hidden_states
    layers = torch.stack([layer[0] for layer in hidden[1:]])
    for position, wanted in (("last", layers[:, 5]), ("mean", layers[:, 6:].mean(1)), ("cls", layers[:, 0])):
        (one,) = forced(model, [batch_of("llama", [2])], CPU, False, position)
        torch.testing.assert_close(one.states, wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_a_text_is_what_the_model_finds_most_probable_word_by_word(name, tokenizer):
    model, decoding = make(name), Decoding(max_new_tokens=5)
    # BART's own configuration ends every text that is too long with this word.
    model.generation_config.forced_eos_token_id = None
    texts = generate(model, PROMPTS, tokenizer, decoding, CPU, False, batch_size=3)
    for prompt, text in zip(PROMPTS, texts, strict=True):
        words = []
        start = [] if name == "llama" else [model.config.decoder_start_token_id]
        for _ in range(5):
            if name == "llama":
                logits = model(input_ids=torch.tensor([prompt + words])).logits
            else:
                decoder = torch.tensor([start + words])
                logits = model(input_ids=torch.tensor([prompt]), decoder_input_ids=decoder).logits
            words.append(int(logits[0, -1].argmax()))
            if words[-1] == END:
                break
        assert text == tokenizer.decode(words, skip_special_tokens=True)


def test_drawn_words_follow_their_seed_alone(tokenizer):
    model, decoding = make("llama"), Decoding(max_new_tokens=6, sample=True, temperature=2.0)

    def drawn(seed):
        return generate(model, PROMPTS, tokenizer, decoding, CPU, False, seed=seed)

    torch.manual_seed(3)
    first, after = drawn(0), torch.rand(2)
    torch.manual_seed(3)
    assert torch.equal(after, torch.rand(2))
    assert drawn(0) == first
    assert drawn(1) != first


def test_texts_beyond_the_positions_of_the_model_are_refused(tokenizer):
    config = GPT2Config(vocab_size=VOCABULARY, n_positions=8, n_embd=16, n_layer=2, n_head=2, eos_token_id=END)
    model = AutoModelForCausalLM.from_config(config).eval()
    with pytest.raises(UserError, match=says("6", "3", "8", "max_new_tokens")):
        generate(model, PROMPTS, tokenizer, Decoding(max_new_tokens=3), CPU, False)
    assert len(generate(model, PROMPTS, tokenizer, Decoding(max_new_tokens=2), CPU, False)) == 4
    # An encoder-decoder writes apart from its prompt.
    assert len(generate(make("t5"), PROMPTS, tokenizer, Decoding(max_new_tokens=9), CPU, False)) == 4


def certain(size, tokens=3, scale=3.0):
    generator = torch.Generator().manual_seed(1)
    return (scale * torch.randn(tokens, size, generator=generator)).log_softmax(1)


def test_all_words_of_a_small_vocabulary_are_compared():
    words, weights = draw_candidates(certain(VOCABULARY), 0)
    assert words.tolist() == [list(range(VOCABULARY))] * 3
    assert (weights == 1).all()
    assert Candidates.of([(words, weights)]).exact == VOCABULARY


@given(st.sampled_from([EXACT + SAMPLED, EXACT + SAMPLED + 1, 1000]), st.integers(0, 3))
def test_the_most_probable_words_are_compared_and_others_are_drawn(size, example):
    said = certain(size)
    words, weights = draw_candidates(said, example)
    candidates = Candidates.of([(words, weights)])
    assert candidates.exact == EXACT
    top = said.argsort(dim=1, descending=True)[:, :EXACT]
    for row in range(len(said)):
        assert set(words[row, :EXACT].tolist()) == set(top[row].tolist())
        assert not set(words[row, EXACT:].tolist()) & set(top[row].tolist())
        rest = said[row].exp().double()
        rest[top[row]] = 0
        pi = (rest / rest.sum())[words[row, EXACT:]]
        np.testing.assert_allclose(weights[row, EXACT:], 1 / (SAMPLED * pi), rtol=1e-4)
    assert torch.equal(words, draw_candidates(said, example)[0])
    if size == 1000:
        assert not torch.equal(words, draw_candidates(said, example + 1)[0])


def test_sums_over_the_candidates_are_unbiased():
    said, other = certain(600, 1), certain(600, 1, scale=2.0)
    values = other.exp()[0]
    sums = []
    for example in range(400):
        words, weights = draw_candidates(said, example)
        sums.append(float((weights[0] * values[words[0]]).sum()))
    error = np.std(sums, ddof=1) / np.sqrt(len(sums))
    assert error > 0
    assert abs(np.mean(sums) - 1) < 4 * error


def test_a_model_that_is_certain_leaves_all_other_words_alike():
    said = torch.full((1, 500), -torch.inf)
    said[0, 7] = 0.0
    words, weights = draw_candidates(said, 0)
    assert torch.isfinite(weights).all()
    assert weights[0, EXACT:].unique().tolist() == [pytest.approx((500 - EXACT) / SAMPLED)]
    assert 7 in words[0, :EXACT]
