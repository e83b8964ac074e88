"""Runs of tagged tokens and of sets of labels, recorded from a model and read again, against the model itself."""

import numpy as np
import pytest
import torch
from saying import says
from torch import nn
from transformers import Trainer, TrainingArguments

import steadytune as st
from steadytune.errors import UserError
from steadytune.external import read_run
from steadytune.testing.models import VOCABULARY, batch, rows, rows_for, tiny_classifier, tiny_model

TAGGED = rows_for("bert:tokens", 11)
NAMES = {0: "O", 1: "B-X", 2: "I-X"}


def script(model, held_out, seed=0, **options):
    size = options.pop("size", 4)
    return Trainer(
        model=model,
        args=TrainingArguments(
            options.pop("folder"),
            max_steps=2,
            seed=seed,
            per_device_eval_batch_size=size,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
        ),
        train_dataset=held_out,
        eval_dataset=held_out,
        data_collator=batch,
        **options,
    )


def tagger(seed=0):
    model = tiny_model("bert:tokens", seed)
    model.config.id2label, model.config.label2id = NAMES, {name: at for at, name in NAMES.items()}
    return model


def words(model, examples=TAGGED):
    """Logits and last states of each token that counts, sentence by sentence, without padding or batches."""
    logits, states, labels, sentences = [], [], [], []
    for number, row in enumerate(examples):
        shown = sum(row["attention_mask"])
        with torch.no_grad():
            said = model.eval()(input_ids=torch.tensor([row["input_ids"][:shown]]), output_hidden_states=True)
        for place, label in enumerate(row["labels"][:shown]):
            if label != -100:
                logits.append(said.logits[0, place].numpy())
                states.append(said.hidden_states[-1][0, place].numpy())
                labels.append(label)
                sentences.append(number)
    return np.array(logits), np.array(states), labels, sentences


def test_two_seeds_of_tags_are_recorded_word_by_word_and_measured(tmp_path):
    said = []
    for seed in (0, 1):
        trainer = script(tagger(seed), TAGGED, seed, folder=tmp_path)
        trainer.add_callback(st.StabilityRecorder(trainer, tmp_path / f"{seed}.safetensors"))
        trainer.train()
        said.append(words(trainer.model))
        run = read_run(tmp_path / f"{seed}.safetensors")
        logits, states, labels, sentences = said[-1]
        np.testing.assert_allclose(run.logits, logits, atol=1e-5)
        np.testing.assert_allclose(run.representations[-1], states, atol=4e-3)
        assert run.labels.tolist() == labels
        assert run.questions.tolist() == run.groups.tolist() == sentences
        assert (run.kind, run.label_names) == ("tokens", tuple(NAMES.values()))
    cohort = st.read_runs(sorted(tmp_path.glob("*.safetensors")))
    assert (cohort.kind, cohort.seeds, cohort.metric) == ("tokens", ("0", "1"), "entity_f1")
    disagreement = np.mean(said[0][0].argmax(1) != said[1][0].argmax(1))
    assert st.profile(cohort).last("disagreement").value == pytest.approx(disagreement)


def test_metrics_see_sentences_as_a_trainer_gives_them(tmp_path):
    def share(found):
        counts = found.label_ids != -100
        assert found.predictions.shape[:2] == found.label_ids.shape == (len(TAGGED), 7)
        by_sentence = [
            (p.argmax(-1) == y)[c].mean() for p, y, c in zip(found.predictions, found.label_ids, counts, strict=True)
        ]
        return {"accuracy": float(np.mean(by_sentence))}

    trainer = script(tagger(), TAGGED, folder=tmp_path, compute_metrics=share)
    recorder = st.StabilityRecorder(trainer, tmp_path / "run.safetensors")
    recorder.on_train_end(trainer.args, trainer.state, None)
    logits, _, labels, sentences = map(np.array, words(trainer.model))
    right = logits.argmax(1) == labels
    expected = np.mean([right[sentences == one].mean() for one in np.unique(sentences)])
    assert read_run(tmp_path / "run.safetensors").scores == {"accuracy": pytest.approx(expected)}


def test_the_batches_change_neither_rows_nor_digest_and_which_tokens_count_does(tmp_path):
    relabelled = [{**row, "labels": [row["labels"][1], -100, *row["labels"][2:]]} for row in TAGGED]
    found = []
    for number, (examples, size) in enumerate(((TAGGED, 3), (TAGGED, 11), (relabelled, 11))):
        path = tmp_path / f"{number}.safetensors"
        pieces = [batch(examples[start : start + size]) for start in range(0, len(examples), size)]
        st.record_model(path, tagger(), [trimmed(one) for one in pieces], position="last")
        found.append(read_run(path))
    np.testing.assert_allclose(found[0].logits, found[1].logits, atol=1e-5)
    assert found[0].questions.tolist() == found[1].questions.tolist()
    assert found[0].examples == found[1].examples
    assert found[2].labels.tolist() == found[0].labels.tolist()
    assert found[2].examples != found[0].examples


def trimmed(examples):
    """A batch padded to its longest sentence."""
    width = int(examples["attention_mask"].sum(1).max())
    return {name: tensor[:, :width] for name, tensor in examples.items()}


def test_groups_of_sentences_are_those_of_their_words(tmp_path):
    groups = ["a", "b", "b", *"cccccccc"]
    run = read_run(st.record_model(tmp_path / "run.safetensors", tagger(), [batch(TAGGED)], groups=groups))
    assert run.groups.tolist() == ["abc".index(groups[sentence]) for sentence in words(tagger())[3]]


@pytest.mark.parametrize("label", [3, -1])
def test_a_tag_without_an_output_costs_the_labels_alone(label, tmp_path):
    examples = [dict(row) for row in TAGGED]
    examples[-1]["labels"] = [-100, label, *examples[-1]["labels"][2:]]
    trainer = script(tagger(), TAGGED, folder=tmp_path)
    trainer.add_callback(st.StabilityRecorder(trainer, tmp_path / "run.safetensors", eval_dataset=examples))
    with pytest.warns(UserWarning, match=says("label", str(label))) as said:
        trainer.train()
    assert len([one for one in said if "StabilityRecorder" in str(one.message)]) == 1
    run = read_run(tmp_path / "run.safetensors")
    assert run.labels is None
    assert run.logits.shape == (len(words(trainer.model)[2]), 3)


class Tagger(nn.Module):
    """A model of one's own, of which nothing shows what its outputs are."""

    def __init__(self, outputs=3):
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(VOCABULARY, outputs)

    def forward(self, input_ids, attention_mask=None):
        return self.table(input_ids)


def test_of_a_model_of_ones_own_the_kind_must_be_said(tmp_path):
    path, model = tmp_path / "run.safetensors", Tagger()
    with pytest.raises(UserError, match=says("labels", "(11, 8)", "kind='tokens'", "kind='multilabel'")):
        st.record_model(path, model, [batch(TAGGED)])
    with pytest.raises(UserError, match=says("kind 'tokesn'", "'tokens'")):
        st.record_model(path, model, [batch(TAGGED)], kind="tokesn")
    with pytest.raises(UserError, match=says("labels", "tokens", "none")):
        st.record_model(path, model, [{"input_ids": batch(TAGGED)["input_ids"]}], kind="tokens")
    run = read_run(st.record_model(path, model, [batch(TAGGED)], kind="tokens"))
    counted = batch(TAGGED)["labels"] != -100
    np.testing.assert_array_equal(run.logits, model.table(batch(TAGGED)["input_ids"])[counted].detach())


SETS = [{**row, "labels": [float(row["labels"]), float(row["input_ids"][1] % 2), 1.0]} for row in rows(9)]


@pytest.mark.parametrize("problem", [None, "multi_label_classification"])
def test_two_seeds_of_sets_are_recorded_as_transformers_understands_them(problem, tmp_path):
    said = []
    for seed in (0, 1):
        model = tiny_classifier("bert", seed, num_labels=3)
        model.config.problem_type = problem
        trainer = script(model, SETS, seed, folder=tmp_path)
        trainer.add_callback(st.StabilityRecorder(trainer, tmp_path / f"{seed}.safetensors"))
        trainer.train()
        inputs = {name: tensor for name, tensor in batch(SETS).items() if name != "labels"}
        with torch.no_grad():
            said.append(model.eval()(**inputs).logits.numpy())
        run = read_run(tmp_path / f"{seed}.safetensors")
        np.testing.assert_allclose(run.logits, said[-1], atol=1e-5)
        assert run.labels.tolist() == [row["labels"] for row in SETS]
        assert (run.kind, run.label_names) == ("multilabel", ("LABEL_0", "LABEL_1", "LABEL_2"))
    cohort = st.read_runs(sorted(tmp_path.glob("*.safetensors")))
    assert cohort.kind == "multilabel"
    other = np.mean(np.any((said[0] > 0) != (said[1] > 0), axis=1))
    assert st.profile(cohort).last("disagreement").value == pytest.approx(other)


def test_sets_that_are_none_are_said(tmp_path):
    inputs = {name: tensor for name, tensor in batch(SETS).items() if name != "labels"}
    model = tiny_classifier("bert", num_labels=3)
    for labels, said in (
        (torch.full((9, 3), 0.5), "neither 0 nor 1"),
        (torch.ones(9, 2), says("2 labels", "3 outputs")),
    ):
        with pytest.raises(UserError, match=said):
            st.record_model(
                tmp_path / "run.safetensors", model, [{**inputs, "labels": labels}], kind="multilabel", position=None
            )
