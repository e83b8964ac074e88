"""The parts of a model, found without knowing its architecture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from steadytune.models.modules import adapters_in, encoder_of, output_layer, plain_model, writes
from steadytune.stabilizers import Parts


def find_parts(model: nn.Module) -> Parts:
    """Find embeddings, blocks, pooler and head of a transformers model, even inside PEFT's wrappers.

    Parts not found are None or empty: a stabilizer that needs one raises an error.
    """
    encoder: Any = encoder_of(model)
    blocks = tuple(block for stack in _stacks(encoder) for block in stack)
    adapters = {id(weight) for _, added in adapters_in(encoder) for weight in added.parameters()}
    inside = {id(weight) for weight in encoder.parameters()} - adapters
    pooler, reader, decoder = getattr(encoder, "pooler", None), encoder, None
    if _is_encoder_decoder(encoder):
        # The embeddings are the encoder's: `shared` only shares its weight with them.
        reader, decoder = encoder.get_encoder(), encoder.get_decoder()
    layers = getattr(getattr(encoder, "config", None), "num_hidden_layers", None) or 0
    return Parts(
        model=model,
        encoder=encoder,
        embeddings=_embeddings(reader),
        blocks=blocks,
        shared=0 < len(blocks) < layers,
        layers=max(layers, len(blocks)) if blocks else 0,
        pooler=pooler if isinstance(pooler, nn.Module) else None,
        head=tuple(_outside(model, encoder)),
        pretrained={name: weight for name, weight in model.named_parameters() if id(weight) in inside},
        levels=_levels(model, encoder, blocks),
        decoder=decoder,
        output=output_layer(encoder),
    )


def _stacks(module: nn.Module) -> Iterator[nn.ModuleList]:
    """Yield the outermost lists of similar modules with weights: a stack of blocks, or two in an encoder-decoder."""
    for child in module.children():
        if not isinstance(child, nn.ModuleList):
            yield from _stacks(child)
        elif len({type(block) for block in child}) == 1 and next(child.parameters(), None) is not None:
            yield child


def _embeddings(reader: Any) -> nn.Module | None:
    try:
        found = reader.get_input_embeddings()
    except (AttributeError, NotImplementedError):
        return None
    return found if isinstance(found, nn.Module) else None


def _is_encoder_decoder(encoder: Any) -> bool:
    if not getattr(getattr(encoder, "config", None), "is_encoder_decoder", False):
        return False
    return writes(encoder) or hasattr(encoder, "decoder")


def _outside(model: nn.Module, encoder: nn.Module) -> Iterator[nn.Module]:
    """Yield the largest modules with weights that are neither inside the encoder nor contain it."""
    inner = plain_model(model)
    if inner is encoder:
        return
    for child in inner.children():
        if child is encoder:
            continue
        if any(module is encoder for module in child.modules()):
            yield from _outside(child, encoder)
        elif next(child.parameters(), None) is not None:
            yield child


def _levels(
    model: nn.Module, encoder: nn.Module, blocks: tuple[nn.Module, ...]
) -> tuple[tuple[nn.Parameter, ...], ...]:
    depth = {id(weight): level for level, block in enumerate(blocks, 1) for weight in block.parameters()}
    reached = False
    for name, weight in encoder.named_parameters():
        reached = reached or id(weight) in depth
        # Position tables and norms of the embeddings may be registered after the blocks.
        if id(weight) not in depth and (not reached or "emb" in name):
            depth[id(weight)] = 0
    levels: list[list[nn.Parameter]] = [[] for _ in range(len(blocks) + 2)]
    for weight in model.parameters():
        levels[depth.get(id(weight), -1)].append(weight)
    return tuple(map(tuple, levels))
