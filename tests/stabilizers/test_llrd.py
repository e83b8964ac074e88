import pytest
import torch

from steadytune.models.parts import find_parts
from steadytune.stabilizers.llrd import LLRD, split_by_depth
from steadytune.testing.models import ALL, tiny_classifier
from steadytune.training.stabilization import Stabilization


def test_rates_fall_by_the_factor_from_each_level_to_the_next_below():
    low, middle, top = (torch.nn.Parameter(torch.zeros(1)) for _ in range(3))
    groups = [
        {"params": [top, low], "lr": 8.0, "weight_decay": 0.1},
        {"params": [middle], "lr": 4.0, "weight_decay": 0.0},
    ]

    split = split_by_depth(groups, [[low], [middle], [top]], 0.5)

    assert [(group["params"], group["lr"], group["weight_decay"]) for group in split] == [
        ([low], 2.0, 0.1),
        ([top], 8.0, 0.1),
        ([middle], 2.0, 0.0),
    ]


@pytest.mark.parametrize("name", ALL)
def test_head_blocks_and_embeddings_have_the_rates_of_their_depth(name):
    model = tiny_classifier(name)
    trained = [weight for weight in model.parameters() if weight.requires_grad]

    optimizer = Stabilization(model, [LLRD(decay=0.5)]).prepare_optimizer(torch.optim.AdamW(trained, lr=1.0))

    rates = {id(weight): group["lr"] for group in optimizer.param_groups for weight in group["params"]}
    assert rates.keys() == {id(weight) for weight in trained}
    parts = find_parts(model)
    for height, block in enumerate(reversed(parts.blocks), 1):
        assert {rates[id(weight)] for weight in block.parameters() if weight.requires_grad} == {0.5**height}
    for module in parts.head:
        assert {rates[id(weight)] for weight in module.parameters() if weight.requires_grad} == {1.0}
    lowest = 0.5 ** (len(parts.blocks) + 1)
    assert {rates[id(weight)] for weight in parts.embeddings.parameters() if weight.requires_grad} <= {lowest}
