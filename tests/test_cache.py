import json
import os

import numpy as np
import pytest

from steadytune.cache import cached_arrays

NUMBERS = {"scale": 0.02, "measured": {"loss": 1.5}}


@pytest.fixture
def cached(tmp_path):
    """Ask the cache for arrays; returns what it gives and whether they were computed."""

    def ask():
        computed = []

        def compute():
            computed.append(True)
            return {"states": np.arange(6.0).reshape(2, 3)}, NUMBERS

        arrays, numbers = cached_arrays(tmp_path / "cache", "features-1", compute)
        np.testing.assert_array_equal(arrays["states"], np.arange(6.0).reshape(2, 3))
        return numbers, bool(computed)

    return ask


def test_what_was_computed_is_read_ever_after(cached, tmp_path):
    assert cached() == (NUMBERS, True)
    assert cached() == (NUMBERS, False)
    assert {"features-1.json", "features-1.safetensors"} <= {*os.listdir(tmp_path / "cache")}


def test_what_is_there_is_read_where_nothing_can_be_written(cached, tmp_path):
    assert cached()[1]
    lock = tmp_path / "cache" / "features-1.lock"
    lock.unlink(missing_ok=True)
    # A folder in its place is what no process can lock.
    lock.mkdir()
    assert cached() == (NUMBERS, False)


def rewrite(change):
    def edit(folder):
        file = folder / "features-1.json"
        content = json.loads(file.read_text())
        change(content)
        file.write_text(json.dumps(content))

    return edit


def flip(folder):
    file = folder / "features-1.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        rewrite(lambda content: content["about"].update(scale=0.5)),
        rewrite(lambda content: content["about"]["measured"].update(loss=0.1)),
        rewrite(lambda content: content.update(arrays="0" * 64)),
        rewrite(lambda content: content.pop("sha256")),
        lambda folder: (folder / "features-1.json").write_text("[" * 100_000),
        lambda folder: (folder / "features-1.json").write_text("null"),
        lambda folder: (folder / "features-1.json").unlink(),
        flip,
    ],
)
def test_what_is_not_what_was_written_is_computed_again(cached, damage, tmp_path):
    cached()
    damage(tmp_path / "cache")
    assert cached() == (NUMBERS, True)
    assert cached() == (NUMBERS, False)


def test_the_sidecar_of_an_older_version_carried_no_checksum_and_is_written_anew(cached, tmp_path):
    cached()
    file = tmp_path / "cache" / "features-1.json"
    file.write_text(json.dumps({"sha256": json.loads(file.read_text())["arrays"], "scale": 0.5, "measurements": {}}))
    assert cached() == (NUMBERS, True)


def test_what_is_undefined_is_null_once_it_is_read(tmp_path):
    for value in (float("nan"), None):
        given = cached_arrays(tmp_path, "x", lambda: ({"a": np.zeros(1)}, {"loss": float("nan")}))[1]["loss"]
        assert given is None if value is None else np.isnan(given)


@pytest.mark.parametrize("name", ["features-1.json", "features-1.safetensors"])
def test_a_pipe_in_the_cache_is_replaced(name, cached, tmp_path):
    cached()
    (tmp_path / "cache" / name).unlink()
    os.mkfifo(tmp_path / "cache" / name)
    assert cached() == (NUMBERS, True)
    assert cached() == (NUMBERS, False)
