"""Every stabilizer on the adapter of a study: it acts on it, or says that it finds nothing to act on."""

import json

import pytest
import torch
from test_conformance import CASES, ELSEWHERE, make

from steadytune.doctor.remedies import _TABLE
from steadytune.doctor.setup import Setup
from steadytune.errors import UserError
from steadytune.study import Study
from steadytune.sweep.plan import plan
from steadytune.testing.models import batch, rows, tiny_classifier
from steadytune.training.adapters import put_adapter
from steadytune.training.method_check import check_methods
from steadytune.training.stabilization import Stabilization

# What PEFT's own wrapper makes of a model is refused by the same methods, with the same words.
REFUSED = {case: facts.refused["bert+lora"] for case, facts in CASES.items() if "bert+lora" in facts.refused}


@pytest.fixture
def spec(tiny_model, tiny_task):
    training = {"adapter": {"lora": {"r": 2}}, "epochs": 1}
    return plan(Study.parse({"model": str(tiny_model), "task": str(tiny_task), "seeds": 1, "training": training}))[0]


def test_those_that_act_on_pretrained_weights_are_refused_and_no_others():
    assert REFUSED.keys() == {"bitfit", "child_tuning", "l2_sp", "mixout", "reinit", "wd_pre"}


def test_the_doctor_does_not_advise_them_for_an_adapter():
    rules = ["learning-rate", "warm-up", "collapsed", "diverged", "epochs", "majority"]
    setups = [
        Setup(where="here", stock=False, learning_rate=1.0, layers=24, adapter=adapter) for adapter in (False, True)
    ]
    whole, adapted = (
        {row.remedy.stabilizer for row in _TABLE if any(row.answers(rule, [setup]) for rule in rules)}
        for setup in setups
    )
    assert whole - adapted == whole & REFUSED.keys() != set()


@pytest.mark.parametrize("case", CASES)
def test_it_trains_the_adapter_and_head_alone_or_is_refused_before_training(case, spec):
    recipe = spec.model_copy(update={"stabilizers": (make(case),)})
    if case in REFUSED:
        with pytest.raises(UserError, match=REFUSED[case]):
            check_methods([recipe])
        return
    check_methods([recipe])

    model = tiny_classifier("bert")
    kit = Stabilization(model, [make(case)], seed=1, adapt=lambda given: put_adapter(given, spec))
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = kit.prepare_optimizer(torch.optim.AdamW(weights, lr=1e-2))
    data = [batch(rows(8))]
    kit.begin(lambda: data, 4)
    model.train()
    for _ in range(4):
        kit.backward(model, data[0])
        kit.before_step(max_norm=1.0)
        optimizer.step()
        kit.after_step(optimizer)
        optimizer.zero_grad()
    kit.finish()

    end = model.state_dict()
    # hype and the like put modules in between for a while, and mhloss another last layer: names are plain again.
    assert end.keys() == start.keys() or case in {"mhloss", "r4f"}
    changed = {name for name in end if name in start and not torch.equal(end[name], start[name])}
    assert {name for name in changed if "lora_" not in name} <= {"classifier.weight", "classifier.bias"}
    moved = {name for name in changed if "lora_B" in name}
    # freeze freezes the adapters of the lower half of the blocks.
    assert len(moved) == (2 if case == "freeze" else 4), json.dumps(sorted(changed))


def test_the_rest_is_looked_at_elsewhere():
    # surt re-trains before there is an adapter (test_adapters.py of trainings); no_warmup sets a schedule.
    assert {"surt", "no_warmup"} == ELSEWHERE
