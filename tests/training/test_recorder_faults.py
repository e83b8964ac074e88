import numpy as np
import pytest
import torch
from saying import says
from torch import nn
from torch.utils.data import IterableDataset
from transformers import Trainer, TrainerCallback, TrainingArguments

import steadytune as st
from steadytune.errors import UserError
from steadytune.external import read_run
from steadytune.testing.models import batch, rows, tiny_classifier


def script(folder, held_out=None, seed=0, metrics=None, model=None):
    return Trainer(
        model=model or tiny_classifier("bert"),
        args=TrainingArguments(
            str(folder), max_steps=2, seed=seed, report_to="none", save_strategy="no", disable_tqdm=True, use_cpu=True
        ),
        train_dataset=rows(16),
        eval_dataset=rows(12, seed=1) if held_out is None else held_out,
        data_collator=batch,
        compute_metrics=metrics,
    )


def record(trainer, path, **options):
    trainer.add_callback(st.StabilityRecorder(trainer, path, **options))
    trainer.train()


@pytest.mark.parametrize("label", [-1, 2, 7])
@pytest.mark.parametrize("place", [0, 11])
def test_a_label_that_is_no_class_is_said_before_the_first_step_and_costs_the_labels_alone(place, label, tmp_path):
    held_out = rows(12, seed=1)
    held_out[place]["labels"] = label
    trainer = script(tmp_path, held_out)
    recorder = st.StabilityRecorder(trainer, tmp_path / "run.safetensors")
    with pytest.warns(UserWarning, match=says("label", str(label))) as said:
        recorder.on_train_begin(trainer.args, trainer.state, trainer.control)
    assert len(said) == 1
    assert not (tmp_path / "run.safetensors").exists()
    record(trainer, tmp_path / "run.safetensors")
    run = read_run(tmp_path / "run.safetensors")
    assert run.labels is None
    assert run.logits.shape == (12, 2)


@pytest.mark.parametrize("extra", ["text", {"a": 1.0}, None, [1.0], float("nan"), 1j])
def test_of_the_metrics_numbers_are_kept_and_nothing_else(extra, tmp_path):
    kept = {"f1": 0.5, "hits": np.int64(3), "loss": torch.tensor(0.25)}
    record(script(tmp_path, metrics=lambda found: {**kept, "more": extra}), tmp_path / "run.safetensors")
    assert read_run(tmp_path / "run.safetensors").scores == {"f1": 0.5, "hits": 3.0, "loss": 0.25}


def test_metrics_that_raise_cost_their_scores_alone(tmp_path):
    with pytest.warns(UserWarning, match="ZeroDivisionError"):
        record(script(tmp_path, metrics=lambda found: {"x": 1 / 0}), tmp_path / "run.safetensors")
    assert read_run(tmp_path / "run.safetensors").logits.shape == (12, 2)


def test_the_file_of_another_seed_is_not_replaced_unless_asked_for(tmp_path):
    path = tmp_path / "run.safetensors"
    record(script(tmp_path, seed=0), path)
    record(script(tmp_path, seed=0), path)
    trainer = script(tmp_path, seed=1)
    with pytest.raises(UserError, match=says("run.safetensors", "seed 0", "seed 1")):
        record(trainer, path)
    assert trainer.state.global_step == 0
    assert read_run(path).seed == "0"
    record(script(tmp_path, seed=1), path, overwrite=True)
    assert read_run(path).seed == "1"


def test_a_finished_run_whose_place_is_taken_goes_beside_it(tmp_path):
    path = tmp_path / "run.safetensors"
    record(script(tmp_path), path)
    with pytest.warns(UserWarning, match="run-1.safetensors"):
        record(script(tmp_path, rows(12, seed=2)), path)
    assert read_run(path).examples != read_run(tmp_path / "run-1.safetensors").examples


def test_a_plain_record_does_not_replace_another_seed_either(tmp_path):
    given = {"logits": np.eye(2), "labels": [0, 1]}
    path = st.record_run(tmp_path / "run.safetensors", seed=0, **given)
    with pytest.raises(UserError, match="overwrite=True"):
        st.record_run(path, seed=1, **given)
    assert read_run(st.record_run(path, seed=1, overwrite=True, **given)).seed == "1"


class Diverges(nn.Module):
    def forward(self, x):
        return torch.where(x[:, :1] > 0, torch.nan, x[:, :2])


def test_a_run_whose_outputs_are_not_finite_is_recorded_as_diverged(tmp_path):
    x = torch.tensor([[1.0, 2.0], [-1.0, 2.0]])
    path = st.record_model(tmp_path / "run.safetensors", Diverges(), [(x, torch.tensor([0, 1]))], seed=3)
    run = read_run(path)
    assert (run.status, run.seed) == ("diverged", "3")
    assert "row 0" in run.reason


def test_a_model_that_is_not_finite_before_training_is_said_to_be_so(tmp_path):
    model = tiny_classifier("bert")
    model.classifier.weight.data.fill_(torch.nan)
    with pytest.warns(UserWarning, match=says("StabilityRecorder", "outputs", "finite")):
        record(script(tmp_path, model=model), tmp_path / "run.safetensors")
    assert read_run(tmp_path / "run.safetensors").status == "diverged"


class Restless(nn.Linear):
    def forward(self, x):
        return super().forward(nn.functional.dropout(x))


def test_dropout_that_never_rests_is_said(tmp_path):
    x, y = torch.randn(16, 3), torch.arange(16) % 2
    with pytest.warns(UserWarning, match=says("dropout", "training=self.training")) as caught:
        st.record_model(tmp_path / "run.safetensors", Restless(3, 2), [(x, y)])
    assert caught[0].filename == __file__


@pytest.mark.parametrize("groups", [[0, 0, 1, 1] * 3, ["a", "a", "b", "b"] * 3])
def test_groups_are_recorded_as_numbers(groups, tmp_path):
    record(script(tmp_path), tmp_path / "run.safetensors", groups=groups)
    np.testing.assert_array_equal(read_run(tmp_path / "run.safetensors").groups, [0, 0, 1, 1] * 3)
    with pytest.raises(UserError, match=says("11 groups", "12 examples")):
        record(script(tmp_path), tmp_path / "other.safetensors", groups=groups[1:])


class Stream(IterableDataset):
    def __init__(self, examples):
        self.examples = examples

    def __iter__(self):
        return iter(self.examples)


@pytest.mark.parametrize("label", [-1, 7])
def test_a_late_label_of_a_stream_that_is_no_class_costs_the_labels_alone(label, tmp_path):
    held_out = rows(12, seed=1)
    held_out[11]["labels"] = label
    with pytest.warns(UserWarning, match=says("label", str(label))):
        record(script(tmp_path, Stream(held_out)), tmp_path / "run.safetensors")
    run = read_run(tmp_path / "run.safetensors")
    assert run.labels is None
    assert run.logits.shape == (12, 2)


def test_groups_that_do_not_fit_a_stream_cost_what_is_not_the_models(tmp_path):
    with pytest.warns(UserWarning, match=says("StabilityRecorder", "12 rows", "2 groups", "run.safetensors")):
        record(script(tmp_path, Stream(rows(12, seed=1))), tmp_path / "run.safetensors", groups=[0, 1])
    assert read_run(tmp_path / "run.safetensors").logits.shape == (12, 2)


def test_a_run_whose_folder_is_gone_is_kept_in_another_place(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    trainer = script(tmp_path)

    class Gone(TrainerCallback):
        def on_step_end(self, args, state, control, **named):
            if state.global_step == 1:
                (tmp_path / "runs").rmdir()
                (tmp_path / "runs").touch()

    trainer.add_callback(Gone())
    trainer.add_callback(st.StabilityRecorder(trainer, tmp_path / "runs" / "run.safetensors"))
    with pytest.warns(UserWarning, match=says("StabilityRecorder", str(tmp_path / "here" / "run.safetensors"))):
        trainer.train()
    assert read_run(tmp_path / "here" / "run.safetensors").labels.shape == (12,)


def test_a_path_that_cannot_be_written_is_refused_at_once(tmp_path):
    with pytest.raises(UserError, match=r"run\.safetensors"):
        st.StabilityRecorder(script(tmp_path), "/proc/nowhere/run.safetensors")


def test_a_kind_that_does_not_fit_is_said_once_before_the_first_step_and_the_training_goes_on(tmp_path):
    trainer = script(tmp_path)
    with pytest.warns(UserWarning, match=says("run.safetensors", "regression", "record_run")) as said:
        record(trainer, tmp_path / "run.safetensors", kind="regression")
    assert len([one for one in said if "StabilityRecorder" in str(one.message)]) == 1
    assert trainer.state.global_step == 2
    assert not list(tmp_path.glob("*run*"))
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("when", ["collator", "model"])
def test_whatever_raises_while_a_run_is_recorded_does_not_end_the_training(when, tmp_path):
    def collate(examples):
        if len(examples) == 3:
            raise RuntimeError("no batch of three")
        return batch(examples)

    trainer = script(tmp_path, rows(11, seed=1))
    if when == "collator":
        trainer.data_collator = collate
    else:
        trainer.model.register_forward_pre_hook(lambda model, inputs: None if model.training else 1 / 0)
    with pytest.warns(UserWarning, match=says("StabilityRecorder", "Error: ", "record_run", "record_model")) as said:
        record(trainer, tmp_path / "run.safetensors")
    assert len([one for one in said if "StabilityRecorder" in str(one.message)]) == 1
    assert trainer.state.global_step == 2


class Bare(nn.Module):
    """A classifier of one's own, without a configuration."""

    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(40, 4), nn.Linear(4, 2)

    def forward(self, input_ids, attention_mask=None, labels=None):
        logits = self.head(self.embedding(input_ids).mean(1))
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return {"logits": logits} if loss is None else {"loss": loss, "logits": logits}


def test_a_model_without_a_configuration_is_recorded_without_hidden_states(tmp_path):
    record(script(tmp_path, model=Bare()), tmp_path / "run.safetensors", position=None)
    assert read_run(tmp_path / "run.safetensors").logits.shape == (12, 2)
    with pytest.warns(UserWarning, match=says("position=None", "without hidden states")):
        record(script(tmp_path, model=Bare()), tmp_path / "other.safetensors")
    run = read_run(tmp_path / "other.safetensors")
    assert run.representations is None
    assert run.labels.shape == (12,)


def test_groups_by_a_column_that_the_dataset_cannot_give_are_refused_in_words(tmp_path):
    with pytest.raises(UserError, match=says("StabilityRecorder", "'doc'", "groups")):
        record(script(tmp_path), tmp_path / "run.safetensors", groups="doc")
