"""Number of runs that this machine can train at the same time."""

from __future__ import annotations

import os

from steadytune.study import Study
from steadytune.training.weights import checkpoint_bytes

_COPIES = 8
_PROCESS_BYTES = 2**30


def room_for(study: Study) -> int:
    """Return the number of training processes that processors and memory allow; 1 on an accelerator.

    A process is assumed to need a gigabyte for the libraries and eight copies of the weights: weights, gradients, two
    moments, the starting point, and as much again for activations.
    """
    import psutil
    import torch

    if torch.accelerator.is_available():
        return 1
    each = _PROCESS_BYTES + _COPIES * max(checkpoint_bytes(model) for model in study.model)
    threads = max(study.recipe_training(name).threads for name in study.recipes)
    return max(1, min(processors() // threads, int(psutil.virtual_memory().available // each)))


def processors() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
