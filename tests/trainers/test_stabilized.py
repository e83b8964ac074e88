"""The class that is made of a Trainer."""

import subprocess
import sys

import pytest
import torch
from saying import says
from somebodys import Script, check_plain, check_stabilized
from torch import nn
from transformers import Seq2SeqTrainer, Trainer

import steadytune as st
from steadytune.errors import UserError
from steadytune.testing.models import batch, rows, tiny_classifier


class Weighted(Trainer):
    """One of somebody's own, as in many scripts."""

    weights = torch.tensor([1.0, 9.0])

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        labels = inputs.pop("labels")
        outputs = model(**inputs)
        loss = nn.functional.cross_entropy(outputs.logits, labels, self.weights)
        return (loss, outputs) if return_outputs else loss


class Logged(Trainer):
    """Calls on, and keeps what it saw."""

    def __init__(self, *args, **named):
        self.seen = []
        super().__init__(*args, **named)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        result = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        self.seen.append(float((result[0] if return_outputs else result).detach()))
        return result


def script(trainer=Trainer, dropout=False, **settings):
    return Script(
        lambda: tiny_classifier("bert", dropout=dropout),
        rows(16),
        rows(8, seed=1),
        trainer=trainer,
        options={"data_collator": batch},
        settings=settings,
    )


def test_the_class_is_made_once_and_is_a_subclass_of_both():
    cls = st.stabilized(Seq2SeqTrainer)
    assert cls is st.stabilized(Seq2SeqTrainer)
    assert cls.__name__ == "StableSeq2SeqTrainer"
    assert issubclass(cls, Seq2SeqTrainer)
    assert issubclass(cls, st.StableTrainer)


def test_of_the_trainer_itself_it_is_the_stable_trainer_and_of_a_stable_one_nothing_new():
    assert st.stabilized(Trainer) is st.StableTrainer
    assert st.stabilized(st.StableTrainer) is st.StableTrainer
    cls = st.stabilized(Weighted)
    assert st.stabilized(cls) is cls


@pytest.mark.parametrize("given", [nn.Linear, "SFTTrainer", None, Trainer.train])
def test_what_is_no_trainer_is_refused(given):
    with pytest.raises(UserError, match=says("stabilized", "Trainer", "Stabilization")):
        st.stabilized(given)


def test_it_is_found_without_torch():
    code = "import sys, steadytune; assert 'stabilized' in dir(steadytune); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("cls", [Trainer, Weighted, Logged])
@pytest.mark.parametrize("settings", [{}, {"gradient_accumulation_steps": 3}, {"label_smoothing_factor": 0.1}])
def test_without_stabilizers_it_is_the_plain_trainer(cls, settings, tmp_path):
    check_plain(script(cls, dropout=True, **settings), tmp_path)


def test_without_stabilizers_a_trainer_trains_twice_and_has_no_stabilization(tmp_path):
    trainer = script().make(st.StableTrainer, tmp_path)
    trainer.train()
    trainer.train()
    assert not hasattr(trainer, "stabilization")
    assert trainer.measurements == {}


@pytest.mark.parametrize("methods", [["l2_sp"], ["mixout"], ["ema"], ["freelb"], ["wd_pre"], ["mmr"], ["rdrop"]])
@pytest.mark.parametrize("cls", [Trainer, Weighted, Logged])
def test_with_stabilizers_it_trains_and_leaves_a_plain_model(cls, methods, tmp_path):
    check_stabilized(script(cls, dropout=True), tmp_path, *methods)


@pytest.mark.parametrize("off", [st.L2SP(alpha=0, beta=0), st.FreeLB(radius=0), st.Mixout(p=0), st.MMR(alpha=0)])
@pytest.mark.parametrize("cls", [Weighted, Logged])
def test_at_strength_zero_it_is_the_trainers_own_loss(cls, off, tmp_path):
    plain = script(cls, eval_strategy="no").make(cls, tmp_path)
    plain.train()
    trainer = script(cls, eval_strategy="no").make(st.stabilized(cls), tmp_path, stabilizers=[off])
    trainer.train()
    for ours, theirs in zip(trainer.model.parameters(), plain.model.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(plain.evaluate()["eval_loss"], rel=1e-5)


def test_the_loss_that_a_method_for_any_trainer_sees_is_to_the_bit_the_trainers(tmp_path):
    plain = script(Logged, eval_strategy="no").make(Logged, tmp_path)
    plain.train()
    trainer = script(Logged, eval_strategy="no").make(st.stabilized(Logged), tmp_path, stabilizers=[st.EMA(decay=0)])
    trainer.train()
    assert trainer.seen == plain.seen


def penalised(model):
    start = [weight.detach().clone() for weight in model.bert.parameters()]

    def penalty():
        moved = sum((weight - old).square().sum() for weight, old in zip(model.bert.parameters(), start, strict=True))
        return 0.5 * moved

    return penalty


class ByHand(Trainer):
    """L2-SP with alpha = 1 and beta = 0, written out: one pass for each step."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        if not hasattr(self, "penalty"):
            self.penalty = penalised(model)
        return super().compute_loss(model, inputs) + self.penalty()


@pytest.mark.parametrize("passes", [1, 2])
def test_a_penalty_counts_once_for_each_step_however_many_passes_it_takes(passes, tmp_path):
    settings = {"optim": "sgd", "max_grad_norm": 0.0, "eval_strategy": "no", "learning_rate": 0.1}
    by_hand = script(ByHand, **settings).make(ByHand, tmp_path)
    by_hand.train()
    settings |= {"gradient_accumulation_steps": passes, "per_device_train_batch_size": 4 // passes}
    trainer = script(**settings).make(st.StableTrainer, tmp_path, stabilizers=[st.L2SP(alpha=1, beta=0)])
    trainer.train()
    for ours, theirs in zip(trainer.model.parameters(), by_hand.model.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)
