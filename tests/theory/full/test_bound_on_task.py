import math

import numpy as np
import pytest
import torch
from saying import names, says
from torch import nn

from steadytune.errors import UserError
from steadytune.kinds import KINDS
from steadytune.study import Study
from steadytune.sweep.plan import plan
from steadytune.theory import MeanLoss, full_tuning_bound, run_loss
from steadytune.theory.full.path import gradient_descent
from steadytune.theory.full.task_bound import left_out_distances, task_bound
from steadytune.training.data import run_data

QUICK = {"steps": 4, "points": 2, "products": 12}


def problem(seed, kind):
    """Least squares that can be fitted or not, or softmax regression, of a random size and scale; in batches."""
    generator = torch.Generator().manual_seed(seed)
    n, d = (int(torch.randint(low, high, (), generator=generator)) for low, high in ((3, 9), (1, 6)))
    inputs = torch.randn(n, d, generator=generator, dtype=torch.float64)
    inputs *= torch.randn(d, generator=generator, dtype=torch.float64).exp()
    torch.manual_seed(seed)
    if kind == "softmax":
        labels = torch.randint(0, 3, (n,), generator=generator)
        model, criterion = nn.Linear(d, 3, bias=False).double(), KINDS["classification"].criterion()
    else:
        labels = inputs @ torch.randn(d, generator=generator, dtype=torch.float64)
        labels += (kind == "noisy") * torch.randn(n, generator=generator, dtype=torch.float64)
        model, criterion = nn.Linear(d, 1, bias=False).double(), KINDS["regression"].criterion()
    return MeanLoss(model, list(zip(inputs.split(4), labels.split(4), strict=True)), criterion)


def removed(loss, rate, steps, place):
    """The end of gradient descent on n - 1 examples alone, whose mean loss needs a smaller rate for the weight 1/n."""
    rows = [row for row in range(len(loss)) if row != place]
    parts = [torch.cat(part)[rows] for part in zip(*loss.batches, strict=True)]
    rest = MeanLoss(loss.model, [tuple(parts)], loss.criterion)
    (end,) = gradient_descent(rest, rate * len(rows) / len(loss), steps, [steps])
    return end


@pytest.mark.parametrize("kind", ["fitted", "noisy", "softmax"])
def test_where_the_assumptions_hold_no_form_is_below_what_leaving_each_example_out_does(kind):
    shares = []
    for seed in range(12):
        loss, steps = problem(seed, kind), (1, 2, 6)[seed % 3]
        # The curvature of softmax is at most half that of its features everywhere, and may grow on the way.
        inputs = torch.cat([batch for batch, _ in loss.batches])
        most = float(torch.linalg.eigvalsh(inputs.T @ inputs / len(loss))[-1]) / 2
        rate = 0.9 / most if kind == "softmax" else None
        found = full_tuning_bound(loss, learning_rate=rate, steps=steps, points=steps + 1)
        rate = found.learning_rate
        apart = left_out_distances(loss, found.end, range(len(loss)), learning_rate=rate, steps=steps)
        assert found.proved
        assert (apart <= found.example_paths * (1 + 1e-9) + 1e-12).all()
        assert found.path <= min(found.bound) * (1 + 1e-9)
        shares.append(apart.mean() / min(found.bound))
        place = seed % len(loss)
        assert apart[place] == pytest.approx(float((found.end - removed(loss, rate, steps, place)).norm()))
    assert 0.2 < max(shares) <= 1 + 1e-9


@pytest.fixture(scope="module")
def spec(tiny_model, tiny_task):
    study = {"model": str(tiny_model), "task": str(tiny_task), "seeds": 1, "training": {"train_size": 20}}
    return plan(Study.parse(study))[0]


@pytest.fixture(scope="module")
def measured(spec):
    """The bound of the run with three examples left out, and what its progress told."""
    shares = []
    return task_bound(spec, **QUICK, left_out=3, progress=shares.append), shares


def test_the_left_out_examples_are_rows_of_the_training_set_with_sums_of_their_own(spec, measured):
    found, shares = measured
    loss = run_loss(spec, batch_size=20)
    (texts,) = loss.batches
    rows = run_data(spec).train.rows
    rate, terms = found.bound.learning_rate, found.bound.terms
    gradients = [float(example.gradient().norm()) for example in loss.examples()]
    for row, apart, total in zip(found.rows, found.distances, found.sums, strict=True):
        tokens = rows[row]["inputs"][0]["input_ids"]
        place = texts["input_ids"].tolist().index([*tokens, *[0] * (texts["input_ids"].shape[1] - len(tokens))])
        (end,) = gradient_descent(loss.without(place), rate, 4, [4])
        assert apart == pytest.approx(float((end - found.bound.end).norm()), rel=1e-3)
        # The sum begins with the gradient of this very example.
        (which,) = np.flatnonzero(np.isclose(terms.example_gradients[0], gradients[place], rtol=1e-4))
        assert total == found.bound.example_paths[which]
    assert found.instability == pytest.approx(found.distances.mean())
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_the_same_run_gives_the_same_path_and_no_example_left_out_gives_none(spec, measured):
    again = task_bound(spec, **QUICK)

    assert torch.equal(again.bound.end, measured[0].bound.end)
    assert str(again.path()) == str(measured[0].path())
    assert (len(again.rows), again.examples()) == (0, [])
    assert math.isnan(again.instability)
    assert len(again.describe()) == len(again.bound.describe()) + 1


def test_rows_of_the_embedding_table_that_no_example_reads_are_counted_as_idle(spec, measured):
    found = measured[0].bound
    loss = run_loss(spec, batch_size=20)
    (batch,) = loss.batches
    table = loss.model.get_input_embeddings().weight

    unread = len(table) - len(np.unique(batch["input_ids"][batch["attention_mask"].bool()]))

    assert unread > 20
    assert unread * table.shape[1] <= found.idle < found.size
    assert names(" ".join(found.describe()), f" {found.idle} ", "gradient", "0")


def test_a_training_of_another_kind_is_refused(spec):
    head = spec.training.model_copy(update={"mode": "head"})

    with pytest.raises(UserError, match="'head'"):
        task_bound(spec.model_copy(update={"training": head}), steps=3)
    with pytest.raises(UserError, match=says("20", "examples", "-1")):
        task_bound(spec, steps=3, left_out=-1)
