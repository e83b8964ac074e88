import numpy as np
import pytest
from external_runs import arrays


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a run as .npz; changes are as in `arrays`."""

    def npz(name, seed=0, **changes):
        np.savez(tmp_path / f"{name}.npz", **arrays(seed, **changes))
        return tmp_path / f"{name}.npz"

    return npz
