import errno
import gzip
import hashlib
import os
import re
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from saying import names, says

from steadytune import files
from steadytune.config import read_yaml
from steadytune.errors import UserError, unknown_name
from steadytune.files import (
    CorruptFile,
    canonical_json,
    check_seal,
    map_arrays,
    parse_json,
    read_arrays,
    read_content,
    read_json,
    room_on_disk,
    sealed,
    sha256,
    sha256_file,
    write_arrays,
    write_bytes,
    write_text,
)

SOURCES = sorted((Path(__file__).parents[1] / "src").rglob("*.py"))

REWRITE_FOR_EVER = """
import sys
from pathlib import Path
from steadytune.files import write_bytes
file = Path(sys.argv[1])
print("ready", flush=True)
while True:
    for letter in b"ab":
        write_bytes(file, bytes([letter]) * 300_000)
"""


WHOLE = {b"a" * 300_000, b"b" * 300_000}


def test_a_file_is_written_whole_with_its_folder_and_readable_by_all(tmp_path):
    file = tmp_path / "new" / "folder" / "text.txt"
    write_text(file, "naïve")
    assert file.read_bytes() == "naïve".encode()
    assert file.stat().st_mode & 0o777 == 0o644
    write_bytes(file, b"other")
    assert file.read_bytes() == b"other"
    assert os.listdir(file.parent) == ["text.txt"]


def test_an_error_in_the_middle_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    file = tmp_path / "text.txt"
    write_text(file, "old")

    def fail(handle):
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(OSError, match="broken"):
        write_text(file, "new")
    assert file.read_text() == "old"
    assert os.listdir(tmp_path) == ["text.txt"]


def test_a_process_killed_while_it_writes_leaves_the_old_content_or_the_new(tmp_path):
    file = tmp_path / "file"
    for delay in (0.0, 0.011, 0.023):
        process = subprocess.Popen([sys.executable, "-c", REWRITE_FOR_EVER, str(file)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        while not file.exists():
            pass
        for _ in range(200):
            assert file.read_bytes() in WHOLE, "a reader never meets a part"
        threading.Event().wait(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert file.read_bytes() in WHOLE


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_said_with_the_place_and_that_finished_work_is_safe(number):
    with pytest.raises(UserError) as caught, room_on_disk(Path("some/file")):
        raise OSError(number, "full")
    assert names(str(caught.value), "disk", "some/file", "runs are kept")
    assert "\n" not in str(caught.value)


def test_any_other_error_of_the_disk_stays_what_it_is():
    with pytest.raises(PermissionError), room_on_disk(Path("some/file")):
        raise PermissionError(errno.EACCES, "no")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_device_without_room_is_a_full_disk():
    device = Path("/dev/full")
    with pytest.raises(UserError, match="No space left"), room_on_disk(device), device.open("wb") as stream:
        stream.write(b"x")


def test_arrays_come_back_as_they_were(tmp_path):
    arrays = {
        "logits": np.array([[1.5, np.nan], [-np.inf, 0.1]], np.float32),
        "labels": np.arange(3)[::-1],
        "states": np.ones((2, 0, 3), np.float16),
        "transposed": np.arange(6.0).reshape(2, 3).T,
    }
    checksum = write_arrays(tmp_path / "a.safetensors", arrays)
    back = read_arrays(tmp_path / "a.safetensors", checksum)
    assert back.keys() == arrays.keys()
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        np.testing.assert_array_equal(back[name], array)


@pytest.mark.parametrize("dtype", [bool, "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"])
def test_arrays_of_every_type_and_single_numbers_come_back_as_safetensors_reads_them(tmp_path, dtype):
    arrays = {"grid": np.arange(6).reshape(2, 3).astype(dtype), "number": np.array(1, dtype)}
    checksum = write_arrays(tmp_path / "a.safetensors", arrays, metadata={"about": "x"})
    back, reference = read_arrays(tmp_path / "a.safetensors", checksum), load_file(tmp_path / "a.safetensors")
    for name, array in reference.items():
        assert back[name].dtype == array.dtype
        assert back[name].shape == array.shape
        np.testing.assert_array_equal(back[name], array)


def test_arrays_are_mapped_and_what_is_written_into_them_stays_out_of_the_file(tmp_path):
    file = tmp_path / "a.safetensors"
    checksum = write_arrays(file, {"states": np.zeros((3, 4), np.float16)})
    states = read_arrays(file, checksum)["states"]
    assert isinstance(states, np.memmap)
    states[:] = 1
    np.testing.assert_array_equal(read_arrays(file, checksum)["states"], 0)


def test_mapped_arrays_survive_that_their_file_is_replaced_or_removed(tmp_path):
    file = tmp_path / "a.safetensors"
    first = read_arrays(file, write_arrays(file, {"states": np.zeros(5000)}))["states"]
    second = read_arrays(file, write_arrays(file, {"states": np.ones(5000)}))["states"]
    file.unlink()
    assert (first == 0).all()
    assert (second == 1).all()


@pytest.mark.parametrize("damage", ["flip", "cut", "grow", "empty", "remove", "folder"])
def test_arrays_that_are_not_what_was_written_are_not_read(tmp_path, damage):
    file = tmp_path / "a.safetensors"
    checksum = write_arrays(file, {"logits": np.zeros((4, 2))})
    content = file.read_bytes()
    flipped = content[:-1] + bytes([content[-1] ^ 1])
    damaged = {"flip": flipped, "cut": content[:-1], "grow": content + b"0", "empty": b""}
    file.unlink()
    if damage in damaged:
        file.write_bytes(damaged[damage])
    elif damage == "folder":
        file.mkdir()
    with pytest.raises(CorruptFile, match=r"^a.safetensors "):
        read_arrays(file, checksum)


def test_checksums_are_sha256(tmp_path):
    content = b"x" * (3 << 20)
    (tmp_path / "file").write_bytes(content)
    assert sha256(content) == sha256_file(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def test_the_same_content_has_one_spelling_in_json():
    assert canonical_json({"b": 1, "a": [0.1, None]}) == canonical_json({"a": (0.1, None), "b": 1})
    assert canonical_json({"b": 1, "a": 2}) == b'{"a":2,"b":1}'
    with pytest.raises(ValueError, match="JSON"):
        canonical_json([float("nan")])


def test_an_unknown_name_is_answered_with_the_closest_one_whatever_its_case():
    assert names(str(unknown_name("thing", "ALPAH", ["beta", "alpha"])), "thing", "'ALPAH'", "'alpha'", "alpha, beta")
    far = str(unknown_name("thing", "xyz", ["alpha"]))
    assert names(far, "thing", "'xyz'", "alpha")
    assert "'alpha'" not in far, "what is far off is not suggested"


def test_nothing_in_the_package_reads_a_pickle_or_runs_code_from_a_checkpoint():
    # What unpickles runs what the file says; a model folder or a run folder may come from anywhere.
    forbidden = re.compile(
        r"import pickle|pickle\.load|import joblib|torch\.load\b|allow_pickle\s*=\s*True|trust_remote_code\s*=\s*True"
        r"|read_pickle|yaml\.(unsafe_)?load\(|use_safetensors\s*=\s*False|\beval\(|\bexec\("
    )
    found = {path.name: hits for path in SOURCES if (hits := _uses(forbidden, path.read_text(encoding="utf-8")))}
    assert len(SOURCES) > 50
    assert not found


def _uses(pattern, text):
    # A module's own model.eval() is no evaluation of text.
    return pattern.findall(text.replace(".eval(", ""))


def test_whatever_loads_a_model_or_an_array_refuses_pickles_by_name():
    text = "\n".join(path.read_text(encoding="utf-8") for path in SOURCES)
    for call, refusal in (("np.load(", "allow_pickle=False"), (".from_pretrained(", "trust_remote_code=False")):
        places = [match.start() for match in re.finditer(re.escape(call), text)]
        assert places
        for place in places:
            assert refusal in text[place : place + 200], text[place : place + 200]


@pytest.mark.slow
def test_a_file_is_read_up_to_a_limit_that_is_named(tmp_path):
    file, packed = tmp_path / "a.txt", tmp_path / "a.txt.gz"
    file.write_bytes(b"x" * 2**21)
    packed.write_bytes(gzip.compress(b"x" * 2**21))
    for path in (file, packed):
        assert read_content(path) == b"x" * 2**21
        with pytest.raises(UserError, match=f"{path}.* 1 MiB"):
            read_content(path, 2**20)
    packed.write_bytes(gzip.compress(bytes(2**27)))
    with pytest.raises(UserError, match=says("a.txt.gz", "64 MiB")):
        read_content(packed)
    packed.write_bytes(packed.read_bytes()[:-4])
    with pytest.raises(UserError, match=says("a.txt.gz", "64 MiB")):
        read_content(packed)


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_has_no_end_or_no_beginning_is_not_read(tmp_path, kind):
    path = Path("/dev/zero")
    if kind == "pipe":
        path = tmp_path / "pipe"
        os.mkfifo(path)
    with pytest.raises(UserError, match=says(str(path), kind, "file")):
        read_content(path)
    with pytest.raises(UserError, match=says(str(path), kind, "file")):
        read_yaml(path)
    with pytest.raises(UserError, match=says(str(path), kind)):
        read_json(path)
    with pytest.raises(UserError, match=says(str(path), kind)):
        sha256_file(path)
    for read in (map_arrays, partial(read_arrays, checksum="")):
        with pytest.raises(CorruptFile, match=says(str(path), kind)):
            read(path)


def test_json_in_which_a_key_stands_twice_or_that_has_no_end_of_levels_is_none():
    assert parse_json('{"a": {"a": 1}}') == {"a": {"a": 1}}
    with pytest.raises(ValueError, match="'a'"):
        parse_json('[{"a": 1, "b": 2, "a": 1}]')
    with pytest.raises(ValueError, match="nested"):
        parse_json("[" * 100_000)


def test_what_a_killed_writer_left_is_gone_with_the_next_write_and_what_a_living_one_writes_stays(tmp_path):
    file = tmp_path / "study.yaml"
    left, stranger = tmp_path / ".study.yaml-ab12_xyz", tmp_path / ".study.yaml-mine-and-dear"
    left.write_text("half")
    stranger.write_text("kept")
    handle, living = files._temporary(file)
    write_text(file, "whole")
    assert sorted(os.listdir(tmp_path)) == sorted([Path(living).name, stranger.name, file.name])
    os.close(handle)
    write_text(file, "again")
    assert sorted(os.listdir(tmp_path)) == sorted([stranger.name, file.name])


def test_a_seal_covers_all_of_plain_data():
    content = {"a": [1, {"b": 2.5}], "c": None}
    assert check_seal(sealed(content)) == content
    for broken in ({**sealed(content), "a": []}, {**sealed(content), "d": 1}, content, [], None):
        with pytest.raises(CorruptFile):
            check_seal(broken)
