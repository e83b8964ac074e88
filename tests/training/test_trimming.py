"""Trainings without the rows of unused words: to the bit those with the whole matrix."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from steadytune.stabilizers import STABILIZERS, parse_stabilizer
from steadytune.study import Study
from steadytune.sweep.plan import plan
from steadytune.testing.models import ALL, PER_TOKEN, tiny_model
from steadytune.training import full
from steadytune.training.trimming import TrimmedEmbeddings, trimmed_embeddings

# Few classes of words in training, others where it is measured: these are the rows that only decay.
SEEN = ["glad apple", "awful boat", "glad cup", "awful door"]
UNSEEN = ["ben hears the river", "clara and david walk", "the quiet garden"]


@pytest.fixture
def task(tmp_path):
    folder = tmp_path / "words"
    folder.mkdir()
    for split, texts in {"train": SEEN * 4, "validation": UNSEEN * 6}.items():
        rows = [{"sentence": f"{text} {n % 3}", "label": n % 2} for n, text in enumerate(texts)]
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


@pytest.fixture
def both(tiny_model, task, tmp_path, monkeypatch):
    """Train a recipe with trimmed and with whole embeddings."""

    def train(recipe, **training):
        content = {
            "model": str(tiny_model),
            "task": str(task),
            "seeds": 1,
            # Rates at which weight decay shows in every row, and a limit at which every step is clipped.
            "training": {
                "epochs": 3,
                "batch_size": 8,
                "learning_rate": 1e-2,
                "weight_decay": 0.1,
                "clip": 0.1,
                **training,
            },
            "recipes": {"tried": {"stabilizers": recipe}},
        }
        (spec,) = plan(Study.parse(content))
        found = []
        for whole in (False, True):
            with monkeypatch.context() as patched:
                if whole:
                    patched.setattr(full, "trimmed_embeddings", lambda *given: None)
                models = []

                def look(trainer, models=models):
                    models.append((trainer.trimmed, {**trainer.model.state_dict()}))
                    return {}, {}

                record, arrays = full.train_full(spec, tmp_path / "cache", lambda share: None, look)
            ((trimmed, state),) = models
            found.append((record, arrays, state, trimmed))
        return found

    return train


def check_same(first, second):
    """Check that two runs left the same weights, arrays, curves and measurements, to the bit."""
    for one, other in ((first[1], second[1]), (first[2], second[2])):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(np.asarray(one[name]), np.asarray(other[name]), err_msg=name)
    for name in ("curves", "measurements", "scores"):
        assert repr(getattr(first[0], name)) == repr(getattr(second[0], name)), name


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe",
    [[], *([name] for name, method in STABILIZERS.items() if not method.whole_embeddings), ["llrd", "cngc", "rdrop"]],
    ids=str,
)
def test_no_bit_of_a_run_depends_on_it(recipe, both):
    trimmed, whole = both(recipe)
    check_same(trimmed, whole)
    assert whole[3] is None
    # Otherwise the test has tried nothing, save where the embeddings are frozen.
    frozen = {"freeze", "bitfit"} & {*recipe}
    assert (trimmed[3] is None) == bool(frozen)
    if not recipe:
        assert len(trimmed[3].used) < 60 < len(trimmed[3].whole)
        assert min(trimmed[0].curves["grad_norm"]) > 0.1


@pytest.mark.slow
@pytest.mark.parametrize(
    "training",
    [
        {"select_checkpoint": True, "epochs": 4},
        {"clip": 0.0},
        {"weight_decay": 0.0},
        {"precision": "bf16"},
        {"threads": 2},
        {"pooling": "mean", "batch_size": 5},
    ],
    ids=str,
)
def test_nor_under_other_hyper_parameters(training, both):
    trimmed, whole = both([], **training)
    check_same(trimmed, whole)
    assert trimmed[3] is not None


@pytest.mark.slow
def test_an_epoch_that_is_selected_before_the_last_has_its_own_rows(both, monkeypatch):
    monkeypatch.setattr(full, "best_epoch", lambda metric, scores: 0)
    trimmed, whole = both([], select_checkpoint=True, epochs=4)
    check_same(trimmed, whole)
    assert trimmed[0].measurements["selected_epoch"] == 1


@pytest.mark.parametrize("name", ["ema", "swa", "mixout", "child_tuning", "l2_sp", "wd_pre", "smart"])
def test_methods_that_look_at_weights_have_the_whole_matrix(name):
    method = parse_stabilizer(name)
    model = tiny_model("bert")
    assert trimmed_embeddings(model, range(10), []) is not None
    assert trimmed_embeddings(model, range(10), [method]) is None


@pytest.mark.parametrize("name", [*ALL, *PER_TOKEN])
def test_what_reads_words_in_two_places_or_in_another_way_has_the_whole_matrix(name):
    model = tiny_model(name)
    found = trimmed_embeddings(model, range(10), [])
    # ELECTRA's and ALBERT's rows are half a register wide here; the others write, or have adapters.
    writes = name.partition(":")[0] in ("t5", "bart") or "generation" in name
    assert (found is None) == (writes or "lora" in name or name in ("electra", "albert"))
    if found is None:
        return
    # A pass reads the same, and leaves what it found.
    words = torch.randint(0, 10, (3, 7), generator=torch.Generator().manual_seed(0))
    inputs = {"input_ids": words, "attention_mask": torch.ones_like(words)}
    model.eval()
    before = model(**inputs).logits
    weight = found.layer.weight.detach().clone()
    found.trim()
    assert found.layer.weight.shape[0] < len(weight)
    assert torch.equal(model(**inputs).logits, before)
    found.restore()
    assert torch.equal(found.layer.weight, weight)
    assert torch.equal(model(**inputs).logits, before)


@pytest.mark.parametrize(
    "change",
    [
        lambda model, layer: layer.weight.requires_grad_(False),
        lambda model, layer: setattr(layer, "max_norm", 1.0),
        lambda model, layer: setattr(layer, "sparse", True),
        lambda model, layer: setattr(layer, "scale_grad_by_freq", True),
        lambda model, layer: setattr(model.classifier, "weight", layer.weight),
        lambda model, layer: setattr(layer, "weight", nn.Parameter(layer.weight.double())),
        lambda model, layer: model.set_input_embeddings(type("Scaled", (nn.Embedding,), {})(40, 16)),
    ],
    ids=["frozen", "limited", "sparse", "by frequency", "tied", "double", "other layer"],
)
def test_another_layer_has_the_whole_matrix(change):
    model = tiny_model("bert")
    change(model, model.get_input_embeddings())
    assert trimmed_embeddings(model, range(10), []) is None


def test_nothing_is_trimmed_if_every_word_is_used():
    assert trimmed_embeddings(tiny_model("bert"), range(1000), []) is None


def test_unused_rows_are_multiplied_by_what_each_step_takes_off():
    layer = nn.Embedding(5, 16, padding_idx=1)
    start = layer.weight.detach().clone()
    found = TrimmedEmbeddings(layer, torch.tensor([1, 3]))
    found.trim()
    assert layer.weight.shape == (2, 16)
    assert layer.padding_idx == 0
    optimizer = torch.optim.AdamW([{"params": [layer.weight], "weight_decay": 0.5}], lr=0.1)
    found.note(optimizer)  # without a gradient nothing happens
    layer(torch.tensor([3, 1])).sum().backward()
    for rate in (0.1, 0.4):
        optimizer.param_groups[0]["lr"] = rate
        found.note(optimizer)
    with torch.no_grad():
        layer.weight[1] = 7.0
    with pytest.raises(IndexError):
        layer(torch.tensor([2]))
    found.restore()
    assert layer.padding_idx == 1
    assert layer.weight.grad is None
    # (1 - .1 * .5) * (1 - .4 * .5), in the order of the steps
    expected = (start * 0.95) * 0.8
    expected[1], expected[3] = start[1], 7.0
    torch.testing.assert_close(layer.weight.detach(), expected, rtol=0, atol=0)
    found.restore()
    assert torch.equal(layer.weight.detach(), expected)
