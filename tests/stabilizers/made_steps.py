"""A batch as the loss hooks see it, without a model."""

import torch
from torch import nn

from steadytune.kinds import KINDS
from steadytune.stabilizers import Parts, Run, Step


def make_run(name="some", kind="classification", seed=0, **parts):
    nothing = {"model": nn.Identity(), "encoder": nn.Identity(), "embeddings": None, "blocks": (), "shared": False}
    nothing |= {"layers": 0, "pooler": None, "head": (), "pretrained": {}, "levels": ()}
    return Run(name, Parts(**{**nothing, **parts}), kind, seed)


def make_step(head, features, labels, kind="classification", forward=None, inputs=None, run=None):
    """A step on which the head's logits are the model's."""
    logits = head(features)
    return Step(
        encoded=features,
        labels=labels,
        classes=None if kind == "regression" else labels,
        head=head,
        criterion=KINDS[kind].criterion(),
        logits=logits.view(len(labels), -1),
        forward=forward or (lambda changes=None, same_dropout=False: torch.zeros_like(logits)),
        inputs=inputs or {},
        run=run or make_run(kind=kind),
    )
