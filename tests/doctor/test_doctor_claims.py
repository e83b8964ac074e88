"""What the doctor's rules say of the stock Trainer and of torch, tried out."""

import math
from functools import partial

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments

import steadytune as st
from steadytune.testing.models import rows_for
from steadytune.testing.models import tiny_model as tiny

pytestmark = pytest.mark.slow


def without_dropout(name):
    torch.manual_seed(0)
    off = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return AutoModelForSequenceClassification.from_pretrained(name, **off)


@pytest.fixture
def train(tiny_model, tmp_path):
    """Train one step on eight examples by gradient descent; return the Trainer and how far the head's bias moved."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    texts = ["anna likes the glad apple", "ben sees the awful boat"] * 3 + ["leo helps the good dog"] * 2
    rows = [{"input_ids": tokenizer(text)["input_ids"], "labels": int(n % 3 == 0)} for n, text in enumerate(texts)]

    def go(trainer_class, batch, accumulation, model=None, **arguments):
        model = model or without_dropout(tiny_model)
        before = model.classifier.bias.detach().clone()
        defaults = {"output_dir": str(tmp_path), "report_to": "none", "save_strategy": "no", "disable_tqdm": True}
        defaults |= {"max_steps": 1, "optim": "sgd", "learning_rate": 1e-3, "max_grad_norm": 0.0, "use_cpu": True}
        defaults |= {"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulation}
        trainer = trainer_class(
            model=model,
            args=TrainingArguments(**{**defaults, **arguments}),
            train_dataset=rows,
            processing_class=tokenizer,
        )
        trainer.train()
        return trainer, model.classifier.bias.detach() - before

    return go


def test_accumulated_gradients_of_the_stock_trainer_add_up_and_those_of_ours_do_not(train):
    whole = train(Trainer, 8, 1)[1]
    stock = train(Trainer, 2, 4)[1]
    ours = train(partial(st.StableTrainer, stabilizers=[{"mixout": {"p": 0.0}}]), 2, 4)[1]

    assert torch.allclose(stock, 4 * whole, rtol=1e-3)
    assert torch.allclose(ours, whole, rtol=1e-3)
    # Without stabilizers it is the stock one.
    assert torch.equal(train(st.StableTrainer, 2, 4)[1], stock)


@pytest.mark.parametrize(
    ("name", "factor"), [("t5:generation", 4), ("bart:generation", 4), ("bert:tokens", 4), ("llama:generation", 1)]
)
def test_accumulated_gradients_add_up_where_a_model_ignores_the_number_of_labels(name, factor, tmp_path):
    # Those of equal length, so that each pass has as many labels.
    examples = rows_for(name, 24)[::3]

    def far(batch, accumulation):
        model = tiny(name, dropout=False)
        start = [weight.detach().clone() for weight in model.parameters()]
        options = {"max_steps": 1, "optim": "sgd", "learning_rate": 1e-3, "max_grad_norm": 0.0, "use_cpu": True}
        options |= {"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulation}
        quiet = {"output_dir": str(tmp_path), "report_to": "none", "save_strategy": "no", "disable_tqdm": True}
        Trainer(model=model, args=TrainingArguments(**options, **quiet), train_dataset=examples).train()
        return math.hypot(*(float((w.detach() - s).norm()) for w, s in zip(model.parameters(), start, strict=True)))

    assert far(2, 4) == pytest.approx(factor * far(8, 1), rel=1e-3)


def test_with_label_smoothing_the_stock_trainer_takes_the_mean(train):
    whole = train(Trainer, 8, 1, label_smoothing_factor=0.1)[1]
    assert torch.allclose(train(Trainer, 2, 4, label_smoothing_factor=0.1)[1], whole, rtol=1e-3)


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_twenty_steps_of_adamw_go_equally_far_whatever_the_size_of_the_gradient(train, tiny_model, clip):
    options = {"max_steps": 20, "optim": "adamw_torch", "learning_rate": 2e-5, "max_grad_norm": clip}

    def far(batch, accumulation):
        model = without_dropout(tiny_model)
        start = [weight.detach().clone() for weight in model.parameters()]
        train(Trainer, batch, accumulation, model=model, **options)
        return math.hypot(*(float((w.detach() - s).norm()) for w, s in zip(model.parameters(), start, strict=True)))

    assert far(2, 4) == pytest.approx(far(8, 1), rel=0.01)


@pytest.mark.parametrize(("name", "factor"), [("Adagrad", 1), ("RMSprop", 1), ("AdamW", 1), ("SGD", 4)])
def test_only_plain_descent_takes_steps_as_long_as_the_gradient(name, factor):
    def far(scale):
        weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
        optimizer = getattr(torch.optim, name)([weight], lr=1e-3)
        for gradient in (1.0, -2.0, 3.0):
            weight.grad = torch.tensor([scale * gradient], dtype=torch.float64)
            optimizer.step()
        return float(weight.detach())

    assert far(4) == pytest.approx(factor * far(1), rel=1e-6)


@pytest.mark.parametrize("filtered", [True, False])
def test_the_stock_trainer_logs_a_number_where_the_loss_is_nan(train, tiny_model, filtered):
    model = AutoModelForSequenceClassification.from_pretrained(tiny_model)
    torch.nn.init.constant_(model.classifier.weight, math.nan)

    trainer, _ = train(Trainer, 8, 1, model=model, max_steps=3, logging_steps=1, logging_nan_inf_filter=filtered)

    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 3
    assert all(math.isnan(loss) is not filtered for loss in losses)


def test_a_head_loaded_before_the_trainer_differs_between_runs_of_one_seed(tiny_model, tmp_path):
    arguments = TrainingArguments(output_dir=str(tmp_path), report_to="none", seed=0, use_cpu=True)

    def load():
        return AutoModelForSequenceClassification.from_pretrained(tiny_model)

    def head(**given):
        return Trainer(args=arguments, **given).model.classifier.weight.detach().clone()

    torch.manual_seed(1)
    assert not torch.equal(head(model=load()), head(model_init=load))
    torch.manual_seed(2)
    other = head(model=load())
    torch.manual_seed(3)
    assert not torch.equal(head(model=load()), other)
    assert torch.equal(head(model_init=load), head(model_init=load))


def test_a_checkpoint_in_half_precision_is_loaded_as_it_is_stored_unless_told_otherwise(tiny_model, tmp_path):
    AutoModelForSequenceClassification.from_pretrained(tiny_model).to(torch.bfloat16).save_pretrained(tmp_path)

    def dtype(**options):
        return AutoModelForSequenceClassification.from_pretrained(tmp_path, **options).dtype

    assert dtype() == torch.bfloat16
    assert dtype(dtype=torch.float32) == torch.float32


@pytest.mark.parametrize(
    ("dtype", "lost", "kept"), [(torch.bfloat16, 1 / 512, 1 / 128), (torch.float16, 1 / 4096, 1 / 1024)]
)
def test_half_precision_swallows_small_updates(dtype, lost, kept):
    weight = torch.tensor(1.0, dtype=dtype)
    assert weight + lost == weight
    assert weight + kept != weight


def test_the_first_step_of_rmsprop_is_ten_times_as_long_and_that_of_adamw_is_not():
    def first_step(optimizer_class):
        weight = torch.nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
        optimizer = optimizer_class([weight], lr=1e-3)
        (3 * weight).sum().backward()
        optimizer.step()
        return 1 - float(weight.detach())

    assert first_step(torch.optim.RMSprop) == pytest.approx(10e-3, rel=1e-5)
    assert first_step(lambda weights, lr: torch.optim.AdamW(weights, lr=lr, weight_decay=0)) == pytest.approx(1e-3)
