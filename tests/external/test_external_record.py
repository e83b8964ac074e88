import os

import numpy as np
import pytest
import torch
from external_runs import CLASSES, EXAMPLES, arrays

import steadytune as st
from steadytune.errors import UserError
from steadytune.external import read_run


def test_everything_that_is_recorded_is_read_back(tmp_path):
    fields = {
        **arrays(0),
        "representations": np.ones((2, EXAMPLES, 4), np.float16),
        "scores": {"f1": 0.5, "em": 0.25},
        "kind": "classification",
        "label_names": ("é", "b", "c"),
        "ids": tuple(map(str, range(EXAMPLES))),
        "texts": tuple(f'"text" {n}\n' for n in range(EXAMPLES)),
        "examples": "digest",
    }
    path = st.record_run(tmp_path / "new/run.safetensors", **fields, seed=3)
    run = read_run(path)
    for name, value in {**fields, "seed": "3"}.items():
        found = getattr(run, name)
        assert np.array_equal(found, value) if isinstance(value, np.ndarray) else found == value
    assert run.representations.dtype == np.float16
    assert os.listdir(path.parent) == ["run.safetensors"]


def test_torch_tensors_and_one_score_without_a_name_are_taken(tmp_path):
    logits = torch.tensor([[0.0, 1.0]], dtype=torch.bfloat16, requires_grad=True)
    run = read_run(st.record_run(tmp_path / "run.safetensors", logits=logits, representations=logits, scores=0.5))
    assert run.logits.tolist() == [[0.0, 1.0]]
    assert run.representations.shape == (1, 1, 2)
    assert run.scores == {"score": 0.5}


def test_tokens_are_stored_without_padding(tmp_path):
    logits = np.random.default_rng(0).normal(size=(2, 3, 5))
    mask = np.array([[1, 1, 0], [1, 0, 0]])
    for seed in (0, 1):
        st.record_run(
            tmp_path / f"{seed}.safetensors", generations=["a", "b"], token_logits=logits + seed, token_mask=mask
        )
    cohort = st.read_runs([tmp_path])
    np.testing.assert_array_equal(cohort.token_logits[0], [logits[0, 0], logits[0, 1], logits[1, 0]])
    assert cohort.token_counts.tolist() == [2, 1]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "nothing to record: give logits"),
        ({"labels": [0]}, "nothing to record"),
        ({"logits": np.zeros((EXAMPLES, CLASSES)), "labels": [0]}, r"labels must be \(12,\)"),
        ({"logits": [[0.0, 1.0], [0.0]]}, "logits must be rectangular"),
        ({"logits": [[0.0, np.nan]]}, "logits hold NaN or infinity, first in row 0"),
        ({"logits": [[0.0]]}, r"logits must be \(examples, two or more classes\), not \(1, 1\)"),
        ({"logits": [[0.0, 1.0]], "representations": [[np.inf]]}, "NaN or infinity at layer 1"),
        ({"generations": ["a"], "references": []}, "1 generations but 0 references"),
        ({"generations": ["a"], "token_logits": np.zeros((2, 3))}, r"token_logits must be \(examples, tokens, words\)"),
        (
            {"generations": ["a"], "token_logits": np.zeros((1, 2, 3)), "token_mask": [1, 0]},
            r"token_mask must be \(1, 2\), the first two axes of token_logits, not \(2,\)",
        ),
    ],
)
def test_what_is_no_run_is_not_written(tmp_path, fields, said):
    with pytest.raises(UserError, match=said):
        st.record_run(tmp_path / "run.safetensors", **fields)
    assert not os.listdir(tmp_path)


def test_the_file_is_safetensors(tmp_path):
    with pytest.raises(UserError, match=r"run\.npz: runs are recorded into \.safetensors files"):
        st.record_run(tmp_path / "run.npz", logits=[[0.0, 1.0]])
