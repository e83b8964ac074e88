"""Compiled models and hooks: what stabilizers hang into a model must be noticed by code compiled without it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def hooks_noticed(compiled: bool) -> Iterator[None]:
    """Have compiled models look for hooks, which by default they take to be those that they were compiled with.

    Without this, hooks would be without effect, and without a word, where code of a model was compiled before.

    Args:
        compiled: Whether a model is compiled within this context; otherwise nothing changes.
    """
    if not compiled:
        yield
        return
    # Code that is there already does not look.
    torch.compiler.reset()
    with torch._dynamo.config.patch(skip_nnmodule_hook_guards=False):
        yield
