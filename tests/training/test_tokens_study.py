"""A study of tagged words, from its files to a report; what the runs leave is what a model says about each word."""

import json
import random

import numpy as np
import pytest
from saying import says
from seqeval.metrics import f1_score

import steadytune as st
from steadytune.kinds import KINDS
from steadytune.study import RunSpec, TaskSpec, Training
from steadytune.tasks import load_task
from steadytune.tasks.splits import split
from steadytune.training.data import run_data
from steadytune.training.loading import build_model
from steadytune.training.observed import Asked, observed

PEOPLE, PLACES, VERBS = ("mary", "john"), ("paris", "new york"), ("likes", "sees")


def sentence(rng):
    words, tags = [], []
    for text, kind in ((rng.choice(PEOPLE), "PER"), (rng.choice(VERBS), ""), (rng.choice(PLACES), "LOC"), (".", "")):
        for at, word in enumerate(text.split()):
            words.append(word)
            tags.append(f"{'I' if at else 'B'}-{kind}" if kind else "O")
    return {"tokens": words, "ner_tags": tags}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path, rng = tmp_path_factory.mktemp("entities"), random.Random(0)
    for name, count in (("train", 24), ("validation", 20)):
        rows = [sentence(rng) for _ in range(count)]
        (path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def study(tiny_model, folder):
    training = {"epochs": 1, "learning_rate": 0.003, "batch_size": 8, "max_length": 12, "select_checkpoint": True}
    return {"model": str(tiny_model), "task": str(folder), "seeds": 3, "training": training, "recipes": ["standard"]}


@pytest.fixture(scope="module")
def store(study, tmp_path_factory):
    return st.run(study, tmp_path_factory.mktemp("runs") / "out")


def test_runs_are_scored_by_their_entities_as_seqeval_scores_them(store, folder):
    task = load_task(TaskSpec(name=str(folder)))
    half = split(task, Training(select_checkpoint=True)).measure
    (cohort,) = store.cohorts()

    assert (cohort.kind, cohort.metric, cohort.label_names) == ("tokens", "entity_f1", task.label_names)
    assert cohort.logits.shape == (3, sum(map(len, half.parts)), len(task.label_names))
    assert len(np.unique(cohort.groups)) == len(np.unique(cohort.questions)) == len(half) == 10
    for scored, run in zip(cohort.scores, cohort.predictions, strict=True):
        tags = [[task.label_names[one] for one in run[cohort.questions == at]] for at in range(len(half))]
        wanted = [[task.label_names[one] for one in labels] for labels in half.labels]
        assert scored == pytest.approx(f1_score(wanted, tags), abs=1e-6)
    assert cohort.representations[0].shape[:2] == (2, cohort.logits.shape[1])
    texts = store.examples_named(cohort.examples)["texts"]
    assert texts == KINDS["tokens"].texts(half)


def test_its_intervals_are_those_of_sentences(store):
    profile = st.profile(store.cohort("standard"), resamples=200)

    assert np.isfinite(profile.last("jensen_shannon").high)
    assert any("groups" in note for note in profile.notes)


def test_comparison_validation_and_report_take_it(store, tmp_path):
    st.report(store, out=tmp_path)

    text = (tmp_path / "report.html").read_text()
    assert "entity" in text
    assert "45 words in 10 groups" in text


def test_every_word_is_answered_the_same_whatever_is_read_with_it(study, tiny_model, folder):
    task = load_task(TaskSpec(name=str(folder)))
    training = Training(max_length=12).resolved(str(tiny_model))
    spec = RunSpec(
        model=str(tiny_model), weights="w", task=TaskSpec(name=str(folder)), data=task.fingerprint, recipe="r",
        training=training, stabilizers=(), seeds=st.Seeds.all(0),
    )  # fmt: skip
    data = run_data(spec)
    model = build_model(str(tiny_model), task, training, data.tokenizer)
    device = next(model.parameters()).device
    every = observed(model, data.measure, data.collate, Asked(device, position="cls"))
    at = 0
    for row, labels in zip(data.measure.rows, data.splits.measure.labels, strict=True):
        batch = data.collate([row])
        alone = model(**{name: batch[name] for name in ("input_ids", "attention_mask")}).logits
        found = alone[KINDS["tokens"].counted(batch["labels"])].detach().numpy()
        assert np.allclose(found, every["logits"][at : at + len(labels)], atol=1e-5)
        at += len(labels)
    assert at == len(every["logits"]) == every["representations"].shape[1]


def test_head_tuning_is_refused_before_anything_is_trained(study, tmp_path):
    training = {**study["training"], "mode": "head", "learning_rate": None}
    with pytest.raises(st.UserError, match=says("training.mode full", "tokens")):
        st.run({**study, "training": training}, tmp_path / "out")
