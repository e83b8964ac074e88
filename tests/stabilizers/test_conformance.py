"""Every stabilizer on every architecture: what all of them promise."""

import itertools
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from saying import says
from torch import nn

import steadytune as st
from steadytune.errors import UserError
from steadytune.stabilizers import STABILIZERS, Stabilizer, parse_stabilizer
from steadytune.testing.models import ALL, PER_TOKEN, batch, rows, tiny_classifier
from steadytune.testing.stabilizers import OF_KINDS, check_stabilizer, check_training, outputs, script, state
from steadytune.training.checkpoint import STATE_FILE
from steadytune.training.stabilization import Stabilization

LORA = ("bert+lora", "roberta+lora", "llama+lora")
NO_BIASES = ("modernbert", "t5", "llama")


@dataclass
class Case:
    """What a stabilizer is tested with.

    `settings` are strong enough to show in a few steps, with `off` it must change nothing. `refused` maps architectures
    to what the error says; kinds of task that a method does not serve, its class names. `needs_dropout` is for what
    acts on dropout. `by_batch` says what it does batch by batch, so that small ones that accumulate cannot equal a
    large one; where `noise` is set, nothing but its noise hinders them. `differentiable` are settings under which the
    gradient is that of the loss.
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


FROZEN = refused(LORA, "frozen")
CASES = {
    "bitfit": Case(refused={**refused(NO_BIASES, says("bitfit", "bias")), **FROZEN}),
    "child_tuning": Case(
        {"variant": "D"},
        off={"variant": "D", "p": 1.0},
        refused=refused(LORA, says("child_tuning", "adapter", "variant F")),
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
        refused=refused(("modernbert", "llama", "qwen2", "llama+lora"), says("rdrop", "dropout")),
        needs_dropout=True,
        by_batch="compares masks of dropout",
        differentiable={"alpha": 1.0},
    ),
    "reinit": Case({"blocks": 1}, off={"blocks": 0}, refused={"albert": says("reinit", "share"), **FROZEN}),
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


def make(case, settings=None):
    name = case.partition(" ")[0]
    return parse_stabilizer({name: CASES[case].settings if settings is None else settings})


def task_loss(model):
    return nn.functional.cross_entropy(outputs(model), batch(rows(16))["labels"]).item()


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_the_table_has_every_stabilizer():
    assert {case.partition(" ")[0] for case in CASES} | ELSEWHERE == set(STABILIZERS)


@pytest.mark.parametrize("case", CASES)
def test_it_keeps_what_every_method_promises(case):
    facts = CASES[case]
    made = {
        name: make(case, given) for name in ("off", "differentiable") if (given := getattr(facts, name)) is not None
    }

    check_stabilizer(
        make(case), **made, by_batch=bool(facts.by_batch), noise=facts.noise, needs_dropout=facts.needs_dropout
    )


@pytest.mark.parametrize("name", [name for name in [*ALL, *PER_TOKEN] if name not in ("bert", *OF_KINDS)])
@pytest.mark.parametrize("case", CASES)
def test_it_trains_changes_something_and_leaves_a_plain_model_or_says_that_it_cannot(case, name):
    facts = CASES[case]
    off = None if facts.off is None else make(case, facts.off)
    if message := facts.refused.get(name.partition(":")[0]):
        with pytest.raises(UserError, match=message):
            check_training(make(case), name, off=off, needs_dropout=facts.needs_dropout)
        return

    check_training(make(case), name, off=off, needs_dropout=facts.needs_dropout)


@pytest.mark.parametrize(
    ("case", "name"),
    [
        ("mmr", "t5"),
        ("freelb", "t5"),
        ("mixout", "albert"),
        ("child_tuning", "bart"),
        ("ema", "bert+lora"),
        ("mhloss", "bert+lora"),
        ("lnsr", "llama+lora"),
        ("swa", "llama+lora"),
    ],
)
def test_a_training_that_is_resumed_ends_with_the_same_bits_where_weights_are_shared_or_adapters(case, name, tmp_path):
    whole = script(tiny_classifier(name), [make(case)], tmp_path, save_strategy="steps", save_steps=4)
    whole.train()
    checkpoint = tmp_path / "checkpoint-4"
    resumed = script(tiny_classifier(name), [make(case)], tmp_path)
    resumed.train(resume_from_checkpoint=str(checkpoint))

    assert (checkpoint / STATE_FILE).is_file()
    assert resumed.state.global_step == whole.state.global_step == 8
    assert same(state(resumed.model), state(whole.model))


class Silent(Stabilizer):
    """A method that breaks what it is told to.

    Source: nobody.

    Cost per step: none.
    """

    name = "silent"
    wrong_mode = "silent is for mode 'full'"
    whole_embeddings = False
    fault: str = ""

    def penalty(self, step):
        if self.fault == "nothing":
            return None
        squares = step.logits.square()
        if self.fault == "state":
            step.run.scratch["steps"] = step.run.scratch.get("steps", 0) + 1
            return 0.1 * step.run.scratch["steps"] * squares.mean()
        if self.fault == "gradient":
            return step.features.detach().square().mean() * squares.mean()
        if self.fault == "sum":
            return 0.3 * squares.sum()
        if self.fault == "rows":
            return squares.mean() + step.run.parts.need_embeddings(self.name).weight.square().sum()
        return {"seeds": next(LUCK), "weak": 1e-6}.get(self.fault, 0.3) * squares.mean()


LUCK = itertools.count(1)


@pytest.mark.parametrize(
    ("fault", "facts", "said"),
    [
        ("nothing", {}, says("Silent(", "weights", "without")),
        ("seeds", {}, says("Silent(", "same seeds", "bits")),
        ("sum", {}, says("Silent(", "batches", "by_batch", "noise")),
        ("rows", {}, says("Silent(", "words", "bits", "whole_embeddings")),
        ("state", {}, says("Silent(", "resumed", "bits", "run.state")),
        (
            "gradient",
            {"differentiable": Silent(fault="gradient"), "by_batch": True},
            says("finite difference", "gradient"),
        ),
        ("off", {"off": Silent(fault="off")}, says("Silent(", "bits", "None", "0")),
        ("weak", {"noise": True}, says("Silent(", "noise", "gradient")),
    ],
)
def test_a_method_that_breaks_a_promise_is_told_which(fault, facts, said):
    with pytest.raises(AssertionError, match=said):
        check_stabilizer(Silent(fault=fault), **facts)


class Untold(Stabilizer):
    """Says nothing."""

    name = "untold"


def test_a_method_without_a_source_is_told_so():
    with pytest.raises(AssertionError, match="'Source:'"):
        check_stabilizer(Untold())


def test_one_recipe_serves_many_trainings_at_a_time():
    methods = [make(case) for case in ("wd_pre", "ema", "mixout")]
    kits = [Stabilization(tiny_classifier("bert", seed=seed), methods, seed=1) for seed in (0, 1)]

    states = [kit.runs["wd_pre"].state for kit in kits]

    assert states[0].keys() == states[1].keys()
    assert not same(states[0], states[1])


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
        (("mhloss", "r4f"), "last layer"),
        (("mhloss", "rdrop"), "task loss"),
        (("ema", "swa"), "weights"),
    ],
)
def test_two_that_replace_the_same_thing_are_refused(pair, what, tmp_path):
    with pytest.raises(UserError, match=says(f"'{pair[0]}'", f"'{pair[1]}'", what)):
        script(tiny_classifier("bert"), [make(case) for case in pair], tmp_path)


@pytest.mark.parametrize("name", sorted(ELSEWHERE - {"surt"}))
def test_in_head_tuning_it_says_why_it_means_nothing_there(name):
    cls = type(parse_stabilizer(name))

    assert "head" not in cls.modes
    assert cls.wrong_mode != Stabilizer.wrong_mode


@pytest.mark.parametrize("name", STABILIZERS)
def test_its_docstring_names_source_and_cost_and_says_how_sure_it_is(name):
    text = type(parse_stabilizer(name)).__doc__

    assert "Cost" in text
    assert "Source:" in text
    assert re.search(r"\b(read|recalled|known|unknown|cited\s+from\s+memory|checked)\b", text)
    assert any(source in text for source in ("arXiv", "Polyak", "ECCV"))


def test_a_checkpoint_is_not_resumed_with_other_methods(tmp_path):
    script(tiny_classifier("bert"), [st.EMA()], tmp_path, save_strategy="steps", save_steps=4).train()
    other = script(tiny_classifier("bert"), [st.EMA(decay=0.5)], tmp_path)

    with pytest.raises(UserError, match=says("checkpoint-8", "0.9", "0.5")):
        other.train(resume_from_checkpoint=True)
    (Path(tmp_path) / "checkpoint-8" / STATE_FILE).unlink()
    again = script(tiny_classifier("bert"), [st.EMA()], tmp_path)
    with pytest.raises(UserError, match=says("checkpoint-8", "without", "ema")):
        again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-8"))
