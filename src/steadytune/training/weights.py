"""From a model's name to a folder with its files. Imports no torch: planning a study needs only this."""

from __future__ import annotations

import struct
from functools import lru_cache
from pathlib import Path
from typing import Any

from steadytune.errors import UserError, unknown_name
from steadytune.files import canonical_json, check_regular, parse_json, read_json, sha256, sha256_file
from steadytune.training.offline import OFFLINE

_LARGEST_HEADER = 10**8
_HALF = {"F16": "float16", "BF16": "bfloat16"}
_VOCABULARIES = ("tokenizer.json", "vocab*", "*.model", "*.spm", "*.tiktoken")
_NEED_NO_VOCABULARY = {"ByT5Tokenizer", "CanineTokenizer", "PerceiverTokenizer"}
_FILES = ("*.json", "*.safetensors", "*.txt", *_VOCABULARIES[1:])
_Stamp = tuple[tuple[str, int, int], ...]


def model_folder(name: str) -> Path:
    """Return the folder with config, tokenizer and safetensors weights of a model.

    Args:
        name: "minilm", "smollm2", a folder, or a hub id such as "google-bert/bert-base-uncased".

    Raises:
        UserError: There is no such model, it cannot be fetched, a file is missing, or its only weights are pickles.
    """
    if name in OFFLINE:
        return OFFLINE[name]()
    folder = Path(name).expanduser()
    if not folder.is_dir():
        folder = _from_hub(name)
    for file in (file for pattern in _FILES for file in folder.glob(pattern)):
        check_regular(file)
    config = _read_json(name, folder / "config.json")
    if not list(folder.glob("*.safetensors")):
        pickles = list(folder.glob("*.bin")) + list(folder.glob("*.pt"))
        reason = f" ({pickles[0].name} is a pickle, which is not loaded: convert it to safetensors)" if pickles else ""
        raise UserError(f"model '{name}': {folder} has no *.safetensors weights{reason}")
    if not any(file.is_file() for pattern in _VOCABULARIES for file in folder.glob(pattern)):
        # Without this, transformers makes a tokenizer with an empty vocabulary, and every text looks the same to the
        # model.
        settings = folder / "tokenizer_config.json"
        about = _read_json(name, settings) if settings.exists() else config
        if about.get("tokenizer_class") not in _NEED_NO_VOCABULARY:
            raise UserError(f"model '{name}': {folder} has no tokenizer: save it there too, as tokenizer.json")
    return folder


def _read_json(name: str, file: Path) -> dict[str, Any]:
    if not file.exists():
        raise UserError(f"model '{name}': {file.parent} has no {file.name}")
    try:
        content = read_json(file)
    except UserError as error:
        raise UserError(f"model '{name}': {error}") from None
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise UserError(f"model '{name}': {file} is not a JSON mapping")
    return content


@lru_cache
def _from_hub(name: str) -> Path:
    if name.count("/") > 1 or name.startswith((".", "/", "~")):
        raise UserError(f"no model folder at {name}")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        return Path(
            snapshot_download(
                name,
                allow_patterns=[*_FILES, "*.jinja"],
                ignore_patterns=["*/*"],
                etag_timeout=10,
            )
        )
    except HFValidationError:
        raise unknown_name("model", name, [*OFFLINE]) from None
    except Exception as error:  # the hub client has no common base class for "not there" and "no network"
        reason = str(error).strip().partition("\n")[0][:160]
        if "/" not in name:
            hint = str(unknown_name("model", name, [*OFFLINE])) + ", a folder or a hub id"
            raise UserError(f"{hint}.\nThe hub did not provide it: {reason}") from error
        raise UserError(
            f"model '{name}' could not be downloaded from the hub: {reason}\n"
            "Without a network, use a folder with config.json, tokenizer and *.safetensors: --model path/to/folder"
        ) from error


def weights_fingerprint(name: str) -> str:
    """Return a SHA-256 over the names and contents of the model's configuration, tokenizer and weights.

    Cached in memory, and recomputed when a file changes.
    """
    folder = model_folder(name)
    files = sorted({file for pattern in _FILES for file in folder.glob(pattern) if file.is_file()})
    return _fingerprint(str(folder.absolute()), tuple((file.name, *_stamp(file)) for file in files))


@lru_cache
def _fingerprint(folder: str, stamp: _Stamp) -> str:
    return sha256(canonical_json([(name, sha256_file(Path(folder) / name)) for name, _, _ in stamp]))


def _stamp(file: Path) -> tuple[int, int]:
    found = file.stat()
    return found.st_mtime_ns, found.st_size


def checkpoint_bytes(name: str) -> int:
    """Return the size of the model's weights on disk."""
    return sum(file.stat().st_size for file in model_folder(name).glob("*.safetensors"))


def weight_names(name: str) -> set[str]:
    """Return the names of a model's stored weights. Reads only the files' headers."""
    return {tensor for file in model_folder(name).glob("*.safetensors") for tensor in _header(file)}


def half_precision(name: str) -> str | None:
    """Return "float16" or "bfloat16" if any weight is stored so, otherwise None. Reads only the files' headers.

    Raises:
        UserError: A weight file is not safetensors, or is truncated.
    """
    for file in sorted(model_folder(name).glob("*.safetensors")):
        try:
            dtypes = _dtypes(file)
        except (OSError, struct.error, ValueError, LookupError, TypeError, AttributeError) as error:
            raise UserError(f"model '{name}': {file} is not a complete safetensors file ({error})") from error
        if half := sorted(_HALF[dtype] for dtype in dtypes & set(_HALF)):
            return half[0]
    return None


def _dtypes(file: Path) -> set[str]:
    return {entry["dtype"] for entry in _header(file).values()}


def _header(file: Path) -> dict[str, Any]:
    """Read the header of a safetensors file: its length in 8 bytes, then the dtype and offsets of each tensor."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        if length > size:
            stream.seek(0)
            pointer = stream.read(20).startswith(b"version https://git-")
            raise ValueError("a Git LFS pointer: git lfs pull" if pointer else "its header is truncated")
        if length > _LARGEST_HEADER:
            raise ValueError(f"its header has {length:,} bytes: at most {_LARGEST_HEADER:,} can be read")
        tensors: dict[str, Any] = parse_json(stream.read(length))
    tensors.pop("__metadata__", None)
    promised = 8 + length + max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
    if size != promised:
        raise ValueError(f"{size} bytes of {promised}")
    return tensors
