"""State of the stabilizers for resuming a training, in one file beside its checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save

from steadytune.errors import UserError
from steadytune.files import canonical_json, write_bytes
from steadytune.stabilizers import Run, Stabilizer

STATE_FILE = "steadytune.safetensors"


def save_state(folder: Path, stabilizers: Sequence[Stabilizer], runs: Mapping[str, Run]) -> None:
    """Write the tensors of all stabilizers, with the names of these."""
    tensors = {
        f"{name}/{key}": tensor.detach().contiguous().cpu()
        for name, run in runs.items()
        for key, tensor in run.state.items()
    }
    write_bytes(folder / STATE_FILE, save(tensors, {"stabilizers": _entries(stabilizers)}))


def load_state(folder: Path, stabilizers: Sequence[Stabilizer], runs: Mapping[str, Run]) -> None:
    """Read them back into `runs`, in place if a tensor already exists, because a module may also hold it.

    Raises:
        UserError: As for `check_state`.
    """
    check_state(folder, stabilizers)
    with safe_open(folder / STATE_FILE, "pt") as stored:
        for name in stored.keys():  # noqa: SIM118 - it is not a mapping
            method, _, key = name.partition("/")
            run, tensor = runs[method], stored.get_tensor(name)
            if key in run.state:
                run.state[key].copy_(tensor)
            else:
                run.state[key] = tensor.to(next(run.parts.model.parameters()).device)


def check_state(folder: Path, stabilizers: Sequence[Stabilizer]) -> None:
    """Check that a checkpoint was written with these stabilizers.

    Raises:
        UserError: It was written without them, with others, or with other parameters.
    """
    file, entries = folder / STATE_FILE, _entries(stabilizers)
    if not file.is_file():
        if stabilizers:
            names = ", ".join(method.name for method in stabilizers)
            raise UserError(f"{folder} was written without {names}: resume without them, or start again")
        return
    with safe_open(file, "pt") as stored:
        if (written := (stored.metadata() or {}).get("stabilizers")) != entries:
            raise UserError(f"{folder} was written with the stabilizers {written}, not {entries}")


def _entries(stabilizers: Sequence[Stabilizer]) -> str:
    return canonical_json([method.entry() for method in stabilizers]).decode()
