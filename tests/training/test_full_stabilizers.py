"""Every stabilizer through a study's run: pooled heads, choice tasks, checkpoint selection, recorded numbers."""

import json

import numpy as np
import pytest

from steadytune.stabilizers import STABILIZERS
from steadytune.study import Study
from steadytune.sweep.plan import plan
from steadytune.training.full import train_full


def _quiet(share):
    pass


@pytest.fixture
def choice_task(tmp_path):
    folder = tmp_path / "choices"
    folder.mkdir()
    names = ["anna", "ben", "clara", "david"]
    for split in ("train", "validation"):
        rows = [
            {
                "premise": f"{names[n % 4]} sees the boat",
                "choice1": "the glad apple" if n % 2 else "the awful apple",
                "choice2": "the awful apple" if n % 2 else "the glad apple",
                "question": "effect",
                "label": (n + 1) % 2,
            }
            for n in range(12)
        ]
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return folder


def _spec(model, task, stabilizers, **training):
    content = {
        "model": str(model),
        "task": str(task),
        "seeds": 1,
        "training": {"epochs": 2, "batch_size": 8, "learning_rate": 1e-3, **training},
        "recipes": {"tried": {"stabilizers": stabilizers}},
    }
    return plan(Study.parse(content))[0]


# What a head reads is the model's affair: a method that acts on the head, on features and on blocks stand for all.
@pytest.mark.parametrize(
    ("name", "pooling"),
    [
        *((name, "mean") for name in STABILIZERS if name != "surt"),
        *((name, "native") for name in ("mhloss", "mmr", "reinit")),
    ],
)
def test_a_run_with_it_is_recorded(name, pooling, tiny_model, tiny_task, tmp_path):
    record, arrays = train_full(_spec(tiny_model, tiny_task, [name], pooling=pooling), tmp_path, _quiet)

    assert np.isfinite(arrays["logits"]).all()
    assert len(record.curves["loss"]) == len(record.curves["grad_norm"]) == len(record.curves["centre_distance"]) == 10


@pytest.mark.parametrize("name", [name for name in STABILIZERS if name != "surt"])
def test_it_fits_a_choice_between_texts(name, tiny_model, choice_task, tmp_path):
    _, arrays = train_full(_spec(tiny_model, choice_task, [name]), tmp_path, _quiet)

    assert arrays["logits"].shape == (12, 2)
    assert np.isfinite(arrays["logits"]).all()


def test_the_epoch_is_picked_by_the_averaged_weights_and_they_are_what_is_measured(tiny_model, tiny_task, tmp_path):
    spec = _spec(tiny_model, tiny_task, [{"ema": {"decay": 0.9}}], select_checkpoint=True, epochs=3)

    record, _ = train_full(spec, tmp_path, _quiet)

    picked = int(record.measurements["selected_epoch"]) - 1
    assert record.curves["selection_score"][picked] == max(record.curves["selection_score"])


def test_noise_follows_the_dropout_seed(tiny_model, tiny_task, tmp_path):
    spec = _spec(tiny_model, tiny_task, [{"child_tuning": {"variant": "F"}}])
    logits = []
    for seeds in ({"dropout": 0}, {"dropout": 0}, {"dropout": 1}):
        changed = spec.model_copy(update={"seeds": spec.seeds.model_copy(update=seeds)})
        logits.append(train_full(changed, tmp_path, _quiet)[1]["logits"])

    assert np.array_equal(logits[0], logits[1])
    assert not np.array_equal(logits[0], logits[2])
