"""Three sources of luck, kept apart: new weights, order of the examples, dropout."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_STREAMS = {"init": 1, "order": 2, "dropout": 3, "heads": 4}


def spread(stream: str, seed: int) -> int:
    """Return a 31-bit seed for one source of randomness: init, order, dropout, or further heads, which go with init.

    Small consecutive seeds must not reach the libraries as they are: accelerate shuffles epoch e with data_seed + e, so
    that order seeds 0 and 1 would share all orders but one; and init and dropout of one integer would share a stream.
    """
    return int(np.random.SeedSequence([_STREAMS[stream], seed]).generate_state(1)[0] >> 1)


@contextmanager
def preserved_random_state() -> Iterator[None]:
    """Leave the global random states of Python, NumPy and torch as they were found."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


@dataclass(frozen=True)
class RandomState:
    """Where torch's global random streams stood: the one of the CPU, and the one of an accelerator."""

    cpu: Tensor
    device: torch.device
    accelerator: Tensor | None

    @classmethod
    def now(cls, device: torch.device) -> RandomState:
        """Look at the streams that a model on `device` draws from."""
        accelerator = None if device.type == "cpu" else torch.get_device_module(device).get_rng_state(device)
        return cls(torch.get_rng_state(), device, accelerator)

    def restore(self) -> None:
        """Put the streams back."""
        torch.set_rng_state(self.cpu)
        if self.accelerator is not None:
            torch.get_device_module(self.device).set_rng_state(self.accelerator, self.device)
