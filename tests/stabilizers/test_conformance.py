"""Every stabilizer on every architecture: what all of them promise."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import ALL, batch, rows, tiny_classifier
from torch import nn
from transformers import AutoModelForSequenceClassification, TrainingArguments

import steadytune as st
from steadytune.errors import UserError
from steadytune.stabilizers import STABILIZERS, Stabilizer, parse_stabilizer
from steadytune.training.checkpoint import STATE_FILE
from steadytune.training.stabilization import Stabilization

LORA = ("bert+lora", "roberta+lora", "llama+lora")
NO_BIASES = ("modernbert", "t5", "llama")


@dataclass
class Case:
    """What a stabilizer is tested with.

    `settings` are strong enough to show in a few steps, with `off` it must change nothing. `refused` maps architectures
    to what the error says. `needs_dropout` is for what acts on dropout. `by_batch` says what it does batch by batch, so
    that small ones that accumulate cannot equal a large one; where `noise` is set, nothing but its noise hinders them.
    `differentiable` are settings under which the gradient is that of the loss.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    off: dict[str, Any] | None = None
    refused: dict[str, str] = field(default_factory=dict)
    needs_dropout: bool = False
    by_batch: str = ""
    noise: bool = False
    differentiable: dict[str, Any] | None = None


def refused(architectures, message):
    return dict.fromkeys(architectures, message)


FROZEN = refused(LORA, "all frozen")
CASES = {
    "bitfit": Case(refused={**refused(NO_BIASES, "has none"), **FROZEN}),
    "child_tuning": Case(
        {"variant": "D"},
        off={"variant": "D", "p": 1.0},
        refused=refused(LORA, "use variant F"),
        by_batch="squares each batch's gradient",
    ),
    "child_tuning F": Case({"variant": "F"}, off={"variant": "F", "p": 1.0}),
    "centre_loss": Case(
        {"weight": 0.1},
        off={"weight": 0.0},
        by_batch="moves its centres",
        # Centres that move with each pass would be other ones at each point of the difference.
        differentiable={"weight": 0.1, "rate": 0.0},
    ),
    "cngc": Case({"limit": 0.01}),
    "ema": Case({"decay": 0.9}, off={"decay": 0.0}),
    "freelb": Case({"radius": 0.3}, off={"radius": 0.0}, noise=True),
    "freeze": Case(off={"blocks": 0, "embeddings": False}),
    "hype": Case({"eps": 0.1}, off={"eps": 0.0}, noise=True, differentiable={"eps": 0.1}),
    "l2_sp": Case({"alpha": 0.5}, off={"alpha": 0.0, "beta": 0.0}, refused=FROZEN, differentiable={"alpha": 0.5}),
    "large_margin": Case({"margin": 0.5}, off={"margin": 0.0}, differentiable={"margin": 0.5}),
    "large_margin logit": Case(
        {"margin": 1.0, "form": "logit"},
        off={"margin": 0.0, "form": "logit"},
        differentiable={"margin": 1.0, "form": "logit"},
    ),
    "llrd": Case({"decay": 0.5}, off={"decay": 1.0}),
    "lnsr": Case({"noise": 0.1}, off={"weight": 0.0}, noise=True, differentiable={"noise": 0.1}),
    "lp_ft": Case({"learning_rate": 1e-2}, off={"epochs": 0}, by_batch="takes a step of its own for each"),
    "mhloss": Case({"heads": 3}, differentiable={"heads": 3, "reduction": "mean"}),
    "mixout": Case({"p": 0.5}, off={"p": 0.0}, refused=FROZEN, noise=True, differentiable={"p": 0.5}),
    "mmr": Case({"alpha": 1.0}, off={"alpha": 0.0}, by_batch="compares centres", differentiable={"alpha": 1.0}),
    "neftune": Case({"alpha": 5.0}, off={"alpha": 0.0}, noise=True, differentiable={"alpha": 5.0}),
    "no_bias_correction": Case(),
    "r3f": Case({"eps": 0.5}, off={"weight": 0.0}, noise=True, differentiable={"eps": 0.5}),
    "r4f": Case({"eps": 0.5}, off={"weight": 0.0}, noise=True, differentiable={"eps": 0.5}),
    "rdrop": Case(
        {"alpha": 1.0},
        off={"alpha": 0.0},
        refused=refused(("modernbert", "llama", "qwen2", "llama+lora"), "has no dropout"),
        needs_dropout=True,
        by_batch="compares masks of dropout",
        differentiable={"alpha": 1.0},
    ),
    "reinit": Case({"blocks": 1}, off={"blocks": 0}, refused={"albert": "share their weights", **FROZEN}),
    "smart": Case(
        {"radius": 0.1},
        off={"weight": 0.0, "mu": 0.0},
        noise=True,
        differentiable={"radius": 0.1, "mu": 2.0},
    ),
    "supcon": Case(off={"weight": 0.0}, by_batch="contrasts within it", differentiable={"weight": 0.9}),
    "swa": Case({"start": 0.5}, off={"start": 1.0}),
    "wd_pre": Case({"decay": 1.0}, off={"decay": 0.0}, refused=FROZEN),
}
# Of a script with a tokenizer and a checkpoint on disk, and of a Trainer's schedule: they have tests of their own.
ELSEWHERE = {"surt", "no_warmup"}
# Encoder, encoder-decoder and decoder.
OF_EACH_SHAPE = ("bert", "t5", "llama")


def cells(names, which=lambda case: True):
    """All (case, name) that are not refused."""
    return [(case, name) for case in CASES if which(CASES[case]) for name in names if name not in CASES[case].refused]


def make(case, settings=None):
    name = case.partition(" ")[0]
    return parse_stabilizer({name: CASES[case].settings if settings is None else settings})


def train(model, stabilizers, steps=12):
    """Train on 16 rows in a plain loop."""
    torch.manual_seed(5)
    data = [batch(rows(16)[:8]), batch(rows(16)[8:])]
    kit = Stabilization(model, stabilizers, seed=1)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = kit.prepare_optimizer(torch.optim.AdamW(weights, lr=1e-2))
    kit.begin(lambda: data, steps)
    model.train()
    for step in range(steps):
        kit.backward(model, data[step % 2])
        kit.before_step(max_norm=1.0)
        optimizer.step()
        kit.after_step(optimizer)
        optimizer.zero_grad()
    kit.finish()
    return model


@torch.no_grad()
def outputs(model):
    inputs = batch(rows(16))
    del inputs["labels"]
    return model.eval()(**inputs).logits


def task_loss(model):
    return nn.functional.cross_entropy(outputs(model), batch(rows(16))["labels"]).item()


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@torch.no_grad()
def move_a_little(weights):
    """Move weights away from the start, where the pull towards it has no slope."""
    torch.manual_seed(0)
    for weight in weights:
        weight.add_(torch.randn_like(weight), alpha=0.01)


def distance(first, second):
    return sum((first[name].float() - second[name].float()).square().sum() for name in first).sqrt()


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def plainly_trained():
    """Weights after the same training without stabilizers, made once for each model."""
    made = {}

    def get(name, dropout=True, steps=12):
        if (name, dropout, steps) not in made:
            made[name, dropout, steps] = state(train(tiny_classifier(name, dropout=dropout), [], steps))
        return made[name, dropout, steps]

    return get


def test_the_table_has_every_stabilizer():
    assert {case.partition(" ")[0] for case in CASES} | ELSEWHERE == set(STABILIZERS)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("case", CASES)
def test_it_trains_changes_something_and_leaves_a_plain_model_or_says_that_it_cannot(
    case, name, plainly_trained, tmp_path
):
    facts = CASES[case]
    model = tiny_classifier(name, dropout=facts.needs_dropout)
    keys, before = set(model.state_dict()), task_loss(model)
    if name in facts.refused:
        with pytest.raises(UserError, match=facts.refused[name]):
            train(model, [make(case)])
        return

    train(model, [make(case)])

    assert task_loss(model) < 0.9 * before
    assert set(model.state_dict()) == keys
    assert not same(state(model), plainly_trained(name, facts.needs_dropout))
    model.save_pretrained(tmp_path)
    assert torch.equal(outputs(_loaded(name, tmp_path)), outputs(model))


def _loaded(name, folder):
    if "lora" not in name:
        # transformers saves no num_labels of 2, and then reads BART's default of 3.
        return AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2, attn_implementation="eager")
    from peft import PeftModel

    return PeftModel.from_pretrained(tiny_classifier(name.partition("+")[0]), folder)


@pytest.mark.parametrize(("case", "name"), cells(ALL, lambda facts: facts.off is not None))
def test_at_strength_zero_not_a_bit_changes(case, name, plainly_trained):
    trained = state(train(tiny_classifier(name), [make(case, CASES[case].off)], steps=6))

    assert same(trained, plainly_trained(name, steps=6))


@pytest.mark.parametrize("case", CASES)
def test_two_trainings_with_the_same_seeds_give_the_same_bits(case):
    first, second = (state(train(tiny_classifier("bert"), [make(case)], steps=6)) for _ in range(2))

    assert same(first, second)


def script(model, stabilizers, folder, **changes):
    """A training on 16 rows as somebody's own script would run it."""
    settings = {
        "output_dir": str(folder),
        "num_train_epochs": 4,
        "per_device_train_batch_size": 8,
        "learning_rate": 5e-3,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
        "log_level": "error",
        "dataloader_pin_memory": False,
        "use_cpu": True,
        **changes,
    }
    return st.StableTrainer(
        model=model, args=TrainingArguments(**settings), train_dataset=rows(16), stabilizers=stabilizers
    )


@pytest.mark.parametrize(
    ("case", "name"),
    [
        *cells(["bert", "t5", "albert", "llama+lora"]),
        ("mhloss", "bert+lora"),
        ("ema", "bert+lora"),
        ("child_tuning", "bart"),
    ],
)
def test_a_training_that_is_resumed_ends_with_the_same_bits(case, name, tmp_path):
    whole = script(tiny_classifier(name), [make(case)], tmp_path, save_strategy="steps", save_steps=4)
    whole.train()
    checkpoint = tmp_path / "checkpoint-4"
    resumed = script(tiny_classifier(name), [make(case)], tmp_path)
    resumed.train(resume_from_checkpoint=str(checkpoint))

    assert (checkpoint / STATE_FILE).is_file()
    assert resumed.state.global_step == whole.state.global_step == 8
    assert same(state(resumed.model), state(whole.model))


@pytest.mark.parametrize(("case", "name"), cells(OF_EACH_SHAPE, lambda facts: not (facts.by_batch or facts.noise)))
def test_four_batches_of_two_that_accumulate_are_one_of_eight(case, name, tmp_path):
    trained = []
    # Plain gradient descent without a global clip: Adam and a clip would hide a gradient of the wrong size.
    optimizer = {} if case == "no_bias_correction" else {"optim": "sgd", "learning_rate": 0.05}
    for size, accumulation in ((8, 1), (2, 4)):
        arguments = {"per_device_train_batch_size": size, "gradient_accumulation_steps": accumulation, **optimizer}
        model = tiny_classifier(name, dropout=False)
        trainer = script(model, [make(case)], tmp_path, max_grad_norm=0.0, num_train_epochs=2, **arguments)
        trainer.train()
        trained.append(outputs(trainer.model))

    assert not torch.allclose(trained[0], outputs(tiny_classifier(name, dropout=False)), atol=1e-2)
    assert torch.allclose(*trained, atol=1e-4)


def _same_in_every_row(tensor, *given, **named):
    return tensor.copy_(torch.arange(tensor[0].numel()).cos().view_as(tensor[0]))


@pytest.mark.parametrize(("case", "name"), cells(OF_EACH_SHAPE, lambda facts: facts.noise))
def test_with_the_same_noise_in_every_row_four_batches_of_two_have_the_gradient_of_eight(case, name, monkeypatch):
    model, examples = tiny_classifier(name, dropout=False).double().train(), rows(8)
    kit = Stabilization(model, [make(case)], seed=1)
    move_a_little(model.parameters())
    for draw in ("normal_", "uniform_", "bernoulli_"):
        monkeypatch.setattr(torch.Tensor, draw, _same_in_every_row)

    def gradient(stabilization, size):
        model.zero_grad()
        for n in range(0, 8, size):
            stabilization.backward(model, batch(examples[n : n + size]), share=size / 8)
        return torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None])

    large, small = gradient(kit, 8), gradient(kit, 2)
    kit.finish()
    plain = gradient(Stabilization(model, []), 8)

    assert torch.allclose(large, small, atol=1e-9)
    assert (large - plain).norm() > 1e-3 * plain.norm()


@pytest.fixture(scope="module")
def plainly_trained_in_bfloat16(tmp_path_factory):
    """Weights after the same training under autocast without stabilizers, made once for each model."""
    made = {}

    def get(name, dropout):
        if (name, dropout) not in made:
            trainer = script(tiny_classifier(name, dropout=dropout), [], tmp_path_factory.mktemp("plain"), bf16=True)
            trainer.train()
            made[name, dropout] = state(trainer.model)
        return made[name, dropout]

    return get


@pytest.mark.parametrize(("case", "name"), cells(OF_EACH_SHAPE))
def test_it_trains_under_bfloat16_autocast_and_is_not_lost_in_its_rounding(
    case, name, plainly_trained_in_bfloat16, tmp_path
):
    dropout = CASES[case].needs_dropout
    model = tiny_classifier(name, dropout=dropout)
    before, start = task_loss(model), state(model)
    trainer = script(model, [make(case)], tmp_path, bf16=True)

    trainer.train()

    assert task_loss(model) < 0.9 * before
    assert all(weight.dtype == torch.float32 for weight in model.parameters())
    plain = plainly_trained_in_bfloat16(name, dropout)
    assert distance(state(model), plain) > 1e-2 * distance(plain, start)


@pytest.mark.parametrize("case", [case for case in CASES if CASES[case].differentiable is not None])
def test_the_gradient_passes_a_finite_difference_check(case):
    model = tiny_classifier("bert", dropout=CASES[case].needs_dropout).double()
    kit = Stabilization(model, [make(case, CASES[case].differentiable)], seed=1)
    run = next(iter(kit.runs.values()))
    model.train()
    inputs = batch(rows(6))
    weights = [weight for level in run.parts.levels[-2:] for weight in level]
    move_a_little(weights)
    directions = [torch.randn_like(weight) for weight in weights]

    def loss():
        torch.manual_seed(3)
        return kit.loss(model, inputs)[0]

    @torch.no_grad()
    def loss_at(shift):
        for weight, start, direction in zip(weights, starts, directions, strict=True):
            weight.copy_(start + shift * direction)
        return loss().item()

    gradients = torch.autograd.grad(loss(), weights, allow_unused=True)
    starts = [weight.detach().clone() for weight in weights]
    slope = sum((g * d).sum() for g, d in zip(gradients, directions, strict=True) if g is not None)
    measured = (loss_at(1e-6) - loss_at(-1e-6)) / 2e-6

    assert slope.item() == pytest.approx(measured, rel=1e-5)


def test_one_recipe_serves_many_trainings_at_a_time():
    methods = [make(case) for case in ("wd_pre", "ema", "mixout")]
    kits = [Stabilization(tiny_classifier("bert", seed=seed), methods, seed=1) for seed in (0, 1)]

    states = [kit.runs["wd_pre"].state for kit in kits]

    assert states[0].keys() == states[1].keys()
    assert not same(states[0], states[1])
    assert all(not isinstance(value, torch.Tensor) for method in methods for value in vars(method).values())


def test_many_methods_stand_in_one_recipe(tmp_path):
    cases = ["mmr", "mhloss", "mixout", "wd_pre", "l2_sp", "reinit", "llrd", "r3f", "freelb", "child_tuning"]
    trainer = script(
        tiny_classifier("bert"), [make(case) for case in [*cases, "hype", "ema"]], tmp_path, num_train_epochs=15
    )
    before = task_loss(trainer.model)

    trainer.train()

    assert task_loss(trainer.model) < before
    assert isinstance(trainer.model.classifier, nn.Linear)
    assert type(trainer.model.bert.encoder.layer[0].output.dense) is nn.Linear


@pytest.mark.parametrize(
    ("pair", "what"),
    [
        (("mhloss", "r4f"), "the last layer"),
        (("mhloss", "rdrop"), "the task loss"),
        (("ema", "swa"), "the weights that are kept"),
    ],
)
def test_two_that_replace_the_same_thing_are_refused(pair, what, tmp_path):
    with pytest.raises(UserError, match=f"'{pair[0]}' and '{pair[1]}' both replace {what}"):
        script(tiny_classifier("bert"), [make(case) for case in pair], tmp_path)


@pytest.mark.parametrize("name", sorted(set(STABILIZERS) - {"mhloss", "surt"}))
def test_in_head_tuning_it_says_why_it_means_nothing_there(name):
    cls = type(parse_stabilizer(name))

    assert "head" not in cls.modes
    assert cls.wrong_mode != Stabilizer.wrong_mode


@pytest.mark.parametrize("name", STABILIZERS)
def test_its_docstring_names_source_and_cost_and_says_how_sure_it_is(name):
    text = type(parse_stabilizer(name)).__doc__

    assert "Cost" in text
    assert "Source:" in text
    assert re.search(r"\b(read|recalled|known)\b", text)
    assert any(source in text for source in ("arXiv", "Polyak", "ECCV"))


def test_a_checkpoint_is_not_resumed_with_other_methods(tmp_path):
    script(tiny_classifier("bert"), [st.EMA()], tmp_path, save_strategy="steps", save_steps=4).train()
    other = script(tiny_classifier("bert"), [st.EMA(decay=0.5)], tmp_path)

    with pytest.raises(UserError, match="was written with the stabilizers"):
        other.train(resume_from_checkpoint=True)
    (Path(tmp_path) / "checkpoint-8" / STATE_FILE).unlink()
    again = script(tiny_classifier("bert"), [st.EMA()], tmp_path)
    with pytest.raises(UserError, match="was written without ema"):
        again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-8"))
