import os
import zipfile

import numpy as np
import pytest
from external_runs import EXAMPLES
from safetensors.numpy import save_file
from saying import names, says

from steadytune.errors import UserError
from steadytune.external import read_run, run_files


def test_fields_of_an_npz_file_are_read_in_the_type_that_they_have(write):
    states = np.zeros((2, EXAMPLES, 4), np.float16)
    names = np.array([f"example {n}" for n in range(EXAMPLES)])
    more = {"scores": 0.5, "scores.f1": 0.25, "kind": "choice", "ids": names, "other": np.zeros(3)}
    run = read_run(write("a", representations=states, **more))
    assert run.representations.dtype == np.float16
    assert run.scores == {"score": 0.5, "f1": 0.25}
    assert run.kind == "choice"
    assert run.ids == tuple(names)


def test_representations_of_one_layer_need_no_axis_for_it(write):
    assert read_run(write("a", representations=np.zeros((EXAMPLES, 4)))).representations.shape == (1, EXAMPLES, 4)


def test_what_other_tools_put_into_a_file_does_not_matter(tmp_path):
    save_file({"logits": np.zeros((2, 2)), "ids": np.array([7, 8])}, tmp_path / "a.safetensors", {"format": "pt"})
    assert read_run(tmp_path / "a.safetensors").ids == ("7", "8")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"logits": None}, ["'logits', 'probabilities', 'predictions', 'representations'", "'generations'", "labels"]),
        ({"logits": np.full((EXAMPLES, 2), "x")}, ["logits", "real numbers", "<U1"]),
        ({"scores": [0.5, 0.6]}, ["'scores'", "finite"]),
        ({"scores.f1": np.nan}, ["'scores.f1'", "finite"]),
        ({"scores": "good"}, ["'scores'", "real numbers"]),
        ({"texts": np.array("one")}, ["'texts'", "example"]),
        ({"texts": np.full((EXAMPLES, 2), "x")}, ["'texts'", "example"]),
        ({"kind": "clasification"}, ["kind", "'clasification'", "'classification'"]),
    ],
)
def test_a_field_that_is_wrong_is_named_with_the_file(write, changes, said):
    path = write("a", **changes)
    with pytest.raises(UserError) as caught:
        read_run(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert names(str(caught.value), *said)


def test_metadata_that_is_no_list_is_named(tmp_path):
    save_file({"logits": np.zeros((2, 2))}, tmp_path / "a.safetensors", {"ids": "not JSON"})
    with pytest.raises(UserError, match=says("a.safetensors", "'ids'", "JSON")):
        read_run(tmp_path / "a.safetensors")


def test_a_folder_is_its_files_of_runs_in_order_of_their_numbers(tmp_path):
    for name in ("seed10.npz", "seed9.csv", "seed2.safetensors", "notes.txt", ".hidden.npz", "x.csv.gz"):
        (tmp_path / name).touch()
    names = [path.name for path in run_files([tmp_path])]
    assert names == ["seed2.safetensors", "seed9.csv", "seed10.npz", "x.csv.gz"]


def test_files_that_are_no_runs_to_compare_are_named(tmp_path, write):
    a, b = write("a"), write("b")
    (tmp_path / "empty").mkdir()
    for paths, said in (
        ([], ["no run"]),
        ([tmp_path / "none"], [str(tmp_path / "none")]),
        ([a, b, a.parent / "." / "a.npz"], ["a.npz", "twice"]),
        ([a, tmp_path / "empty"], [str(tmp_path / "empty"), "folder", "files"]),
        ([tmp_path / "empty"], [str(tmp_path / "empty"), "study.yaml"]),
    ):
        with pytest.raises(UserError) as caught:
            run_files(paths)
        assert names(str(caught.value), *said)
    (tmp_path / "a.pt").touch()
    with pytest.raises(UserError, match=says("a.pt", ".npz, .safetensors, .csv")):
        read_run(tmp_path / "a.pt")


@pytest.mark.slow
def test_an_archive_that_would_fill_the_memory_is_refused_before_it_is_unpacked(tmp_path):
    file = tmp_path / "bomb.npz"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("logits.npy", "w") as member:
        np.lib.format.write_array_header_1_0(member, {"descr": "<f8", "fortran_order": False, "shape": (35_000_000, 2)})
        for _ in range(560):
            member.write(bytes(1_000_000))
    assert file.stat().st_size < 1_000_000
    with pytest.raises(UserError, match=says("534 MiB", "512 MiB")):
        read_run(file)


def test_texts_that_are_nested_too_deep_are_refused(tmp_path):
    file = tmp_path / "deep.safetensors"
    save_file({"logits": np.zeros((2, 2), np.float32)}, file, {"ids": "[" * 50_000})
    with pytest.raises(UserError, match=says("deep.safetensors", "'ids'", "JSON")):
        read_run(file)


def test_what_is_no_file_is_not_read(tmp_path):
    pipe = tmp_path / "run.npz"
    os.mkfifo(pipe)
    with pytest.raises(UserError, match=says(str(pipe), "pipe")):
        read_run(pipe)
