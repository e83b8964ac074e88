import warnings

import pytest
import torch
from saying import says

import steadytune as st
from steadytune.errors import UserError
from steadytune.testing.models import batch, rows, tiny_classifier


def test_weights_that_are_trained_in_float16_are_refused_and_those_in_bfloat16_are_warned_of():
    with pytest.raises(UserError, match=r"dtype=torch.float32"):
        st.Stabilization(tiny_classifier("bert").half(), [])
    with pytest.warns(UserWarning, match="bfloat16"):
        st.Stabilization(tiny_classifier("bert").bfloat16(), [])


def test_frozen_half_precision_below_adapters_is_nobodys_business():
    model = tiny_classifier("bert+lora")
    for weight in model.parameters():
        if not weight.requires_grad:
            weight.data = weight.data.half()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        st.Stabilization(model, [])


def test_a_last_layer_that_peft_has_frozen_is_said():
    from peft import LoraConfig, get_peft_model

    with pytest.warns(UserWarning, match="task_type='SEQ_CLS'"):
        st.Stabilization(get_peft_model(tiny_classifier("bert"), LoraConfig(target_modules=["query"])), [])


@pytest.mark.parametrize(
    ("labels", "said"),
    [([0, -1, 1, 0], says("label", "-1")), ([0, 1, 2, 0], says("label", "2", "2 outputs"))],
)
def test_a_label_in_a_later_batch_is_named_before_torch_fails(labels, said):
    model = tiny_classifier("bert").train()
    stabilization = st.Stabilization(model, [])
    stabilization.backward(model, batch(rows(4)))
    with pytest.raises(UserError, match=said):
        stabilization.backward(model, {**batch(rows(4)), "labels": torch.tensor(labels)})
