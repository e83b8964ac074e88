"""Separate streams for three sources of randomness: new weights, order of the examples, dropout."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_STREAMS = {"init": 1, "order": 2, "dropout": 3, "heads": 4, "adapter": 5, "decoding": 6, "candidates": 7}


def spread(stream: str, seed: int) -> int:
    """Return a 31-bit seed for one source of randomness.

    These are init, order, dropout, decoding, those that belong to init (further heads, adapters), and the words at
    which the distributions of a generator are compared.

    Small consecutive seeds must not reach the libraries unchanged: accelerate shuffles epoch e with data_seed + e, so
    that order seeds 0 and 1 would share all orders but one; and init and dropout of one integer would share a stream.
    """
    return int(np.random.SeedSequence([_STREAMS[stream], seed]).generate_state(1)[0] >> 1)


@contextmanager
def preserved_random_state() -> Iterator[None]:
    """Restore the global random states of Python, NumPy and torch afterwards."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


@dataclass(frozen=True)
class RandomState:
    """Saved states of torch's global random streams: that of the CPU, and that of an accelerator."""

    cpu: Tensor
    device: torch.device
    accelerator: Tensor | None

    @classmethod
    def now(cls, device: torch.device) -> RandomState:
        """Save the streams used by a model on `device`."""
        accelerator = None if device.type == "cpu" else torch.get_device_module(device).get_rng_state(device)
        return cls(torch.get_rng_state(), device, accelerator)

    def restore(self) -> None:
        """Restore the streams."""
        torch.set_rng_state(self.cpu)
        if self.accelerator is not None:
            torch.get_device_module(self.device).set_rng_state(self.accelerator, self.device)
