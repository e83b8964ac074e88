import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from commands import command
from datasets import Dataset
from safetensors.numpy import load_file
from saying import says
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForMultipleChoice,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    Trainer,
    TrainingArguments,
    set_seed,
)

import steadytune as st
from steadytune.errors import UserError
from steadytune.external import read_run

TEXTS = ["anna likes the glad apple", "ben sees the awful boat", "emma hears a song", "hugo finds it"] * 3
LABELS = [n % 2 for n in range(len(TEXTS))]


def accuracy(prediction):
    return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean()), "words": [1, 2]}


@pytest.fixture
def script(tiny_model, tmp_path):
    """Return a function that makes a Trainer as somebody's own script would, with a column that no model takes."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)

    def make(
        seed=0, auto=AutoModelForSequenceClassification, labels=LABELS, num_labels=2, eval_dataset=None, **options
    ):
        set_seed(seed)
        rows = Dataset.from_dict({**tokenizer(TEXTS), "labels": labels, "sentence": TEXTS})
        arguments = {
            "output_dir": str(tmp_path / "out"),
            "num_train_epochs": 1,
            "per_device_train_batch_size": 4,
            "per_device_eval_batch_size": options.pop("batch", 5),
            "report_to": "none",
            "save_strategy": "no",
            "disable_tqdm": True,
            "seed": seed,
        }
        return Trainer(
            model=auto.from_pretrained(tiny_model, num_labels=num_labels),
            args=TrainingArguments(**arguments),
            train_dataset=rows,
            eval_dataset=rows if eval_dataset is None else eval_dataset,
            processing_class=tokenizer,
            **options,
        )

    return make


def test_two_seeds_of_somebodys_script_are_recorded_in_two_lines_and_measured(script, tmp_path):
    for seed in (0, 1):
        trainer = script(seed)
        trainer.add_callback(st.StabilityRecorder(trainer, tmp_path / f"runs/{seed}.safetensors"))
        trainer.train()
    result = command("measure", tmp_path / "runs")
    assert result.code == 0, result.err
    assert "seeds" in result.out
    assert "CKA" in result.out


def test_what_is_recorded_is_what_the_trainer_predicts(script, tmp_path):
    trainer = script(seed=7, compute_metrics=accuracy)
    trainer.add_callback(st.StabilityRecorder(trainer, tmp_path / "run.safetensors", position="mean"))
    trainer.train()
    predicted = trainer.predict(trainer.eval_dataset)
    run = read_run(tmp_path / "run.safetensors")
    np.testing.assert_allclose(run.logits, predicted.predictions, atol=1e-6)
    np.testing.assert_array_equal(run.labels, LABELS)
    assert run.kind == "classification"
    assert run.seed == "7"
    assert run.scores == {"accuracy": pytest.approx(predicted.metrics["test_accuracy"])}
    assert run.label_names == ("LABEL_0", "LABEL_1")
    assert run.representations.shape == (2, len(TEXTS), 16)
    assert run.representations.dtype == np.float16


def test_the_states_are_those_of_each_text_alone(script, tmp_path):
    trainer = script()
    trainer.add_callback(st.StabilityRecorder(trainer, tmp_path / "run.safetensors", position="last"))
    trainer.train()
    run = read_run(tmp_path / "run.safetensors")
    inputs = trainer.processing_class([TEXTS[2]], return_tensors="pt")
    with torch.no_grad():
        states = trainer.model.eval()(**inputs, output_hidden_states=True).hidden_states
    for layer in (1, 2):
        np.testing.assert_allclose(run.representations[layer - 1, 2], states[layer][0, -1], atol=2e-3)


def test_recording_changes_neither_the_training_nor_what_follows_it(script, tmp_path):
    def outcome(record):
        trainer = script()
        if record:
            trainer.add_callback(st.StabilityRecorder(trainer, tmp_path / "run.safetensors"))
        trainer.train()
        weights = torch.cat([weight.flatten() for weight in trainer.model.parameters()])
        return weights, trainer.model.training, (random.random(), np.random.random(), float(torch.rand(1)))

    plain, plain_mode, plain_luck = outcome(False)
    recorded, mode, luck = outcome(True)
    assert torch.equal(plain, recorded)
    assert mode == plain_mode
    assert luck == plain_luck


def test_the_size_of_a_batch_changes_nothing_and_another_example_does(script, tmp_path):
    digests = []
    for number, options in enumerate(({"batch": 3}, {"batch": 12}, {"labels": LABELS[::-1]})):
        trainer = script(**options)
        recorder = st.StabilityRecorder(trainer, tmp_path / f"{number}.safetensors", position=None)
        recorder.on_train_end(trainer.args, trainer.state, trainer.control)
        digests.append(read_run(tmp_path / f"{number}.safetensors").examples)
    assert digests[0] == digests[1] != digests[2]
    with pytest.raises(UserError, match=says("2.safetensors", "examples", "0.safetensors")):
        st.read_runs([tmp_path / f"{number}.safetensors" for number in (0, 2)])


def test_a_regression_and_a_choice_are_recorded_as_such(script, tmp_path, tiny_model):
    trainer = script(labels=[n / 7 for n in range(len(TEXTS))], num_labels=1)
    st.StabilityRecorder(trainer, tmp_path / "r.safetensors").on_train_end(trainer.args, trainer.state, None)
    run = read_run(tmp_path / "r.safetensors")
    assert (run.kind, run.logits.shape) == ("regression", (12, 1))

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    encoded = tokenizer(TEXTS, padding=True, return_tensors="pt")
    batch = {name: tensor.view(6, 2, -1) for name, tensor in encoded.items()} | {"labels": torch.zeros(6).long()}
    model = AutoModelForMultipleChoice.from_pretrained(tiny_model)
    st.record_model(tmp_path / "c.safetensors", model, [batch], position="cls")
    run = read_run(tmp_path / "c.safetensors")
    assert (run.kind, run.logits.shape, run.representations.shape) == ("choice", (6, 2), (2, 12, 16))


def test_a_model_that_is_no_classifier_is_trained_with_a_warning(script, tmp_path):
    def collate(rows):
        inputs = trainer.processing_class.pad([{"input_ids": row["input_ids"]} for row in rows], return_tensors="pt")
        return {**inputs, "labels": torch.zeros_like(inputs["input_ids"])}

    trainer = script(auto=AutoModelForMaskedLM, labels=[[0] * 8] * len(TEXTS))
    trainer.data_collator = collate
    trainer.add_callback(st.StabilityRecorder(trainer, tmp_path / "run.safetensors"))
    with pytest.warns(UserWarning, match=says("labels", "(", "kind='tokens'", "record_run", "record_model")) as said:
        trainer.train()
    assert len([one for one in said if "StabilityRecorder" in str(one.message)]) == 1
    assert trainer.state.global_step == 3
    assert not (tmp_path / "run.safetensors").exists()


def test_labels_that_are_several_per_example_or_missing_are_not_recorded_as_if_they_were_one(script, tmp_path):
    trainer = script(labels=[[1.0, 0.0]] * len(TEXTS))
    trainer.model.config.problem_type = "regression"
    trainer.add_callback(st.StabilityRecorder(trainer, tmp_path / "run.safetensors"))
    with pytest.warns(UserWarning, match=says("StabilityRecorder", "labels", "(5, 2)", "record_run")):
        trainer.train()
    trainer = script()
    unlabelled = trainer.eval_dataset.remove_columns("labels")
    trainer.add_callback(st.StabilityRecorder(trainer, tmp_path / "run.safetensors", eval_dataset=unlabelled))
    with pytest.warns(UserWarning, match=says("StabilityRecorder", "'labels'", "kind=", "record_run")):
        trainer.train()
    assert not (tmp_path / "run.safetensors").exists()
    path = tmp_path / "said.safetensors"
    trainer.add_callback(st.StabilityRecorder(trainer, path, eval_dataset=unlabelled, kind="classification"))
    trainer.train()
    assert read_run(path).labels is None


def test_the_dataset_to_predict_must_be_known(script, tmp_path):
    trainer = script()
    trainer.eval_dataset = {"a": trainer.eval_dataset, "b": trainer.eval_dataset}
    with pytest.raises(UserError, match=says("eval_dataset=", "'a'", "'b'")):
        st.StabilityRecorder(trainer, tmp_path / "run.safetensors")
    assert (
        st.StabilityRecorder(trainer, tmp_path / "x.safetensors", eval_dataset="b").dataset is trainer.eval_dataset["b"]
    )
    trainer.eval_dataset = None
    with pytest.raises(UserError, match=says("StabilityRecorder", "no eval_dataset")):
        st.StabilityRecorder(trainer, tmp_path / "run.safetensors")


@pytest.mark.parametrize(
    ("name", "position", "said"),
    [
        ("a.npz", "cls", says("a.npz", ".safetensors")),
        ("file/a.safetensors", "cls", says("write", "file")),
        ("a.safetensors", "lst", says("position", "'lst'", "'last'")),
    ],
)
def test_a_mistake_in_its_words_is_said_before_anything_is_computed(script, tmp_path, name, position, said):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=said):
        st.StabilityRecorder(script(), tmp_path / name, position=position)

    def batches():
        raise AssertionError("a batch was read")
        yield

    with pytest.raises(UserError, match=said):
        st.record_model(tmp_path / name, nn.Identity(), batches(), position=position)


def test_only_the_main_process_writes(script, tmp_path):
    trainer = script()
    trainer.state.is_world_process_zero = False
    recorder = st.StabilityRecorder(trainer, tmp_path / "run.safetensors")
    recorder.on_train_end(trainer.args, trainer.state, trainer.control)
    assert not (tmp_path / "run.safetensors").exists()


def test_a_model_in_parts_is_refused(script, tmp_path):
    trainer = script()
    trainer.is_fsdp_enabled = True
    with pytest.raises(UserError, match=says("StabilityRecorder", "FSDP", "record_run")):
        st.StabilityRecorder(trainer, tmp_path / "run.safetensors")


class TestPlainLoop:
    X = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    Y = (X.sum(1) > 0).long()

    def loader(self, *tensors):
        return DataLoader(TensorDataset(*tensors), batch_size=6)

    def test_a_loop_is_recorded_in_one_line_and_measured(self, tmp_path):
        for seed in (0, 1):
            torch.manual_seed(seed)
            model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2))
            st.record_model(tmp_path / f"{seed}.safetensors", model, self.loader(self.X, self.Y), seed=seed)
            run = load_file(tmp_path / f"{seed}.safetensors")
            assert set(run) == {"logits", "labels"}
            np.testing.assert_allclose(run["logits"], model.eval()(self.X).detach(), atol=1e-6)
        cohort = st.read_runs([tmp_path / "0.safetensors", tmp_path / "1.safetensors"])
        assert cohort.seeds == ("0", "1")
        assert cohort.metric == "accuracy"
        expected = [(run.argmax(1) == self.Y.numpy()).mean() for run in cohort.logits]
        np.testing.assert_allclose(cohort.scores, expected)

    def test_parts_in_evaluation_mode_stay_so_and_the_rest_goes_back(self, tmp_path):
        model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Dropout(0.5)).train()
        model[1].eval()
        before = torch.random.get_rng_state()
        st.record_model(tmp_path / "run.safetensors", model, self.loader(self.X, self.Y))
        assert [part.training for part in model] == [True, False, True]
        assert torch.equal(before, torch.random.get_rng_state())

    def test_bare_tensors_and_tuples_of_outputs_are_taken(self, tmp_path):
        class Two(nn.Module):
            def forward(self, x):
                return x[:, :2], x

        st.record_model(tmp_path / "run.safetensors", Two(), [self.X[:5], self.X[5:]], scores={"f1": 0.5})
        run = read_run(tmp_path / "run.safetensors")
        np.testing.assert_array_equal(run.logits, self.X[:, :2])
        assert run.labels is None
        assert run.scores == {"f1": 0.5}

    def test_a_single_output_is_a_regression_unless_all_labels_are_0_or_1(self, tmp_path):
        model = nn.Sequential(nn.Linear(3, 1), nn.Flatten(0))
        st.record_model(tmp_path / "run.safetensors", model, self.loader(self.X, self.X.sum(1)))
        run = read_run(tmp_path / "run.safetensors")
        assert (run.kind, run.logits.shape) == ("regression", (20, 1))
        for labels in (self.Y, self.Y.float()):
            with pytest.raises(UserError, match=says("0 or 1", "two logits", "kind='regression'")):
                st.record_model(tmp_path / "no.safetensors", model, self.loader(self.X, labels))
        st.record_model(tmp_path / "said.safetensors", model, self.loader(self.X, self.Y), kind="regression")
        assert read_run(tmp_path / "said.safetensors").kind == "regression"

    def test_a_config_of_one_label_with_classes_0_and_1_is_asked_about(self, tmp_path):
        model = nn.Sequential(nn.Linear(3, 1), nn.Flatten(0))
        model.config = SimpleNamespace(num_labels=1)
        with pytest.raises(UserError, match="kind='regression'"):
            st.record_model(tmp_path / "no.safetensors", model, self.loader(self.X, self.Y))

    @pytest.mark.parametrize(
        ("model", "batches", "position", "said"),
        [
            (nn.Identity(), [], None, "no batch"),
            (nn.Identity(), [(torch.zeros(2, 3, 4), torch.zeros(2))], None, says("logits", "(2, 3, 4)")),
            (nn.Identity(), [(torch.zeros(2, 3), torch.zeros(3))], None, says("labels", "(3,)", "2 examples")),
            (nn.GRU(3, 2), [torch.zeros(2, 2, 3)], None, says("logits", "(2, 2, 2)")),
        ],
    )
    def test_what_cannot_be_recorded_is_said(self, tmp_path, model, batches, position, said):
        with pytest.raises(UserError, match=said):
            st.record_model(tmp_path / "run.safetensors", model, batches, position=position)
        assert not (tmp_path / "run.safetensors").exists()

    def test_a_model_without_hidden_states_says_so(self, tmp_path):
        class Plain(nn.Module):
            def forward(self, x, output_hidden_states):
                return x

        with pytest.raises(UserError, match=says("hidden states", "position=None")):
            st.record_model(tmp_path / "run.safetensors", Plain(), [self.X], position="cls")
