import pytest
import torch
from saying import says

import steadytune as st
from steadytune.errors import UserError
from steadytune.testing.models import tiny_classifier


def test_an_optimizer_that_was_made_before_the_last_layer_was_replaced_is_refused():
    model = tiny_classifier("bert")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    stabilization = st.Stabilization(model, [st.MHLoss(heads=3)])

    with pytest.raises(UserError, match=says("last layer", "mhloss", "Stabilization")):
        stabilization.prepare_optimizer(optimizer)
    assert stabilization.prepare_optimizer(torch.optim.SGD(model.parameters(), lr=0.1))


def test_an_optimizer_that_was_made_before_is_taken_where_the_last_layer_stays():
    model = tiny_classifier("bert")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    assert st.Stabilization(model, [st.LLRD()]).prepare_optimizer(optimizer) is optimizer
