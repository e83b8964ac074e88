"""LoRA in a run: what is trained, how it starts, how far it goes, and what is refused."""

import json
import math
import shutil

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from saying import names, says
from transformers import AutoConfig, set_seed

import steadytune as st
from steadytune.errors import UserError
from steadytune.models.merged import distance_between, weight_terms
from steadytune.models.modules import adapters_in, encoder_of, find_head
from steadytune.models.parts import find_parts
from steadytune.models.random_state import spread
from steadytune.study import Study, Training
from steadytune.sweep.plan import plan
from steadytune.testing.models import CONFIGS, VOCABULARY, tiny_classifier
from steadytune.testing.stabilizers import outputs
from steadytune.training import adapters
from steadytune.training.adapters import put_adapter
from steadytune.training.data import run_data
from steadytune.training.full import fine_tune, train_full
from steadytune.training.loading import build_model, load_encoder
from steadytune.training.method_check import check_methods
from steadytune.training.observed import Asked, observed

INITS = ("default", "gaussian", "pissa", "olora", "orthogonal")
RANDOM = {"default", "gaussian", "orthogonal"}


def _quiet(share):
    pass


@pytest.fixture
def specs(tiny_model, tiny_task):
    def make(lora=(), task=tiny_task, model=tiny_model, recipes=("standard",), seeds=1, **training):
        base = {"epochs": 2, "batch_size": 8, "learning_rate": 1e-2, "pooling": "mean"}
        adapter = None if lora is None else {"lora": {"r": 4, **dict(lora)}}
        content = {
            "model": str(model),
            "task": task if isinstance(task, dict) else str(task),
            "seeds": seeds,
            "training": {**base, "adapter": adapter, **training},
            "recipes": list(recipes),
        }
        return plan(Study.parse(content))

    return make


def built(spec, adapted=True):
    data = run_data(spec)
    set_seed(spread("init", spec.seeds.init))
    model = build_model(spec.model, data.task, spec.training, data.tokenizer)
    if adapted:
        put_adapter(model, spec)
    return model, data


@torch.no_grad()
def logits(model, data):
    return observed(model, data.measure, data.collate, Asked(torch.device("cpu")))["logits"]


def merged(model):
    """Return the weights of the pre-trained part as PEFT itself merges them, under their plain names."""
    encoder = encoder_of(model)
    for layer, _ in list(adapters_in(encoder)):
        if not layer.merged:
            layer.merge()
    return {
        name.replace(".base_layer", ""): weight.detach().clone()
        for name, weight in encoder.named_parameters()
        if "lora_" not in name
    }


@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("pooling", ["native", "mean"])
def test_it_starts_as_the_model_without_it_and_trains_the_adapter_and_the_new_head_alone(specs, init, pooling):
    (spec,) = specs({"init": init}, pooling=pooling)
    plain, data = built(spec, adapted=False)
    model, _ = built(spec)

    assert logits(model, data) == pytest.approx(logits(plain, data), abs=1e-5)
    if init in {"default", "gaussian"}:
        assert np.array_equal(logits(model, data), logits(plain, data))
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    outside = {name for name, _ in plain.named_parameters()} - {
        f"{'bert' if pooling == 'native' else 'encoder'}.{name}" for name, _ in encoder_of(plain).named_parameters()
    }
    assert {name for name in trained if "lora_" not in name} == outside == {"classifier.weight", "classifier.bias"}
    adapted = {name.split(".")[-4] for name in trained if "lora_" in name}
    assert adapted == {"query", "value"}, "what PEFT has for BERT"
    before = dict(plain.named_parameters())
    assert all(torch.equal(dict(model.named_parameters())[name], before[name]) for name in outside)


@pytest.mark.parametrize("init", INITS)
def test_the_same_init_seed_gives_the_same_bits_and_another_one_others(specs, init):
    first, second = specs({"init": init, "target_modules": "all-linear"}, seeds=2)

    states = [built(spec)[0].state_dict() for spec in (first, first, second)]

    matrices = [name for name in states[0] if "lora_" in name]
    # Two matrices on each of query, key, value, output, two of the feed-forward part, in two blocks, and the pooler.
    assert len(matrices) == 2 * (2 * 6 + 1)
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    differ = any(not torch.equal(states[0][name], states[2][name]) for name in matrices)
    assert differ == (init in RANDOM)
    assert not torch.equal(states[0]["classifier.weight"], states[2]["classifier.weight"])


@pytest.mark.parametrize("init", INITS)
def test_distance_logits_and_states_are_those_of_the_merged_weights(specs, init, tmp_path):
    (spec,) = specs({"init": init}, representation_dtype="float32")
    seen = {}

    def look(trainer):
        seen["model"] = trainer.model
        return {}, {}

    record, arrays = train_full(spec, tmp_path, _quiet, look)

    plain, data = built(spec, adapted=False)
    start, end = dict(encoder_of(plain).named_parameters()), merged(seen["model"])
    assert start.keys() == end.keys()
    moved = {name: float((end[name] - start[name].detach()).norm()) for name in start}
    assert record.measurements["distance_from_start"] == pytest.approx(
        math.sqrt(sum(one**2 for one in moved.values())), rel=1e-3
    )
    for name, far in moved.items():
        assert (far > 1e-3) == ("query.weight" in name or "value.weight" in name), name
    # A plain model with the merged weights and the trained head says the same.
    encoder_of(plain).load_state_dict(end)
    plain.classifier.load_state_dict(seen["model"].classifier.state_dict())
    seen = observed(plain, data.measure, data.collate, Asked(torch.device("cpu"), position="cls"))
    expected, states = seen["logits"], seen["representations"]
    assert arrays["logits"] == pytest.approx(expected, abs=1e-4)
    assert arrays["representations"] == pytest.approx(states, abs=1e-4)


def test_a_distance_is_of_products_not_of_the_matrices():
    encoder = torch.nn.Module()
    layer = torch.nn.Linear(3, 2, bias=False)
    encoder.add_module("layer", layer)
    from peft import LoraConfig, inject_adapter_in_model

    inject_adapter_in_model(LoraConfig(r=1, lora_alpha=2, target_modules=["layer"]), encoder)
    a, b = encoder.layer.lora_A.default.weight, encoder.layer.lora_B.default.weight
    with torch.no_grad():
        a.copy_(torch.tensor([[1.0, 0.0, 2.0]]))
        start = weight_terms(encoder)
        b.copy_(torch.tensor([[3.0], [4.0]]))
        end = weight_terms(encoder)
        a.mul_(2)
        b.div_(2)
        other = weight_terms(encoder)

    assert list(start) == ["layer.base_layer.weight"]
    # alpha / r = 2; ||B A|| = ||B|| ||A|| = 5 * sqrt(5).
    assert distance_between(start, end) == pytest.approx(2 * 5 * math.sqrt(5))
    assert distance_between(end, other) == 0


def test_gradients_are_those_of_the_adapters_and_geometry_is_that_of_the_head(specs, tmp_path):
    (spec,) = specs(clip=1e-3)

    record, _ = train_full(spec, tmp_path, _quiet)

    curves = record.curves
    rest = ["gradient_block_1", "gradient_block_2", "gradient_top"]
    assert all(curves[name][-1] > 0 for name in rest)
    squares = np.sum([np.square(curves[name]) for name in rest], axis=0)
    assert np.sqrt(squares) == pytest.approx(curves["grad_norm"], rel=1e-4)
    assert min(curves["feature_norm"]) > 0
    assert record.curves["gradient_embeddings"][0] is None, "nothing there has a gradient"


def test_what_is_frozen_keeps_its_bits_and_the_run_its_own(specs, tmp_path):
    (spec,) = specs({"dropout": 0.2, "target_modules": ["query", "output.dense"]}, select_checkpoint=True)

    first, second = (fine_tune(spec, run_data(spec), tmp_path, _quiet).model.state_dict() for _ in range(2))

    start = built(spec)[0].state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    changed = {name for name in first if not torch.equal(first[name], start[name])}
    assert changed == {name for name in first if "lora_" in name} | {"classifier.weight", "classifier.bias"}
    assert {name.partition("layer.0.")[2].partition(".lora")[0] for name in changed if "layer.0." in name} == {
        "attention.self.query",
        "attention.output.dense",
        "output.dense",
    }


def test_surt_comes_first_is_cached_once_and_adapters_start_from_its_weights(specs, tmp_path):
    surt = {"surt": {"stabilizers": [{"surt": {"epochs": 1, "head_epochs": 0}}]}}
    (plain,) = plan(_with_recipes(specs(None), surt))
    train_full(plain, tmp_path, _quiet)
    (file,) = tmp_path.glob("surt-*.safetensors")
    retrained = load_file(file)
    written = file.stat().st_mtime_ns

    for init in ("default", "pissa", "olora"):
        (spec,) = plan(_with_recipes(specs({"init": init}), surt))
        check_methods([spec])
        trainer = fine_tune(spec, run_data(spec), tmp_path, _quiet)
        start = {
            name.replace(".base_layer", ""): sum(terms, torch.tensor(0.0)) for name, terms in trainer.start.items()
        }
        assert start.keys() <= retrained.keys()
        assert all(torch.allclose(start[name], retrained[name], atol=1e-5) for name in start)
        assert trainer.measurements["surt_distance"] > 0
        assert trainer.distance() > 0
    assert [one.stat().st_mtime_ns for one in tmp_path.glob("surt-*.safetensors")] == [written]
    assert any(not torch.allclose(w, retrained[n]) for n, w in load_encoder(plain.model).named_parameters())


def _with_recipes(made, recipes):
    (spec,) = made
    return Study.parse(
        {
            "model": spec.model,
            "task": spec.task.name,
            "seeds": 1,
            "training": spec.training.model_dump(exclude_unset=True),
            "recipes": recipes,
        }
    )


def test_a_study_with_and_without_it_keeps_both_apart(tiny_model, tiny_task, tmp_path):
    study = Study.parse(
        {
            "model": str(tiny_model),
            "task": str(tiny_task),
            "seeds": 2,
            "training": {"epochs": 1, "batch_size": 8, "adapter": "lora"},
            "recipes": {
                "standard": {},
                "pissa": {"training": {"adapter": {"lora": {"init": "pissa", "r": 2}}}},
                "full": {"training": {"adapter": None}},
            },
        }
    )

    store = st.run(study, tmp_path / "runs")

    records = store.records()
    assert [record.status for record in records] == ["done"] * 6
    rates = {record.spec.recipe: record.spec.training.learning_rate for record in records}
    assert rates == {"standard": 2e-4, "pissa": 2e-4, "full": 2e-5}
    other = study.model_copy(update={"training": Training.model_validate({"adapter": {"lora": {"r": 2}}})})
    with pytest.raises(UserError, match=says("training.adapter", "LoRA (r 8,", "LoRA (r 2,")):
        st.run(other, tmp_path / "runs")
    page = st.report(store, tmp_path / "page").read_text(encoding="utf-8")
    assert names(page, "LoRA (r 2, alpha 16, dropout 0, init pissa, target_modules default)", "adapter none")


@pytest.mark.parametrize(
    ("lora", "said"),
    [
        ({"target_modules": ["query", "q_proj"]}, ("BertModel", "'q_proj'", "query", "key", "value", "dense")),
        ({"target_modules": ["attention"]}, ("'attention'", "query")),
        ({"target_modules": ["ery"]}, ("'ery'", "query")),
        ({"init": "pissa", "r": 17}, ("pissa", "17", "16 x 16")),
        ({"init": "olora", "r": 33, "target_modules": "all-linear"}, ("olora", "33", "16 x 16")),
    ],
)
def test_an_adapter_that_does_not_suit_the_model_is_refused_before_anything_is_trained(specs, lora, said):
    with pytest.raises(UserError) as caught:
        check_methods(specs(lora))
    assert names(str(caught.value), "recipe 'standard'", *said)
    assert "\n" not in str(caught.value)


def test_a_sweep_whose_second_recipe_cannot_be_adapted_trains_nothing(tiny_model, tiny_task, tmp_path):
    study = Study.parse(
        {
            "model": str(tiny_model),
            "task": str(tiny_task),
            "seeds": 1,
            "recipes": {
                "standard": {},
                "tuned": {"training": {"adapter": {"lora": {"target_modules": ["q_proj"]}}}},
            },
        }
    )

    with pytest.raises(UserError, match=says("recipe 'tuned'", "'q_proj'")):
        st.run(study, tmp_path / "runs")
    assert not list((tmp_path / "runs" / "runs").glob("*"))


def test_an_architecture_that_peft_does_not_know_is_told_what_to_set(specs, monkeypatch):
    import peft.utils

    for known in ({}, {"bert": r".*query"}, {"bert": ["c_attn"]}):
        monkeypatch.setattr(peft.utils, "TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING", known)
        with pytest.raises(UserError, match=says("BertModel", "target_modules", "all-linear", "query")):
            check_methods(specs())
    check_methods(specs({"target_modules": "all-linear"}))


def test_a_pooler_that_the_checkpoint_lacks_would_stay_random(specs, tiny_model, tmp_path):
    model = shutil.copytree(tiny_model, tmp_path / "model")
    weights = load_file(model / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if "pooler" not in name}
    assert len(kept) == len(weights) - 2
    save_file(kept, model / "model.safetensors", {"format": "pt"})

    with pytest.raises(UserError, match=says("pooler", "training.pooling", "mean")):
        check_methods(specs(model=model, pooling="native"))
    check_methods(specs(model=model, pooling="mean"))
    check_methods(specs(None, model=model, pooling="native"))


def test_the_theory_of_all_weights_refuses_it(specs):
    from steadytune.theory.full.curvature import run_loss
    from steadytune.theory.full.task_bound import check_run
    from steadytune.theory.loo.full import planned
    from steadytune.theory.studies.full_cohorts import full_cohorts

    made = specs(seeds=2)
    study = _with_recipes(made[:1], {"standard": {}})
    for look in (
        lambda: run_loss(made[0]),
        lambda: check_run(made[0], 0),
        lambda: planned(made, 3),
        lambda: full_cohorts(study, 3),
    ):
        with pytest.raises(UserError, match=says("adapter", "all weights", "adapter: null")):
            look()


def test_without_peft_the_plan_says_what_to_install(specs, monkeypatch):
    monkeypatch.setattr(adapters, "find_spec", lambda name: None)

    with pytest.raises(UserError, match=says("steadytune[peft]")):
        specs()
    specs(None)


@pytest.fixture
def tiny_gpt2(tiny_model, tmp_path):
    """A GPT-2, whose weights are stored transposed, with the tokenizer of the tiny BERT."""
    from transformers import GPT2Config, GPT2Model

    folder = shutil.copytree(tiny_model, tmp_path / "gpt2")
    config = GPT2Config(
        vocab_size=250, n_positions=64, n_embd=16, n_layer=2, n_head=2, bos_token_id=2, eos_token_id=3, pad_token_id=0
    )
    GPT2Model(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("init", ["default", "pissa", "orthogonal"])
def test_weights_that_are_stored_transposed_are_adapted_too(specs, tiny_gpt2, init):
    (spec,) = specs({"init": init}, model=tiny_gpt2, pooling="last")
    check_methods([spec])
    plain, data = built(spec, adapted=False)

    model, _ = built(spec)

    assert logits(model, data) == pytest.approx(logits(plain, data), abs=1e-5)
    assert {layer.lora_A.default.weight.shape for layer, _ in adapters_in(model)} == {(4, 16)}
    assert {layer.lora_B.default.weight.shape for layer, _ in adapters_in(model)} == {(48, 4)}


@pytest.mark.parametrize("name", CONFIGS)
def test_every_architecture_is_adapted_and_its_new_layers_stay_trained(specs, name):
    model = tiny_classifier(name, dropout=False)
    before = outputs(model)
    modules = "all-linear" if name in {"distilbert", "albert", "modernbert"} else "default"
    (spec,) = specs({"init": "orthogonal", "target_modules": modules})
    if modules != "default":
        (default,) = specs()
        with pytest.raises(UserError, match=says("target_modules", "all-linear")):
            put_adapter(tiny_classifier(name), default)

    put_adapter(model, spec)

    parts = find_parts(model)
    assert torch.allclose(outputs(model), before, atol=1e-4)
    assert not any(weight.requires_grad for weight in parts.pretrained.values())
    assert all(weight.requires_grad for module in parts.head for weight in module.parameters())
    assert find_head(model)[2].weight.requires_grad
    assert any("lora_" in weight for weight in parts.trained())


def test_it_is_trained_under_bfloat16_autocast(specs, tmp_path):
    (spec,) = specs({"init": "pissa", "dropout": 0.1}, precision="bf16")

    record, arrays = train_full(spec, tmp_path, _quiet)

    assert np.isfinite(arrays["logits"]).all()
    assert record.curves["loss"][-1] < record.curves["loss"][0]


def test_olora_on_them_is_refused(specs, tiny_gpt2):
    with pytest.raises(UserError, match=says("olora", "GPT2Model", "pissa")):
        check_methods(specs({"init": "olora"}, model=tiny_gpt2, pooling="last"))


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(("name", "auto"), [("llama", "CausalLM"), ("t5", "Seq2SeqLM"), ("bart", "Seq2SeqLM")])
def test_the_head_of_a_language_model_is_frozen_and_not_adapted(specs, name, auto, tied):
    (spec,) = specs({"target_modules": "all-linear"})
    config = AutoConfig.for_model(name, vocab_size=VOCABULARY, tie_word_embeddings=tied, **CONFIGS[name])
    model = getattr(transformers, f"AutoModelFor{auto}").from_config(config)
    head = model.get_output_embeddings()

    put_adapter(model, spec)

    assert model.get_output_embeddings() is head
    assert type(head) is torch.nn.Linear
    assert all(weight.requires_grad == ("lora_" in name) for name, weight in model.named_parameters())
    assert any(weight.requires_grad for weight in model.parameters())


@pytest.mark.parametrize("kind", ["regression", "choice"])
def test_other_kinds_are_adapted_too(specs, tmp_path, kind):
    words = ["anna", "ben", "clara", "david"]
    for name, count in (("train", 12), ("validation", 8)):
        if kind == "regression":
            rows = [{"sentence": f"{words[n % 4]} likes the boat", "label": n / 7} for n in range(count)]
        else:
            rows = [
                {
                    "premise": f"{words[n % 4]} sees the boat",
                    "choice1": "the glad apple",
                    "choice2": "the awful apple",
                    "question": "effect",
                    "label": n % 2,
                }
                for n in range(count)
            ]
        folder = tmp_path / "task"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (spec,) = specs(task=folder, epochs=1)

    record, arrays = train_full(spec, tmp_path / "cache", _quiet)

    assert arrays["logits"].shape == ((8, 1) if kind == "regression" else (8, 2))
    assert record.measurements["distance_from_start"] > 0
