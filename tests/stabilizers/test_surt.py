import gzip
import hashlib

import pytest
import torch
from saying import says
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertForTokenClassification,
    CLIPTextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GPT2Model,
    LEDConfig,
    T5Config,
    T5EncoderModel,
    set_seed,
)

from steadytune.errors import UserError
from steadytune.files import canonical_json, sha256
from steadytune.models.modules import encoder_of
from steadytune.models.random_state import preserved_random_state
from steadytune.stabilizers import Pretraining, language_model
from steadytune.stabilizers.language_model import Phase, retrain
from steadytune.stabilizers.surt import SURT
from steadytune.testing.models import CONFIGS
from steadytune.training.loading import load_encoder


@pytest.fixture
def context(tiny_model, tmp_path):
    def make(source=tiny_model, **changes):
        tokenizer = AutoTokenizer.from_pretrained(tiny_model)
        texts = ["anna likes the glad apple", "ben sees the awful boat", "clara knows the good chair"] * 8
        values = {
            "source": source,
            "inputs": tokenizer(texts)["input_ids"],
            "tokenizer": tokenizer,
            "batch_size": 8,
            "device": "cpu",
            "cache": tmp_path / "cache",
            "key": "some-key",
            "progress": lambda share: None,
        }
        return Pretraining(**{**values, **changes})

    return make


TINY = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}


def with_sentinels(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": [f"<extra_id_{n}>" for n in range(20)]})
    return tokenizer


def _state(encoder):
    return {name: tensor.clone() for name, tensor in encoder.state_dict().items()}


def test_it_changes_the_encoder_and_says_by_how_much(tiny_model, context):
    encoder = load_encoder(str(tiny_model))
    before = _state(encoder)

    measured = SURT(epochs=2, learning_rate=1e-3).before_training(encoder, context())

    moved = sum(((tensor - before[name]) ** 2).sum().item() for name, tensor in encoder.state_dict().items())
    assert moved > 0
    assert measured["surt_distance"] == pytest.approx(moved**0.5, rel=1e-3)


def test_longer_retraining_predicts_the_task_text_better(tiny_model, context):
    measured = SURT(epochs=25, learning_rate=3e-3).before_training(load_encoder(str(tiny_model)), context())

    assert measured["surt_loss_last"] < 0.8 * measured["surt_loss_first"]


def test_it_trains_once_and_every_later_run_gets_the_same_weights(tiny_model, context, monkeypatch):
    first, second = load_encoder(str(tiny_model)), load_encoder(str(tiny_model))
    surt = SURT(epochs=1)
    measured = surt.before_training(first, context())
    monkeypatch.setattr(language_model, "retrain", lambda *_: pytest.fail("trained twice"))

    again = surt.before_training(second, context())

    assert again == measured
    assert all(torch.equal(second.state_dict()[name], tensor) for name, tensor in first.state_dict().items())


def test_other_settings_or_inputs_do_not_share_the_cache(tiny_model, context):
    surt = SURT(epochs=1)
    surt.before_training(load_encoder(str(tiny_model)), context())
    SURT(epochs=2).before_training(load_encoder(str(tiny_model)), context())
    surt.before_training(load_encoder(str(tiny_model)), context(key="another-key"))

    assert len(list(context().cache.glob("*.safetensors"))) == 3


@pytest.mark.parametrize(("name", "versioned"), [("bart", True), ("t5", True), ("bert", False), (None, False)])
def test_what_is_trained_on_damaged_texts_has_the_objective_in_its_key(context, monkeypatch, name, versioned):
    """BART was once trained on another objective: what a cache holds of that is not read."""
    encoder = torch.nn.Linear(1, 1)
    if name is not None:
        encoder.config = AutoConfig.for_model(name)
    monkeypatch.setattr(language_model, "retrain", lambda *_: (_state(encoder), {}))
    surt = SURT()

    surt.before_training(encoder, context())

    (file,) = context().cache.glob("*.safetensors")
    old = f"surt-{sha256(canonical_json(['some-key', surt.entry()]))[:16]}"
    assert (file.stem != old) == versioned


def test_a_damaged_cache_is_computed_again(tiny_model, context):
    encoder = load_encoder(str(tiny_model))
    surt = SURT(epochs=1)
    surt.before_training(encoder, context())
    (file,) = context().cache.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-7] + b"garbage")
    again = load_encoder(str(tiny_model))

    surt.before_training(again, context())

    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in encoder.state_dict().items())


def test_the_result_does_not_depend_on_the_random_state_of_the_run(tiny_model, context, tmp_path):
    states = []
    for seed in (1, 2):
        set_seed(seed)
        encoder = load_encoder(str(tiny_model))
        with preserved_random_state():
            SURT(epochs=1).before_training(encoder, context(cache=tmp_path / str(seed)))
        states.append((_state(encoder), torch.rand(1)))

    assert all(torch.equal(states[0][0][name], states[1][0][name]) for name in states[0][0])
    set_seed(1)
    assert torch.equal(torch.rand(1), states[0][1])


def test_a_new_head_is_trained_while_the_encoder_stands_still(tiny_model, context):
    encoder = load_encoder(str(tiny_model))
    before = _state(encoder)

    state, _ = retrain(encoder, context(), Phase(1, 1e-12), Phase(5, 1e-2))

    assert all(torch.allclose(state[name], before[name], atol=1e-7) for name in before)


def test_a_checkpoint_with_a_trained_head_goes_straight_on(tiny_model, context, tmp_path, monkeypatch):
    config = BertConfig.from_pretrained(tiny_model)
    BertForMaskedLM(config).save_pretrained(tmp_path / "with-head")
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(tmp_path / "with-head")
    phases = []
    train = language_model._train
    monkeypatch.setattr(language_model, "_train", lambda *args: phases.append(args) or train(*args))

    retrain(load_encoder(str(tmp_path / "with-head")), context(tmp_path / "with-head"), Phase(1, 1e-4), Phase(1, 1e-3))

    assert len(phases) == 1


def test_a_decoder_predicts_the_next_token(tiny_model, context, tmp_path):
    size = BertConfig.from_pretrained(tiny_model).vocab_size
    GPT2LMHeadModel(GPT2Config(vocab_size=size, n_embd=16, n_layer=2, n_head=2, n_positions=64)).save_pretrained(
        tmp_path / "decoder"
    )
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(tmp_path / "decoder")
    encoder = GPT2Model.from_pretrained(tmp_path / "decoder")

    state, measured = retrain(encoder, context(tmp_path / "decoder"), Phase(10, 3e-3), Phase(1, 1e-3))

    assert measured["surt_loss_last"] < measured["surt_loss_first"]
    assert set(state) == set(encoder.state_dict())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["t5", "bart", "qwen2", "llama"])
def test_all_of_a_language_model_is_trained_and_a_weight_with_two_uses_moves_once(tiny_model, context, tmp_path, name):
    tokenizer = with_sentinels(tiny_model)
    options = {**CONFIGS[name], "vocab_size": len(tokenizer)}
    config = AutoConfig.for_model(name, **options)
    auto = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    auto.from_config(config).save_pretrained(tmp_path / name)
    model = auto.from_pretrained(tmp_path / name)
    start = {key: weight.detach().clone() for key, weight in model.named_parameters()}

    given = context(tmp_path / name, tokenizer=tokenizer)
    measured = SURT(epochs=3, learning_rate=3e-3).before_training(encoder_of(model), given)

    assert measured["surt_loss_last"] < measured["surt_loss_first"]
    squares = [(weight - start[key]).double().square().sum().item() for key, weight in model.named_parameters()]
    assert sum(square > 0 for square in squares) > len(squares) / 2
    assert measured["surt_distance"] == pytest.approx(sum(squares) ** 0.5, rel=1e-6)
    tied = model.lm_head.weight is model.get_input_embeddings().weight
    assert tied == (name != "llama")


def test_the_encoder_of_a_token_classifier_is_trained_as_any_other(tiny_model, context):
    model = BertForTokenClassification.from_pretrained(tiny_model, num_labels=3)
    start = _state(model)

    SURT(epochs=1, learning_rate=1e-3).before_training(encoder_of(model), context())

    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, start[name])}
    assert changed
    assert all(name.startswith("bert.") for name in changed)


def test_where_there_is_nothing_but_labels_there_is_no_text(tiny_model, context):
    with pytest.raises(UserError, match=says("surt", "labels", "prompt", "-100")):
        SURT().before_training(load_encoder(str(tiny_model)), context(inputs=[]))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (CLIPTextConfig(**TINY), ("masked", "causal")),
        (LEDConfig(), ("LEDConfig", "t5", "mbart")),
        (T5Config(), ("t5", "<extra_id_0>")),
    ],
)
def test_where_the_pretraining_is_unknown_or_takes_what_is_not_there_it_is_refused(context, config, words):
    encoder = torch.nn.Linear(1, 1)
    encoder.config = config

    with pytest.raises(UserError, match=says("surt", *words)):
        retrain(encoder, context(), Phase(1, 1e-4), Phase(1, 1e-3))


def test_an_encoder_that_lost_the_decoder_of_its_pretraining_is_refused(tiny_model, context, tmp_path):
    tokenizer = with_sentinels(tiny_model)
    T5EncoderModel(T5Config(**CONFIGS["t5"], vocab_size=len(tokenizer))).save_pretrained(tmp_path / "half")
    encoder = T5EncoderModel.from_pretrained(tmp_path / "half")

    with pytest.raises(UserError, match=says("surt", "T5Config", "decoder")):
        SURT().before_training(encoder, context(tmp_path / "half", tokenizer=tokenizer))


def test_the_encoder_alone_of_t5_is_trained_with_its_decoder(tiny_model, context, tmp_path):
    tokenizer = with_sentinels(tiny_model)
    config = T5Config(**CONFIGS["t5"], vocab_size=len(tokenizer))
    AutoModelForSeq2SeqLM.from_config(config).save_pretrained(tmp_path / "t5")
    tokenizer.save_pretrained(tmp_path / "t5")
    encoder = load_encoder(str(tmp_path / "t5"))
    start = _state(encoder)

    SURT(epochs=1, learning_rate=1e-2).before_training(encoder, context(tmp_path / "t5", tokenizer=tokenizer))

    assert all(not torch.equal(tensor, start[name]) for name, tensor in encoder.state_dict().items())


def test_texts_of_a_file_take_the_place_of_the_training_inputs(tiny_model, context, tmp_path):
    lines = ["anna likes the glad apple", "", "ben sees the awful boat", "clara knows the good chair"]
    plain, packed = tmp_path / "texts.txt", tmp_path / "texts.txt.gz"
    plain.write_text("\n".join(lines))
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    ids = tokenizer([line for line in lines if line])["input_ids"]
    states = []
    for surt, inputs in [(SURT(texts=str(plain)), None), (SURT(texts=str(packed)), None), (SURT(), ids)]:
        encoder = load_encoder(str(tiny_model))
        own = {} if inputs is None else {"inputs": inputs, "key": "texts"}
        surt.before_training(encoder, context(**own))
        states.append(_state(encoder))

    for other in states[1:]:
        assert all(torch.equal(states[0][name], other[name]) for name in other)


def test_a_run_names_the_content_of_its_texts_and_refuses_another(tiny_model, context, tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("anna likes the glad apple")
    surt = SURT(texts=str(path))
    (settings,) = surt.entry().values()
    assert settings["texts_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_text("ben sees the awful boat")
    assert SURT(texts=str(path)) != surt

    with pytest.raises(UserError, match=says("surt", str(path), "changed")):
        surt.before_training(load_encoder(str(tiny_model)), context())
    path.unlink()
    assert SURT(**settings) == surt


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"\n \n", "no text"), (b"\xff\xfe\x00", "utf-8")],
)
def test_a_file_without_text_is_refused(tiny_model, context, tmp_path, content, words):
    path = tmp_path / "texts.txt"
    path.write_bytes(content)

    with pytest.raises(UserError, match=says("surt", str(path), words)):
        SURT(texts=str(path)).before_training(load_encoder(str(tiny_model)), context())


def test_texts_that_are_not_there_are_refused_before_anything_is_trained(tmp_path):
    with pytest.raises(UserError, match=says("gone.txt", "No such file")):
        SURT(texts=str(tmp_path / "gone.txt"))


def test_on_the_own_text_nothing_is_said_of_texts():
    assert set(SURT().entry()["surt"]) == {"epochs", "learning_rate", "head_epochs", "head_learning_rate"}
