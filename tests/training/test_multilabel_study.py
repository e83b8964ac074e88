"""Sets of labels from files to runs, and in a Trainer of one's own."""

import json
import random

import numpy as np
import pytest
import torch
from saying import says
from scipy.special import expit
from sklearn.metrics import f1_score
from transformers import AutoModelForSequenceClassification, AutoTokenizer, TrainingArguments

import steadytune as st
from steadytune.errors import UserError
from steadytune.study import TaskSpec
from steadytune.tasks import load_task

WORDS = {"good": ("great", "good"), "bad": ("bad", "awful")}
NAMES = tuple(sorted(WORDS))


def example(rng, at):
    labels = [name for bit, name in enumerate(WORDS) if at >> bit & 1]
    words = [rng.choice(WORDS[name]) for name in labels] + ["the", "movie"]
    return {"text": " ".join(words), "labels": labels}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path, rng = tmp_path_factory.mktemp("sets"), random.Random(0)
    for name, count in (("train", 32), ("validation", 20)):
        rows = [example(rng, at) for at in range(count)]
        (path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def store(tiny_model, folder, tmp_path_factory):
    training = {"epochs": 3, "learning_rate": 0.01, "batch_size": 8, "max_length": 16}
    recipes = {"standard": {}, "mixout": {"stabilizers": ["mixout"]}}
    study = {"model": str(tiny_model), "task": str(folder), "seeds": 2, "training": training, "recipes": recipes}
    return st.run(study, tmp_path_factory.mktemp("runs") / "out")


def test_runs_are_scored_as_scikit_learn_scores_their_sets(store, folder):
    task = load_task(TaskSpec(name=str(folder)))
    for cohort in store.cohorts():
        assert (cohort.kind, cohort.metric, cohort.label_names) == ("multilabel", "f1_micro", NAMES)
        assert np.array_equal(cohort.labels, task.validation.labels)
        for scored, run in zip(cohort.scores, cohort.logits, strict=True):
            expected = f1_score(task.validation.labels, run > 0, average="micro", zero_division=0)
            assert scored == pytest.approx(expected, abs=1e-9)
        assert cohort.probabilities == pytest.approx(expit(cohort.logits.astype(np.float64)))
        # The constant answer of both labels: of 20 examples 10 have each.
        assert cohort.majority_score == pytest.approx(2 * 20 / (40 + 20))


def test_the_report_shows_sets_by_their_labels(store, tmp_path):
    st.report(store, out=tmp_path)

    text = (tmp_path / "report.html").read_text()
    assert "per label" in text
    assert "bad + good" in (tmp_path / "flips.csv").read_text()


def test_head_tuning_and_methods_of_one_class_are_refused_before_anything_is_trained(tiny_model, folder, tmp_path):
    study = {"model": str(tiny_model), "task": str(folder), "seeds": 2}
    with pytest.raises(UserError, match=says("multilabel", "several labels", "training.mode full")):
        st.run({**study, "training": {"mode": "head"}}, tmp_path / "out")
    for method in ("mmr", "r3f", "rdrop", "smart", "supcon"):
        with pytest.raises(UserError, match=says(method, "multilabel")):
            st.run({**study, "recipes": [method]}, tmp_path / "out")


def _trainer(tiny_model, tmp_path, *stabilizers):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(
        tiny_model, num_labels=2, problem_type="multi_label_classification"
    )
    rng = random.Random(0)
    rows = [example(rng, at) for at in range(24)]
    batch = tokenizer([row["text"] for row in rows], padding=True)
    labels = [[float(name in row["labels"]) for name in WORDS] for row in rows]
    data = [
        {"input_ids": ids, "attention_mask": mask, "labels": one}
        for ids, mask, one in zip(batch["input_ids"], batch["attention_mask"], labels, strict=True)
    ]
    arguments = TrainingArguments(
        str(tmp_path), report_to="none", num_train_epochs=4, learning_rate=1e-2, use_cpu=True, disable_tqdm=True
    )
    return st.StableTrainer(model, arguments, train_dataset=data, eval_dataset=data, stabilizers=list(stabilizers))


def test_a_trainer_of_ones_own_takes_methods_that_need_no_classes(tiny_model, tmp_path):
    trainer = _trainer(tiny_model, tmp_path, st.Mixout(), st.LLRD())
    before = trainer.evaluate()["eval_loss"]
    trainer.train()

    assert trainer.evaluate()["eval_loss"] < before
    with pytest.raises(UserError, match=says("r3f", "multilabel")):
        _trainer(tiny_model, tmp_path, st.R3F())
