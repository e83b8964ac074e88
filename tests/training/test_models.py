import json

import pytest
import torch
import transformers
from saying import says
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from steadytune.errors import UserError
from steadytune.models.modules import find_head, pool
from steadytune.stabilizers.layers import MultiHeadLinear
from steadytune.stabilizers.mhloss import MHLoss
from steadytune.study import Study, TaskSpec, Training
from steadytune.sweep.plan import plan
from steadytune.tasks import load_task
from steadytune.training.data import run_data
from steadytune.training.features import frozen_features
from steadytune.training.full import train_full
from steadytune.training.loading import build_model, is_decoder, load_encoder

_SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
_LLAMA = {**_SMALL, "num_key_value_heads": 2, "max_position_embeddings": 64}
ARCHITECTURES = {
    "bert": _SMALL,
    "roberta": {**_SMALL, "max_position_embeddings": 80},
    "distilbert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32},
    "electra": {**_SMALL, "embedding_size": 16},
    "albert": {**_SMALL, "embedding_size": 16},
    "deberta-v2": {**_SMALL, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "modernbert": {
        **_SMALL,
        "pad_token_id": 0,
        "cls_token_id": 2,
        "sep_token_id": 3,
        "bos_token_id": 2,
        "eos_token_id": 3,
    },
    "bart": {
        "d_model": 16,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 32,
        "decoder_ffn_dim": 32,
        "pad_token_id": 0,
        "bos_token_id": 2,
        "eos_token_id": 3,
        "decoder_start_token_id": 2,
    },
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64, "bos_token_id": 2, "eos_token_id": 3},
    "llama": _LLAMA,
    "qwen2": _LLAMA,
}


@pytest.fixture(scope="session")
def model_of(tiny_model, tmp_path_factory):
    """Return a folder with a randomly initialised model of an architecture and the tiny tokenizer."""

    def make(architecture):
        folder = tmp_path_factory.mktemp("architectures") / architecture
        tokenizer = AutoTokenizer.from_pretrained(tiny_model)
        config = AutoConfig.for_model(architecture, vocab_size=len(tokenizer), **ARCHITECTURES[architecture])
        with torch.random.fork_rng():
            torch.manual_seed(0)
            transformers.AutoModel.from_config(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return make


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_trains_and_is_recorded(architecture, model_of, tiny_task, tmp_path):
    folder = model_of(architecture)
    study = Study.parse(
        {
            "model": str(folder),
            "task": str(tiny_task),
            "seeds": 1,
            "training": {"epochs": 1, "pooling": "native", "learning_rate": 1e-3},
            "recipes": ["mmr+mhloss"],
        }
    )

    record, arrays = train_full(plan(study)[0], tmp_path, lambda share: None)

    assert record.status == "done"
    assert arrays["logits"].shape == (24, 2)
    assert arrays["representations"].shape == (2, 24, 16)
    assert record.measurements["distance_from_start"] > 0


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_head_is_the_last_layer_outside_the_pretrained_part(architecture, model_of):
    model = AutoModelForSequenceClassification.from_pretrained(model_of(architecture), num_labels=3)

    _, _, head = find_head(model)

    assert head.out_features == 3


def test_what_enters_the_head_gives_the_models_logits_also_in_a_decoder(model_of, tiny_task, tmp_path, monkeypatch):
    seen = []
    task_loss = MHLoss.task_loss

    def compare(method, step):
        seen.append(torch.allclose(step.head(step.features), step.logits, atol=1e-5))
        assert isinstance(step.head, MultiHeadLinear)
        return task_loss(method, step)

    monkeypatch.setattr(MHLoss, "task_loss", compare)
    # A decoder's tokenizer often pads with the very token that ends each text.
    padded_by_end = model_of("llama")
    tokenizer = AutoTokenizer.from_pretrained(padded_by_end)
    tokenizer.pad_token = tokenizer.sep_token
    tokenizer.save_pretrained(padded_by_end)
    for folder in (model_of("bert"), model_of("llama"), padded_by_end):
        study = Study.parse(
            {
                "model": str(folder),
                "task": str(tiny_task),
                "seeds": 1,
                "training": {"epochs": 1, "pooling": "native"},
                "recipes": ["mhloss"],
            }
        )
        train_full(plan(study)[0], tmp_path, lambda share: None)

    assert seen
    assert all(seen)


def test_a_trained_head_in_the_checkpoint_is_drawn_anew(model_of, tmp_path, tiny_task):
    from transformers import set_seed

    from steadytune.study import TaskSpec, Training
    from steadytune.tasks import load_task
    from steadytune.training.loading import build_model, load_tokenizer

    source = model_of("bert")
    AutoModelForSequenceClassification.from_pretrained(source, num_labels=2).save_pretrained(tmp_path / "tuned")
    AutoTokenizer.from_pretrained(source).save_pretrained(tmp_path / "tuned")
    name, task = str(tmp_path / "tuned"), load_task(TaskSpec(name=str(tiny_task)))
    heads = []
    for seed in (1, 2):
        set_seed(seed)
        model = build_model(name, task, Training(pooling="native"), load_tokenizer(name))
        heads.append(find_head(model)[2].weight)

    assert not torch.equal(*heads)


def test_weights_of_another_architecture_are_refused(model_of, tmp_path):
    import json
    import shutil

    folder = tmp_path / "edited"
    shutil.copytree(model_of("bert"), folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 48}))

    with pytest.raises(UserError, match=says(str(folder), "config.json", "intermediate.dense")):
        load_encoder(str(folder))


@pytest.mark.parametrize("pooling", ["mean", "native"])
def test_a_checkpoint_with_more_blocks_than_its_configuration_is_refused(model_of, pooling, tiny_task):
    folder = model_of("bert")
    config = json.loads((folder / "config.json").read_text())
    fewer = config["num_hidden_layers"] - 1
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": fewer}))
    task, training = load_task(TaskSpec(name=str(tiny_task))), Training(pooling=pooling)
    with pytest.raises(UserError, match=says(str(folder), "config.json", f"layer.{fewer}.")):
        build_model(str(folder), task, training, None)


def test_all_heads_of_mhloss_differ_from_each_other_on_a_native_head(model_of, tiny_task, tmp_path, monkeypatch):
    from steadytune.training import full

    folder, heads = model_of("bert"), []
    equip = full.RunTrainer.equip

    def look(trainer, model):
        equip(trainer, model)
        heads.append(trainer.stabilization.head.weight.detach().flatten(1))

    monkeypatch.setattr(full.RunTrainer, "equip", look)
    study = Study.parse(
        {
            "model": str(folder),
            "task": str(tiny_task),
            "seeds": 2,
            "training": {"epochs": 1, "pooling": "native"},
            "recipes": ["mhloss"],
        }
    )
    for spec in plan(study):
        train_full(spec, tmp_path, lambda share: None)

    every = torch.cat(heads)
    correlation = torch.corrcoef(every).abs() - torch.eye(len(every))
    assert len(every) == 100
    assert correlation.max() < 0.9
    assert len(every.flatten().unique()) == every.numel()


def test_surt_trains_the_encoder_of_an_encoder_decoder(model_of, tiny_task, tmp_path):
    study = Study.parse(
        {
            "model": str(model_of("bart")),
            "task": str(tiny_task),
            "seeds": 1,
            "training": {"mode": "head", "pooling": "mean", "epochs": 1},
            "recipes": {"plain": {}, "surt": {"stabilizers": [{"surt": {"learning_rate": 0.01}}]}},
        }
    )
    plain, surt = (frozen_features(spec, run_data(spec), tmp_path, lambda share: None) for spec in plan(study))

    assert surt.measurements["surt_distance"] > 0
    assert (plain.train - surt.train).abs().max() > 1e-3


def test_only_left_to_right_models_are_decoders(model_of):
    decoders = {name for name in ARCHITECTURES if is_decoder(str(model_of(name)))}

    assert decoders == {"gpt2", "llama", "qwen2"}


def test_pooling_takes_the_first_last_or_mean_real_token():
    hidden = torch.tensor([[[1.0], [2.0], [4.0], [8.0]], [[16.0], [32.0], [64.0], [128.0]]])
    padded_right = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])
    padded_left = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])

    assert pool(hidden, padded_right, "cls").flatten().tolist() == [1, 16]
    assert pool(hidden, padded_right, "last").flatten().tolist() == [4, 128]
    assert pool(hidden, padded_right, "mean").flatten().tolist() == pytest.approx([7 / 3, 60])
    with pytest.raises(ValueError, match=says("'foo'", "'cls'", "'last'", "'mean'")):
        pool(hidden, padded_right, "foo")
    assert pool(hidden, padded_left, "cls").flatten().tolist() == [4, 16]
    assert pool(hidden, padded_left, "last").flatten().tolist() == [8, 128]


def test_a_model_without_a_last_linear_layer_is_refused():
    with pytest.raises(UserError, match=says("BertModel", "linear")):
        find_head(transformers.BertModel(transformers.BertConfig(vocab_size=10, **_SMALL)))
