import pytest
import torch
from saying import says
from torch import nn

import steadytune as st
from steadytune.errors import UserError
from steadytune.models.modules import PooledClassifier, find_head
from steadytune.models.parts import find_parts
from steadytune.stabilizers.layers import MixLinear
from steadytune.testing.models import ALL, batch, rows, tiny_classifier
from steadytune.training.stabilization import Stabilization

EMBEDDINGS = {
    "bert": "bert.embeddings.word_embeddings",
    "roberta": "roberta.embeddings.word_embeddings",
    "distilbert": "distilbert.embeddings.word_embeddings",
    "electra": "electra.embeddings.word_embeddings",
    "albert": "albert.embeddings.word_embeddings",
    "deberta-v2": "deberta.embeddings.word_embeddings",
    "modernbert": "model.embeddings.tok_embeddings",
    "t5": "transformer.encoder.embed_tokens",
    "bart": "model.encoder.embed_tokens",
    "llama": "model.embed_tokens",
    "qwen2": "model.embed_tokens",
}
BLOCKS = {
    "bert": ["bert.encoder.layer"],
    "roberta": ["roberta.encoder.layer"],
    "distilbert": ["distilbert.transformer.layer"],
    "electra": ["electra.encoder.layer"],
    "albert": ["albert.encoder.albert_layer_groups"],
    "deberta-v2": ["deberta.encoder.layer"],
    "modernbert": ["model.layers"],
    "t5": ["transformer.encoder.block", "transformer.decoder.block"],
    "bart": ["model.encoder.layers", "model.decoder.layers"],
    "llama": ["model.layers"],
    "qwen2": ["model.layers"],
}
POOLERS = {"bert": "bert.pooler", "albert": "albert.pooler"}
HEADS = {
    "bert": ["classifier"],
    "roberta": ["classifier"],
    "distilbert": ["pre_classifier", "classifier"],
    "electra": ["classifier"],
    "albert": ["classifier"],
    "deberta-v2": ["pooler", "classifier"],
    "modernbert": ["head", "classifier"],
    "t5": ["classification_head"],
    "bart": ["classification_head"],
    "llama": ["score"],
    "qwen2": ["score"],
}


@pytest.fixture(params=ALL)
def found(request):
    model = tiny_classifier(request.param)
    architecture, _, lora = request.param.partition("+")
    return architecture, model.base_model.model if lora else model, find_parts(model)


def test_the_parts_of_every_architecture_are_the_modules_that_its_code_names(found):
    architecture, plain, parts = found

    assert parts.embeddings is plain.get_submodule(EMBEDDINGS[architecture])
    assert list(parts.blocks) == [block for name in BLOCKS[architecture] for block in plain.get_submodule(name)]
    assert parts.pooler is (plain.get_submodule(POOLERS[architecture]) if architecture in POOLERS else None)
    assert list(parts.head) == [plain.get_submodule(name) for name in HEADS[architecture]]
    assert parts.encoder is plain.base_model
    assert parts.shared == (architecture == "albert")


def test_every_weight_stands_at_one_depth(found):
    _, _, parts = found
    depths = [id(weight) for level in parts.levels for weight in level]

    assert sorted(depths) == sorted(id(weight) for weight in parts.model.parameters())
    assert len(parts.levels) == len(parts.blocks) + 2
    for level, block in zip(parts.levels[1:-1], parts.blocks, strict=True):
        assert {id(weight) for weight in level} == {id(weight) for weight in block.parameters()}
    assert any(weight is parts.embeddings.weight for weight in parts.levels[0])
    head = {id(weight) for module in parts.head for weight in module.parameters()}
    assert head <= {id(weight) for weight in parts.levels[-1]}


def test_norms_and_tables_of_the_embeddings_stand_with_them_wherever_they_are_registered():
    for name, expected in (
        ("bart", "model.encoder.layernorm_embedding.weight"),
        ("deberta-v2", "deberta.encoder.rel_embeddings.weight"),
        ("albert", "albert.encoder.embedding_hidden_mapping_in.weight"),
    ):
        model = tiny_classifier(name)
        assert any(weight is model.get_parameter(expected) for weight in find_parts(model).levels[0])


def test_pre_trained_weights_are_the_encoders_without_adapters(found):
    _, plain, parts = found
    names = set(parts.pretrained)

    assert names
    assert not any("lora" in name for name in names)
    base = {id(weight) for name, weight in plain.base_model.named_parameters() if "lora" not in name}
    assert {id(weight) for weight in parts.pretrained.values()} == base


def test_a_change_of_the_embeddings_reaches_the_logits(found):
    from steadytune.stabilizers.surgery import changed_outputs

    _, _, parts = found
    model = parts.model.eval()
    inputs = batch(rows(3))
    del inputs["labels"]

    before = model(**inputs).logits
    with changed_outputs({parts.embeddings: lambda vectors: vectors + torch.randn_like(vectors)}):
        changed = model(**inputs).logits

    assert not torch.allclose(before, changed)
    assert torch.equal(model(**inputs).logits, before)


def test_the_last_layer_under_lora_is_the_copy_that_is_trained():
    model = tiny_classifier("bert+lora")

    _, _, head = find_head(model)

    assert head.weight.requires_grad
    assert head is model.base_model.model.classifier.modules_to_save["default"]


def test_a_pooled_classifier_has_the_parts_of_its_encoder():
    encoder = tiny_classifier("bert").bert
    model = PooledClassifier(encoder, 2, "mean")

    parts = find_parts(model)

    assert list(parts.blocks) == list(encoder.encoder.layer)
    assert parts.head == (model.classifier,)


class _Unknown(nn.Module):
    def __init__(self):
        super().__init__()
        self.base_model = nn.Sequential(nn.Linear(2, 2))
        self.classifier = nn.Linear(2, 2)


def test_what_an_unknown_model_lacks_is_said_only_where_it_is_needed():
    parts = find_parts(_Unknown())

    with pytest.raises(UserError, match=says("some", "blocks", "Sequential")):
        parts.need_blocks("some")
    with pytest.raises(UserError, match=says("some", "embeddings", "Sequential")):
        parts.need_embeddings("some")


def test_weights_that_are_all_frozen_are_refused_where_they_are_needed():
    with pytest.raises(UserError, match=says("some", "frozen")):
        find_parts(tiny_classifier("bert+lora")).need_pretrained("some")


@pytest.mark.parametrize("name", ["t5", "bart"])
def test_a_last_layer_with_an_adapter_is_refused_and_one_that_is_frozen_by_what_trains_it(name):
    from peft import LoraConfig, TaskType, get_peft_model

    def wrapped(**targets):
        config = LoraConfig(task_type=TaskType.SEQ_CLS, r=2, **targets)
        return get_peft_model(tiny_classifier(name), config)

    with pytest.raises(UserError, match=says("adapter", "target_modules", "modules_to_save")):
        Stabilization(wrapped(target_modules="all-linear"), [])
    attention = ["q", "v"] if name == "t5" else ["q_proj", "v_proj"]
    for method in (st.MHLoss(heads=3), st.R4F(), st.LPFT()):
        with pytest.raises(UserError, match=says(method.name, "frozen")):
            Stabilization(wrapped(target_modules=attention), [method])
    named = wrapped(target_modules=attention, modules_to_save=["classification_head"])
    head = Stabilization(named, [st.MHLoss(heads=3)]).head
    assert head.weight.shape == (3, 2, 16)


def test_a_model_that_a_method_refuses_is_left_as_it_was():
    model = tiny_classifier("bert")
    head, hooks = model.classifier, sum(len(module._forward_pre_hooks) for module in model.modules())
    with pytest.raises(UserError, match=says("blocks", "9", "2")):
        Stabilization(model, [st.MHLoss(heads=3), st.HyPe(), st.Freeze(blocks=9)])
    assert model.classifier is head
    assert sum(len(module._forward_pre_hooks) for module in model.modules()) == hooks


@pytest.mark.parametrize("method", [st.WDPre(), st.L2SP(), st.SMART(), st.Mixout(p=0.5)])
def test_what_a_method_keeps_moves_with_a_model_that_moves_after_it_was_equipped(method):
    model = tiny_classifier("bert")
    kit = Stabilization(model, [method])
    model.to("meta")
    kit.begin(lambda: [], 10)
    assert {tensor.device.type for tensor in kit.runs[method.name].state.values()} == {"meta"}
    mixed = [module.start() for module in model.modules() if isinstance(module, MixLinear)]
    assert all(start.device.type == "meta" for start in mixed)
    assert len(mixed) == (0 if method.name != "mixout" else 13)
