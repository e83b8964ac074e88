"""Trainings on texts: tags of tokens, sets of labels, answers in passages, numbers."""

import pytest
import torch
from saying import says
from somebodys import CNGC, SWA, Script, check_plain, check_recorded, check_stabilized
from transformers import (
    BertConfig,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
)

from steadytune.errors import UserError
from steadytune.testing.models import VOCABULARY, batch, rows

SMALL = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
}


def script(cls, labels, **config):
    """A script whose rows have these labels, a function of a row."""

    def labelled(count, seed):
        made = [dict(row) for row in rows(count, seed=seed)]
        return [{**{name: row[name] for name in ("input_ids", "attention_mask")}, **labels(row)} for row in made]

    return Script(
        lambda: cls(BertConfig(**SMALL, **config)),
        labelled(16, 0),
        labelled(8, 1),
        options={"data_collator": batch},
    )


def tags():
    return script(
        BertForTokenClassification,
        lambda row: {"labels": [-100, *(word % 3 for word in row["input_ids"][1:-1]), -100]},
        num_labels=3,
    )


def sets():
    return script(
        BertForSequenceClassification,
        lambda row: {"labels": [float(row["labels"]), float(row["input_ids"][1] % 2), 1.0]},
        num_labels=3,
        problem_type="multi_label_classification",
    )


def answers():
    return script(
        BertForQuestionAnswering,
        lambda row: {"start_positions": row["labels"] + 1, "end_positions": row["labels"] + 3},
    )


def numbers():
    return script(
        BertForSequenceClassification,
        lambda row: {"labels": 0.5 + row["labels"]},
        num_labels=1,
        problem_type="regression",
    )


SCRIPTS = {"tags": tags, "sets": sets, "answers": answers, "numbers": numbers}


@pytest.mark.parametrize("name", SCRIPTS)
def test_without_stabilizers_it_is_the_plain_trainer(name, tmp_path):
    check_plain(SCRIPTS[name](), tmp_path)


@pytest.mark.parametrize("method", ["l2_sp", "mixout", "wd_pre", "ema", SWA, "llrd", "neftune", "freelb", "hype", CNGC])
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_method_that_needs_no_outputs_serves_it(name, method, tmp_path):
    check_stabilized(SCRIPTS[name](), tmp_path, method)


@pytest.mark.parametrize("name", SCRIPTS)
def test_several_methods_and_passes_serve_it_as_well(name, tmp_path):
    script = SCRIPTS[name]()
    script.settings = {"gradient_accumulation_steps": 2, "max_steps": 2}
    check_stabilized(script, tmp_path, "l2_sp", "llrd", "freelb", "ema", "child_tuning")


@pytest.mark.parametrize("name", ["sets", "answers"])
def test_a_method_that_needs_classes_is_refused_before_the_first_step(name, tmp_path):
    with pytest.raises(UserError, match=says("label")):
        check_stabilized(SCRIPTS[name](), tmp_path, "mmr")


def test_what_cannot_be_recorded_is_said_once(tmp_path):
    run, said = check_recorded(answers(), tmp_path)
    assert run is None
    assert len(said) == 1
    assert "record_run" in said[0]
    assert "record_model" in said[0]


def test_tags_and_sets_are_recorded_without_a_word_and_the_training_is_the_same(tmp_path):
    run, said = check_recorded(tags(), tmp_path / "tags")
    assert said == []
    assert (run.kind, run.logits.shape) == ("tokens", (48, 3))
    run, said = check_recorded(sets(), tmp_path / "sets")
    assert said == []
    assert (run.kind, run.logits.shape) == ("multilabel", (8, 3))
    assert run.labels.tolist() == [[row["labels"], row["input_ids"][1] % 2, 1] for row in rows(8, seed=1)]


def test_a_regression_is_recorded(tmp_path):
    run, said = check_recorded(numbers(), tmp_path)
    assert said == []
    assert (run.kind, run.logits.shape) == ("regression", (8, 1))
    assert torch.tensor(run.labels).unique().tolist() == [0.5, 1.5]
