import numpy as np
import pytest
import torch
from architectures import batch, rows, tiny_classifier
from torch import nn
from transformers import Trainer, TrainingArguments

import steadytune as st
from steadytune.errors import UserError
from steadytune.external import read_run


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


@pytest.mark.parametrize("place", [0, 11])
def test_a_label_that_is_no_class_is_refused_before_the_first_step_wherever_it_stands(place, tmp_path):
    held_out = rows(12, seed=1)
    held_out[place]["labels"] = -1
    trainer = script(tmp_path, held_out)
    with pytest.raises(UserError, match="label to record is -1"):
        record(trainer, tmp_path / "run.safetensors")
    assert trainer.state.global_step == 0


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
    with pytest.raises(UserError, match="holds the run with seed 0, and this one has seed 1"):
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


def test_a_model_that_is_not_finite_before_training_is_refused(tmp_path):
    model = tiny_classifier("bert")
    model.classifier.weight.data.fill_(torch.nan)
    with pytest.raises(UserError, match="before the first step"):
        record(script(tmp_path, model=model), tmp_path / "run.safetensors")


class Restless(nn.Linear):
    def forward(self, x):
        return super().forward(nn.functional.dropout(x))


def test_dropout_that_never_rests_is_said(tmp_path):
    x, y = torch.randn(16, 3), torch.arange(16) % 2
    with pytest.warns(UserWarning, match="asked twice"):
        st.record_model(tmp_path / "run.safetensors", Restless(3, 2), [(x, y)])


@pytest.mark.parametrize("groups", [[0, 0, 1, 1] * 3, ["a", "a", "b", "b"] * 3])
def test_groups_are_recorded_as_numbers(groups, tmp_path):
    record(script(tmp_path), tmp_path / "run.safetensors", groups=groups)
    np.testing.assert_array_equal(read_run(tmp_path / "run.safetensors").groups, [0, 0, 1, 1] * 3)
    with pytest.raises(UserError, match="11 groups for 12 examples"):
        record(script(tmp_path), tmp_path / "other.safetensors", groups=groups[1:])
