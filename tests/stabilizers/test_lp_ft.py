import pytest
import torch
from torch import nn

from steadytune.stabilizers.lp_ft import LPFT
from steadytune.testing.models import batch, rows, tiny_classifier
from steadytune.training.stabilization import Stabilization


@pytest.mark.parametrize("name", ["bert", "roberta", "bert+lora"])
def test_the_head_learns_and_all_else_stays_where_it_was(name):
    model, data = tiny_classifier(name), batch(rows(16))
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    kit = Stabilization(model, [LPFT(epochs=30, learning_rate=1e-2)])
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def loss():
        with torch.no_grad():
            return nn.functional.cross_entropy(model.eval()(**data).logits, data["labels"]).item()

    start = loss()
    kit.begin(lambda: [data], 1)

    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert loss() < 0.7 * start
    assert changed
    assert all("classifier" in name for name in changed)
    assert {name for name, weight in model.named_parameters() if weight.requires_grad} == trained


def test_a_resumed_training_does_not_tune_the_head_again():
    model, data = tiny_classifier("bert"), batch(rows(16))
    kit = Stabilization(model, [LPFT()])
    kit.resumed = True
    before = model.classifier.weight.detach().clone()

    kit.begin(lambda: [data], 1)

    assert torch.equal(model.classifier.weight, before)
