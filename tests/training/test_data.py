import copy
import json

import numpy as np
import pytest
import torch

from steadytune.study import Study
from steadytune.sweep.plan import plan
from steadytune.training.data import batches, in_order, run_data
from steadytune.training.loading import build_model
from steadytune.training.observed import Asked, observed

WORDS = ["anna", "ben", "glad", "apple", "boat", "cup", "sees", "likes", "the", "awful"]


def texts(rng, count):
    return [" ".join(rng.choice(WORDS, size=rng.integers(1, 15))) for _ in range(count)]


@pytest.fixture(params=["classification", "choice"])
def data_and_model(request, tiny_model, tmp_path):
    rng = np.random.default_rng(0)
    if request.param == "choice":
        names = ["premise", "choice1", "choice2", "question"]
        columns = [texts(rng, 90), texts(rng, 90), texts(rng, 90), ["cause"] * 90]
    else:
        names, columns = ["sentence"], [texts(rng, 90)]
    rows = [{**dict(zip(names, row, strict=True)), "label": n % 2} for n, row in enumerate(zip(*columns, strict=True))]
    for split in ("train", "validation"):
        (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (spec,) = plan(Study.parse({"model": str(tiny_model), "task": str(tmp_path), "seeds": 1}))
    data = run_data(spec)
    return data, build_model(spec.model, data.task, spec.training, data.tokenizer).eval()


def test_outputs_are_those_of_each_example_alone_in_the_order_of_the_task(data_and_model):
    data, model = data_and_model
    asked = Asked(torch.device("cpu"), position="mean")

    found = observed(model, data.measure, data.collate, asked)

    alone = [observed(model, _part(data.measure, n), data.collate, asked) for n in range(90)]
    for name, axis in (("logits", 0), ("representations", 1)):
        np.testing.assert_allclose(found[name], np.concatenate([one[name] for one in alone], axis), atol=1e-5)
    assert len(np.unique(found["logits"].round(4), axis=0)) > 45


def _part(dataset, index):
    part = copy.copy(dataset)
    part.rows = dataset.rows[index : index + 1]
    return part


def test_batches_hold_examples_of_like_length_and_each_once(data_and_model):
    data, _ = data_and_model
    seen = list(batches(data.measure, data.collate, 16))

    widths = [batch["input_ids"].shape[-1] for batch in seen]
    assert widths == sorted(widths)
    assert widths[0] < widths[-1]
    labels = np.concatenate([batch["labels"] for batch in seen])
    np.testing.assert_array_equal(in_order(labels, data.measure), [n % 2 for n in range(90)])
