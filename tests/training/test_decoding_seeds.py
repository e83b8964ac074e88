"""Runs that differ in the words that they draw alone: one training, asked with every decoding seed."""

import json
import shutil
from itertools import groupby

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import steadytune as st
from steadytune.study import Study
from steadytune.sweep.plan import jobs, plan
from steadytune.testing.models import CONFIGS, letter_tokenizer
from steadytune.training import full
from steadytune.training.run import train

FAST = {"epochs": 1, "batch_size": 4, "learning_rate": 0.02}


@pytest.fixture
def study(tmp_path):
    """A study of a decoder that has hardly learned anything, so that its texts are whatever is drawn."""
    tokenizer, model, task = letter_tokenizer(start=True, end=False), tmp_path / "llama", tmp_path / "task"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **CONFIGS["llama"])).save_pretrained(model)
    tokenizer.save_pretrained(model)
    task.mkdir()
    for split in ("train", "validation"):
        rows = [{"prompt": "a" * number, "completion": "xy"} for number in range(1, 9)]
        (task / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def make(seeds, **training):
        training = {**FAST, "decoding": {"sample": True, "max_new_tokens": 6}, **training}
        return Study.parse({"model": str(model), "task": str(task), "seeds": seeds, "training": training})

    return make


def grouped(study):
    """Return the labels of the runs of each job."""
    return [sorted(spec.seeds.label for spec in job.specs) for job in jobs(plan(study))]


def test_runs_that_differ_in_the_decoding_seed_alone_are_one_job(study):
    grid = {"vary": ["order", "decoding"], "values": 2}
    assert sorted(grouped(study(grid))) == [["0", "0/0/0/0/1"], ["0/1/0", "0/1/0/0/1"]]
    # There the texts that a seed draws choose the epoch, and so the weights.
    assert sorted(map(len, grouped(study(grid, select_checkpoint=True)))) == [1] * 4


@pytest.mark.slow
def test_one_training_serves_every_decoding_seed_with_the_bits_of_a_training_each(study, tmp_path, monkeypatch):
    trained, fine_tune = [], full.fine_tune
    monkeypatch.setattr(full, "fine_tune", lambda spec, *rest: (trained.append(spec.id), fine_tune(spec, *rest))[1])
    given = study({"vary": ["order", "decoding"], "values": 3})
    store = st.run(given, out=tmp_path / "out")
    assert len(trained) == 3

    def check():
        for spec in plan(given):
            record, arrays = store.record(spec.id), store.arrays(store.record(spec.id))
            ((alone, expected),) = train([spec], tmp_path / "cache", lambda share: None)
            assert record.spec == spec
            assert (record.scores, record.curves, record.measurements) == (
                alone.scores,
                alone.curves,
                alone.measurements,
            )
            assert arrays.keys() == expected.keys()
            for name in arrays:
                np.testing.assert_array_equal(arrays[name], expected[name])

    check()
    first = [record for record in store.records() if record.spec.seeds.order == 0]
    assert len({store.arrays(record)["generations"].tobytes() for record in first}) == 3
    # A third of the training each, in each of the three jobs.
    records = sorted(store.records(), key=lambda record: record.spec.seeds.order)
    for _, job in groupby(records, key=lambda record: record.spec.seeds.order):
        took = [record.timings for record in job]
        assert len({(one["setup"], one["train"]) for one in took}) == 1
        assert all(one["total"] == pytest.approx(one["setup"] + one["train"] + one["evaluate"]) for one in took)

    # What is missing of a job is trained again; what is there stays.
    gone = plan(given)[4].id
    shutil.rmtree(store.path / "runs" / gone)
    trained.clear()
    store = st.run(given, out=tmp_path / "out")
    assert trained == [gone]
    check()


@pytest.mark.slow
def test_an_error_after_the_training_costs_what_was_not_asked_yet(study, tmp_path, monkeypatch):
    observed, asked = full.observed, []

    def fail_later(model, dataset, collate, how):
        asked.append(how.seed)
        if how.seed == 1:
            raise RuntimeError("no room")
        return observed(model, dataset, collate, how)

    monkeypatch.setattr(full, "observed", fail_later)
    store = st.run(study({"vary": ["decoding"], "values": 3}), out=tmp_path / "out")
    fates = [(record.spec.seeds.decoding, record.status, record.reason) for record in store.records()]
    lost = "RuntimeError: no room"
    assert sorted(fates) == [(0, "done", None), (1, "crashed", lost), (2, "crashed", lost)]
