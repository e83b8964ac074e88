import os

import numpy as np
import pytest
import torch
from external_runs import CLASSES, EXAMPLES, arrays
from saying import says

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
        ({}, ["logits, probabilities, predictions, representations"]),
        ({"labels": [0]}, ["logits, probabilities, predictions, representations"]),
        ({"logits": np.zeros((EXAMPLES, CLASSES)), "labels": [0]}, ["labels", "(12,)", "(1,)"]),
        ({"logits": [[0.0, 1.0], [0.0]]}, ["logits", "rectangular"]),
        ({"logits": [[0.0, np.nan]]}, ["logits", "NaN", "row 0"]),
        ({"logits": [[0.0]]}, ["logits", "classes", "(1, 1)"]),
        ({"logits": [[0.0, 1.0]], "representations": [[np.inf]]}, ["representations", "NaN", "layer 1"]),
        ({"generations": ["a"], "references": []}, ["1 generation", "0 references"]),
        ({"generations": ["a"], "token_logits": np.zeros((2, 3))}, ["token_logits", "(examples, tokens, words)"]),
        ({"generations": ["a"], "token_logits": np.zeros((2, 1, 3))}, ["1 generation", "2 token_counts"]),
        (
            {"token_logits": np.full((1, 2, 3), np.nan)},
            ["run.safetensors", "token_logits", "NaN", "token 0", "axis 0"],
        ),
        ({"token_logits": np.full((1, 2, 3), -np.inf)}, ["token_logits", "infinity"]),
        ({"token_logits": np.zeros((1, 2, 3)), "token_mask": [[0, 0]]}, ["token_logits", "(0, 3)"]),
        ({"token_logits": np.zeros((1, 2, 3)), "kind": "classification"}, ["'generation'", "'classification'"]),
        ({"logits": [[0.0, 1.0]], "ids": ["a", "b"]}, ["1 row", "logits", "2 ids"]),
        ({"logits": [[0.0, 1.0]], "ids": "a"}, ["ids", "list", "'a'"]),
        ({"logits": [[0.0, 1.0]] * 2, "ids": [7, "7"]}, ["ids", "rows 0", "1", "'7'"]),
        ({"logits": [[0.0, 1.0]], "texts": []}, ["1 row", "logits", "0 texts"]),
        ({"logits": [[0.0, 1.0]], "label_names": ["a"]}, ["1 label_names", "2 columns", "logits"]),
        (
            {"logits": [[0.0, 1.0]], "kind": "clasification"},
            ["run.safetensors", "'clasification'", "'classification'"],
        ),
        ({"logits": [[0.0, 1.0]], "kind": ""}, ["run.safetensors", "kind ''"]),
        ({"logits": [[0.0, 1.0]], "scores": np.nan}, ["run.safetensors", "'scores'", "finite"]),
        ({"logits": [[0.0, 1.0]], "scores": "x"}, ["run.safetensors", "'scores'", "real numbers"]),
        ({"logits": [[0.0, 1.0]], "scores": {"f1": None}}, ["run.safetensors", "'scores.f1'", "real numbers"]),
        ({"logits": [[0.0, 1.0]], "scores": {"f1": [0.5, 0.6]}}, ["'scores.f1'", "finite"]),
        ({"representations": np.zeros((1, 3, 2)), "labels": [0]}, ["1 label", "3 rows", "representations"]),
        ({"representations": np.zeros((1, 1, 2)), "labels": [[0]]}, ["labels", "(examples,)", "(1, 1)"]),
        (
            {"generations": ["a"], "token_logits": np.zeros((1, 2, 3)), "token_mask": [1, 0]},
            ["token_mask", "(1, 2)", "token_logits", "(2,)"],
        ),
    ],
)
def test_what_is_no_run_is_not_written(tmp_path, fields, said):
    with pytest.raises(UserError, match=says(*said)):
        st.record_run(tmp_path / "run.safetensors", **fields)
    assert not os.listdir(tmp_path)


def test_the_file_is_safetensors(tmp_path):
    with pytest.raises(UserError, match=says("run.npz", ".safetensors")):
        st.record_run(tmp_path / "run.npz", logits=[[0.0, 1.0]])


def test_a_place_that_cannot_be_written_to_is_refused(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(UserError, match=says(str(tmp_path / "file/runs/run.safetensors"), f"{tmp_path / 'file'}")):
        st.record_run(tmp_path / "file/runs/run.safetensors", logits=[[0.0, 1.0]])
    with pytest.raises(UserError, match=says("folder.safetensors", "folder", "file")):
        st.record_run(tmp_path / "folder.safetensors", logits=[[0.0, 1.0]])


def test_labels_of_true_and_false_are_stored_as_numbers(tmp_path):
    path = st.record_run(tmp_path / "run.safetensors", logits=np.eye(2), labels=[False, True])
    assert read_run(path).labels.tolist() == [0, 1]
    assert read_run(path).labels.dtype.kind == "i"


@pytest.mark.parametrize("given", [{"generations": ["a", None]}, {"references": ["a", ["b", float("nan")]]}])
def test_what_is_no_text_is_not_recorded_as_one(tmp_path, given):
    fields = {"generations": ["a", "b"], "references": ["a", ["b", "c"]], **given}
    with pytest.raises(UserError, match=says(*given, "row 1")):
        st.record_run(tmp_path / "a.safetensors", **fields)
