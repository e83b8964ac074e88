import json

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch

from steadytune.files import CorruptFile, map_arrays

TYPES = ["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "uint16", "uint32", "bool"]


def test_arrays_come_back_as_they_were_and_stay_on_disk(tmp_path):
    arrays = {name: np.arange(6).reshape(2, 3).astype(name) for name in TYPES}
    arrays["empty"] = np.zeros((0, 3))
    arrays["number"] = np.array(2.5)
    save_file(arrays, tmp_path / "a.safetensors", {"note": "é"})
    found, metadata = map_arrays(tmp_path / "a.safetensors")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
    assert metadata == {"note": "é"}
    base = found["float16"]
    while isinstance(base.base, np.ndarray):
        base = base.base
    assert isinstance(base, np.memmap)
    found["float16"][0] = 7
    np.testing.assert_array_equal(map_arrays(tmp_path / "a.safetensors")[0]["float16"], arrays["float16"])


def test_bfloat16_is_widened_exactly(tmp_path):
    values = torch.tensor([[1.0, -2.5], [3e38, 1e-40]]).bfloat16()
    save_torch({"a": values}, tmp_path / "a.safetensors")
    np.testing.assert_array_equal(map_arrays(tmp_path / "a.safetensors")[0]["a"], values.float().numpy())


def header(**tensors):
    text = json.dumps(tensors).encode()
    return len(text).to_bytes(8, "little") + text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a header",
        (1 << 60).to_bytes(8, "little") + b"{}",
        header(a={"dtype": "F64", "shape": [4], "data_offsets": [0, 32]}) + bytes(31),
        header(a={"dtype": "F64", "shape": [4], "data_offsets": [0, 24]}) + bytes(24),
        header(a={"dtype": "F64", "shape": [1 << 62, 1 << 62], "data_offsets": [0, 8]}) + bytes(8),
        header(a={"dtype": "F7", "shape": [1], "data_offsets": [0, 8]}) + bytes(8),
        header(a={"dtype": "F8_E4M3", "shape": [8], "data_offsets": [0, 8]}) + bytes(8),
    ],
)
def test_a_file_that_is_broken_or_of_an_unknown_type_is_refused(tmp_path, content):
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(CorruptFile):
        map_arrays(tmp_path / "a.safetensors")
