"""What scripts ask of their Trainer: stop early, keep the best model, compile, accumulate, smooth, resume, search."""

import warnings

import optuna
import pytest
import torch
from saying import says
from somebodys import SWA, Script, check_plain, check_recorded, check_stabilized, ending
from torch import nn
from transformers import BertConfig, BertForSequenceClassification, EarlyStoppingCallback, Trainer

import steadytune as st
from steadytune.errors import UserError
from steadytune.external import read_run
from steadytune.testing.models import VOCABULARY, batch, rows, tiny_classifier

BEST = {
    "save_strategy": "steps",
    "save_steps": 2,
    "eval_steps": 2,
    "max_steps": 8,
    "load_best_model_at_end": True,
    "metric_for_best_model": "eval_loss",
    "greater_is_better": False,
    "learning_rate": 5e-2,
}
OPTIONS = {
    "early stopping": BEST,
    "best model": BEST,
    "passes": {"gradient_accumulation_steps": 3},
    "smoothing": {"label_smoothing_factor": 0.2},
    "bf16": {"bf16": True},
    "checkpointing": {"activation_checkpointing": True},
}


def script(name=None, model=None):
    return Script(
        model or (lambda: tiny_classifier("bert")),
        rows(16),
        rows(8, seed=1),
        options={"data_collator": batch},
        settings=dict(OPTIONS.get(name, {})),
    )


class Stopping(Trainer):
    """A trainer that stops early."""

    def __init__(self, *args, **named):
        super().__init__(*args, **named)
        self.add_callback(EarlyStoppingCallback(early_stopping_patience=1))


def of(name):
    made = script(name)
    if name == "early stopping":
        made.trainer = Stopping
    return made


@pytest.mark.parametrize("name", OPTIONS)
def test_without_stabilizers_it_is_the_plain_trainer(name, tmp_path):
    check_plain(of(name), tmp_path)


@pytest.mark.parametrize("method", ["l2_sp", "mixout", "ema", SWA, "freelb", "mmr"])
@pytest.mark.parametrize("name", ["passes", "smoothing", "bf16", "checkpointing"])
def test_methods_serve_it(name, method, tmp_path):
    check_stabilized(script(name), tmp_path, method)


@pytest.mark.parametrize("method", ["l2_sp", "mixout", "ema", "mmr", "mhloss"])
@pytest.mark.parametrize("name", ["early stopping", "best model"])
def test_with_methods_the_best_model_is_the_plain_one_of_its_checkpoint(name, method, tmp_path):
    made = of(name)
    trainer = made.make(st.stabilized(made.trainer), tmp_path, stabilizers=[method])
    trainer.train()
    losses = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    assert trainer.state.best_metric == min(losses)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(min(losses), rel=1e-4)
    assert trainer.state.global_step <= 8
    assert set(trainer.model.state_dict()) == set(tiny_classifier("bert").state_dict())


@pytest.mark.parametrize("name", OPTIONS)
def test_it_is_recorded_with_the_outputs_of_the_model_that_is_kept(name, tmp_path):
    run, said = check_recorded(of(name), tmp_path)
    assert said == []
    assert run.labels.tolist() == [0, 1] * 4
    assert run.representations is not None


def test_the_best_model_is_recorded(tmp_path):
    trainer = script("best model").make(Trainer, tmp_path)
    trainer.add_callback(st.StabilityRecorder(trainer, tmp_path / "run.safetensors"))
    trainer.train()
    recorded = torch.tensor(read_run(tmp_path / "run.safetensors").logits)
    assert torch.allclose(recorded, torch.tensor(trainer.predict(trainer.eval_dataset).predictions), atol=1e-5)


@pytest.mark.parametrize("methods", [[], ["l2_sp"], ["ema"], ["mmr", "mhloss"]])
def test_a_training_that_is_resumed_ends_where_the_whole_one_does(methods, tmp_path):
    made = script()
    made.settings = {"save_strategy": "steps", "save_steps": 2, "eval_strategy": "no"}
    cls = st.stabilized(Trainer)
    whole = made.make(cls, tmp_path, stabilizers=methods)
    whole.train()
    resumed = made.make(cls, tmp_path, stabilizers=methods)
    resumed.add_callback(st.StabilityRecorder(resumed, tmp_path / "run.safetensors"))
    resumed.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-2"))
    for one, other in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(one, other)
    assert read_run(tmp_path / "run.safetensors").logits.shape == (8, 2)


def test_a_plain_checkpoint_is_resumed_without_stabilizers_and_refused_with_some(tmp_path):
    made = script()
    made.settings = {"save_strategy": "steps", "save_steps": 2, "eval_strategy": "no"}
    whole = made.make(Trainer, tmp_path)
    whole.train()
    checkpoint = str(tmp_path / "out" / "checkpoint-2")
    resumed = made.make(st.StableTrainer, tmp_path)
    resumed.train(resume_from_checkpoint=checkpoint)
    weights = ending(whole)[0]
    assert all(torch.equal(weight, weights[name]) for name, weight in resumed.model.state_dict().items())
    with pytest.raises(UserError, match=says("l2_sp", "checkpoint-2")):
        made.make(st.StableTrainer, tmp_path, stabilizers=["l2_sp"]).train(resume_from_checkpoint=checkpoint)


class Several(nn.Module):
    """A model of one's own with two outputs by name and no configuration."""

    def __init__(self):
        super().__init__()
        self.embedding, self.head, self.other = nn.Embedding(40, 8), nn.Linear(8, 2), nn.Linear(8, 3)

    def forward(self, input_ids, attention_mask=None, labels=None):
        feature = self.embedding(input_ids).mean(1)
        outputs = {"logits": self.head(feature), "more": self.other(feature)}
        if labels is not None:
            loss = nn.functional.cross_entropy(outputs["logits"], labels) + 0.1 * outputs["more"].square().mean()
            outputs = {"loss": loss, **outputs}
        return outputs


def several():
    torch.manual_seed(0)
    return Several()


def test_a_model_of_ones_own_with_several_outputs_is_plain_served_and_recorded_without_hidden_states(tmp_path):
    made = script(model=several)
    check_plain(made, tmp_path)
    check_stabilized(made, tmp_path, "l2_sp", "ema", "child_tuning")
    run, said = check_recorded(made, tmp_path)
    assert len(said) == 1
    assert "hidden states" in said[0]
    assert run.logits.shape == (8, 2)
    assert run.labels.tolist() == [0, 1] * 4


@pytest.fixture
def compiled():
    """A script that compiles its model: a small one, because that takes seconds whatever the backend."""
    made = script(model=several)
    made.settings = {"torch_compile": True, "torch_compile_backend": "eager", "max_steps": 2}
    yield made
    torch.compiler.reset()


def test_a_compiled_model_is_trained_as_plainly(compiled, tmp_path):
    check_plain(compiled, tmp_path)


@pytest.mark.parametrize("method", ["l2_sp", "mixout", "ema", "child_tuning"])
def test_methods_serve_a_compiled_model(method, compiled, tmp_path):
    check_stabilized(compiled, tmp_path, method)


def test_hooks_act_on_a_compiled_model_whose_class_was_compiled_without_them(compiled, tmp_path):
    def bert():
        torch.manual_seed(0)
        sizes = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": VOCABULARY}
        return BertForSequenceClassification(BertConfig(num_hidden_layers=1, hidden_dropout_prob=0.0, **sizes))

    compiled.model = bert
    compiled.settings |= {"eval_strategy": "no", "max_steps": 1}
    compiled.make(Trainer, tmp_path).train()
    ends = []
    for is_compiled in (True, False):
        compiled.settings["torch_compile"] = is_compiled
        trainer = compiled.make(st.StableTrainer, tmp_path, stabilizers=["freelb", "neftune"])
        trainer.train()
        ends.append(torch.cat([weight.detach().flatten() for weight in trainer.model.parameters()]))
    assert torch.allclose(*ends, atol=1e-6)


def test_a_compiled_model_is_recorded(compiled, tmp_path):
    run, said = check_recorded(compiled, tmp_path, position=None)
    assert said == []
    assert run.logits.shape == (8, 2)


def test_a_loss_of_the_models_own_is_refused_where_a_method_would_replace_it(tmp_path):
    with pytest.raises(UserError, match=says("loss", "compute_loss_func")):
        check_stabilized(script(model=several), tmp_path, "mmr")


def test_the_trials_of_a_search_are_not_recorded_as_one_run(tmp_path):
    trainer = script().make(Trainer, tmp_path)
    trainer.state.is_hyper_param_search = True
    recorder = st.StabilityRecorder(trainer, tmp_path / "run.safetensors")
    given = trainer.args, trainer.state, trainer.control
    with pytest.warns(UserWarning, match=says("StabilityRecorder", "search")):
        recorder.on_train_begin(*given)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        recorder.on_train_end(*given)
        recorder.on_train_begin(*given)
    assert not (tmp_path / "run.safetensors").exists()


@pytest.mark.parametrize("methods", [[], ["mixout"]])
def test_a_search_finds_what_the_plain_trainer_finds(methods, tmp_path):
    found = []
    for cls, options in ((Trainer, {}), (st.StableTrainer, {"stabilizers": methods})):
        made = script()
        made.options["model_init"] = lambda: tiny_classifier("bert")
        trainer = made.make(cls, tmp_path, **options)
        trainer.add_callback(st.StabilityRecorder(trainer, tmp_path / "run.safetensors"))
        with pytest.warns(UserWarning, match=says("StabilityRecorder", "search")):
            best = trainer.hyperparameter_search(
                lambda trial: {"learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True)},
                n_trials=2,
                backend="optuna",
                sampler=optuna.samplers.RandomSampler(seed=0),
            )
        found.append((best.objective, best.hyperparameters))
    assert (found[0] == found[1]) is (not methods)
