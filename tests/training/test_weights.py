import json
import os
import shutil
import struct
import subprocess
import sys

import pytest
from saying import names

from steadytune.errors import UserError
from steadytune.training.weights import checkpoint_bytes, half_precision, model_folder, weights_fingerprint

ASK = """
import sys
asked = []
sys.addaudithook(lambda event, _: asked.append(event) if event in ("socket.getaddrinfo", "socket.connect") else None)
from steadytune.errors import UserError
from steadytune.training.weights import half_precision, model_folder, weights_fingerprint
for name in sys.argv[1:]:
    try:
        half_precision(name)
        print(model_folder(name), weights_fingerprint(name), "torch" in sys.modules)
    except UserError as error:
        print(repr(str(error)))
print(len(asked))
"""


@pytest.fixture
def model(tiny_model, tmp_path):
    """A model folder that a test may break."""
    return shutil.copytree(tiny_model, tmp_path / "model")


def problem(name):
    with pytest.raises(UserError) as caught:
        half_precision(str(name))
    assert str(caught.value).count("\n") <= 1
    return str(caught.value)


def ask(cache, *names):
    """Ask for models in a process of its own, with a hub cache and no network."""
    environment = {**os.environ, "HF_HOME": str(cache), "HF_HUB_OFFLINE": "1"}
    environment.pop("HF_HUB_CACHE", None)
    done = subprocess.run(
        [sys.executable, "-c", ASK, *names], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def test_a_whole_folder_is_a_model_in_single_precision(model):
    assert model_folder(str(model)) == model
    assert half_precision(str(model)) is None
    assert checkpoint_bytes(str(model)) == (model / "model.safetensors").stat().st_size


def test_the_fingerprint_follows_the_files_and_not_their_place(model, tmp_path):
    before = weights_fingerprint(str(model))
    assert weights_fingerprint(str(shutil.copytree(model, tmp_path / "moved"))) == before
    (model / "README.md").write_text("about")
    assert weights_fingerprint(str(model)) == before
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "hidden_dropout_prob": 0.0}))
    assert weights_fingerprint(str(model)) != before


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_weights_stored_in_half_precision_are_told(model, dtype):
    import torch
    from safetensors.torch import load_file, save_file

    weights = load_file(model / "model.safetensors")
    one = next(iter(weights))
    save_file({**weights, one: weights[one].to(getattr(torch, dtype))}, model / "model.safetensors", {"format": "pt"})
    assert half_precision(str(model)) == dtype


def test_a_folder_without_a_part_of_a_model_says_which(model):
    whole = {path.name: path.read_bytes() for path in model.iterdir()}
    for name, said in (
        ("config.json", ("config.json",)),
        ("model.safetensors", ("*.safetensors weights",)),
        # transformers would make a tokenizer that reads every word as unknown.
        ("tokenizer.json", ("tokenizer:", "tokenizer.json")),
    ):
        (model / name).unlink()
        assert names(problem(model), f"model '{model}'", *said)
        (model / name).write_bytes(whole[name])
    assert half_precision(str(model)) is None


def test_a_tokenizer_that_needs_no_vocabulary_needs_no_file(model):
    (model / "tokenizer.json").unlink()
    (model / "tokenizer_config.json").write_text('{"tokenizer_class": "ByT5Tokenizer"}')
    assert model_folder(str(model)) == model


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt"])
def test_weights_that_are_a_pickle_are_named_and_not_loaded(model, name):
    (model / "model.safetensors").rename(model / name)
    assert names(problem(model), str(model), name, "pickle", "safetensors")


@pytest.mark.parametrize("content", ["", "{", "[]", "\x00"])
def test_a_configuration_that_is_no_mapping_is_named(model, content):
    (model / "config.json").write_text(content)
    assert names(problem(model), f"model '{model}'", str(model / "config.json"), "JSON")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_pipe_in_a_model_is_named_and_hangs_nothing(name, model):
    (model / name).unlink()
    os.mkfifo(model / name)
    assert names(problem(model), str(model / name), "pipe")


def header(content):
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"abc",
        b"\x80\x04 a pickle, or anything else that is long enough",
        header(b"{"),
        header([]),
        header({"a": {}}),
        header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}),
        header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}) + b"12345",
        struct.pack("<Q", 2**62),
    ],
)
def test_weights_that_are_not_whole_safetensors_are_named(model, content):
    (model / "model.safetensors").write_bytes(content)
    assert names(problem(model), f"model '{model}'", str(model / "model.safetensors"), "(")


def test_weights_cut_short_are_named_wherever_the_cut_is(model):
    content = (model / "model.safetensors").read_bytes()
    for length in (4, 100, len(content) // 2, len(content) - 1):
        (model / "model.safetensors").write_bytes(content[:length])
        assert names(problem(model), f"model '{model}'", str(model / "model.safetensors"), "(")


def test_a_pointer_to_weights_that_were_never_fetched_is_told(model):
    (model / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    assert names(problem(model), str(model / "model.safetensors"), "Git LFS", "git lfs pull")
    (model / "model.safetensors").unlink()
    (model / "model.safetensors").symlink_to("nowhere")
    assert names(problem(model), f"model '{model}'", str(model / "model.safetensors"), "(")


@pytest.mark.parametrize("name", ["./no/such", "/no/such", "a/b/c", "~/no-such-folder-at-all"])
def test_a_path_where_nothing_is_is_named(name):
    assert names(problem(name), "folder", name)


def test_a_hub_id_is_taken_from_the_cache_without_a_network(tiny_model, tmp_path):
    repository = tmp_path / "hub" / "models--org--name"
    commit = "0123456789abcdef0123456789abcdef01234567"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    (repository / "blobs").mkdir()
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    for n, file in enumerate(sorted(tiny_model.iterdir())):
        shutil.copy(file, repository / "blobs" / str(n))
        (snapshot / file.name).symlink_to(f"../../blobs/{n}")
    found, unknown, near, bad, connections = ask(tmp_path, "org/name", "org/other", "minlm", "what is this?")
    assert found == f"{snapshot} {weights_fingerprint(str(tiny_model))} False"
    assert names(unknown, "'org/other'", "hub")
    assert names(unknown, r"\n", "config.json", "*.safetensors", "--model path")
    assert names(near, "'minlm'", "'minilm'")
    assert names(bad, "'what is this?'", "minilm")
    assert {text.count("\\n") for text in (unknown, near, bad)} <= {0, 1}
    assert connections == "0", "without a network, nothing is tried, let alone again and again"
