"""Changes to a model from outside: inputs and outputs of modules, replacement of modules or weights, dropout rates.

This module imports torch: stabilizers import it inside their hooks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from steadytune.stabilizers.context import Changes

Change = Callable[[Tensor], Tensor]


@contextmanager
def changed_outputs(changes: Changes | None) -> Iterator[None]:
    """Change the outputs of modules within this context."""
    with ExitStack() as stack:
        for module, change in (changes or {}).items():
            stack.callback(module.register_forward_hook(partial(_change_output, change)).remove)
        yield


def _change_output(change: Change, module: nn.Module, inputs: Any, output: Any) -> Any:
    return change(output) if isinstance(output, Tensor) else (change(output[0]), *output[1:])


def change_input(module: nn.Module, change: Change, training_only: bool = False) -> RemovableHandle:
    """Change the input hidden states of a block, whenever it runs, or runs in training mode."""
    return module.register_forward_pre_hook(partial(_change_input, change, training_only), with_kwargs=True)


def _change_input(
    change: Change, training_only: bool, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if training_only and not module.training:
        return inputs, named
    if inputs:
        return (change(inputs[0]), *inputs[1:]), named
    return inputs, {**named, "hidden_states": change(named["hidden_states"])}


def swap_modules(root: nn.Module, replacements: dict[nn.Module, nn.Module], undo: ExitStack) -> None:
    """Replace modules by others, wherever they occur under `root`."""
    for parent in list(root.modules()):
        for name, child in list(parent._modules.items()):
            if child in replacements:
                setattr(parent, name, replacements[child])
                undo.callback(setattr, parent, name, child)


@contextmanager
def replaced_weights(root: nn.Module, replacements: Mapping[nn.Parameter, Tensor]) -> Iterator[None]:
    """Replace weights by other tensors, wherever they occur under `root`, within this context.

    The weights themselves are not modified, so a graph through them stays valid.
    """
    others = {
        weight: nn.Parameter(tensor.to(weight.dtype), requires_grad=False) for weight, tensor in replacements.items()
    }
    with ExitStack() as stack:
        for module in root.modules():
            for name, weight in list(module._parameters.items()):
                if weight in others:
                    module._parameters[name] = others[weight]
                    stack.callback(module._parameters.__setitem__, name, weight)
        yield


def dropout_rates(modules: Iterable[nn.Module]) -> Iterator[tuple[nn.Module, str]]:
    """Yield (module, attribute name) of every dropout rate: of layers, and of attention that stores it as a number."""
    for module in modules:
        if isinstance(module, nn.modules.dropout._DropoutNd):
            yield module, "p"
        for name, value in list(vars(module).items()):
            if "dropout" in name and isinstance(value, float):
                yield module, name


def silence_dropout(modules: Iterable[nn.Module], undo: ExitStack) -> None:
    """Set the rate of every dropout to 0."""
    for module, name in dropout_rates(modules):
        undo.callback(setattr, module, name, getattr(module, name))
        setattr(module, name, 0.0)
