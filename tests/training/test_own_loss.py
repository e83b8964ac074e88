import functools

import pytest
import torch
from saying import says
from transformers import Trainer, TrainingArguments, set_seed

import steadytune as st
from steadytune.errors import UserError
from steadytune.testing.models import batch, rows, tiny_classifier

WEIGHTS = torch.tensor([1.0, 9.0])


def weighted(outputs, labels, num_items_in_batch=None):
    return torch.nn.functional.cross_entropy(outputs.logits, labels, WEIGHTS)


def weighted_sum(outputs, labels, num_items_in_batch):
    return torch.nn.functional.cross_entropy(outputs.logits, labels, WEIGHTS, reduction="sum") / num_items_in_batch


class Weighted(st.StableTrainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        labels = inputs.pop("labels")
        outputs = model(**inputs)
        loss = torch.nn.functional.cross_entropy(outputs.logits.view(-1, model.config.num_labels), labels, WEIGHTS)
        return (loss, outputs) if return_outputs else loss


class Onward(st.StableTrainer):
    def compute_loss(self, model, inputs, return_outputs=False, **named):
        return super().compute_loss(model, inputs, return_outputs, **named)


class Elsewhere(st.StableTrainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = self.model(**inputs)
        return (outputs.loss, outputs) if return_outputs else outputs.loss


class States(st.StableTrainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = model(**inputs, output_hidden_states=True)
        return outputs.loss + outputs.hidden_states[-1].square().mean()


def logged(function):
    @functools.wraps(function)
    def wrapper(*args, **named):
        return function(*args, **named)

    return wrapper


class Decorated(st.StableTrainer):
    @logged
    def compute_loss(self, model, inputs, return_outputs=False, **named):
        return super().compute_loss(model, inputs, return_outputs, **named)


def barely(function):
    def wrapper(*args, **named):
        return function(*args, **named)

    return wrapper


class Barely(st.StableTrainer):
    @barely
    def compute_loss(self, model, inputs, return_outputs=False, **named):
        return super().compute_loss(model, inputs, return_outputs, **named)


class Helped(st.StableTrainer):
    def compute_loss(self, model, inputs, return_outputs=False, **named):
        return self._loss_of(model, inputs, return_outputs)

    def _loss_of(self, model, inputs, return_outputs):
        def plainly():
            return super(Helped, self).compute_loss(model, inputs, return_outputs)

        return plainly()


class Besides(st.StableTrainer):
    def compute_loss(self, model, inputs, return_outputs=False, **named):
        _, outputs = super().compute_loss(model, inputs, return_outputs=True, **named)
        return torch.nn.functional.cross_entropy(outputs.logits, inputs["labels"], WEIGHTS)


class Nought(st.StableTrainer):
    def compute_loss(self, model, inputs, return_outputs=False, **named):
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **named)
        return 0 * loss + torch.nn.functional.cross_entropy(outputs.logits, inputs["labels"], WEIGHTS)


class More(st.StableTrainer):
    def compute_loss(self, model, inputs, return_outputs=False, **named):
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **named)
        loss = loss + 0.01 * outputs.logits.square().mean()
        return (loss, outputs) if return_outputs else loss


class ByHand(st.StableTrainer):
    def training_step(self, model, inputs, num_items_in_batch=None):
        model.train()
        loss = model(**self._prepare_inputs(inputs)).loss
        self.accelerator.backward(loss)
        return loss.detach()


class OwnBackward(st.StableTrainer):
    def training_step(self, model, inputs, num_items_in_batch=None):
        model.train()
        loss = self.compute_loss(model, self._prepare_inputs(inputs))
        self.accelerator.backward(loss)
        return loss.detach()


class OwnOptimizer(st.StableTrainer):
    def create_optimizer(self, model=None):
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.05)
        return self.optimizer


class Past(st.StableTrainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        return Trainer.compute_loss(self, model, inputs, return_outputs)


def trained(folder, methods=(), cls=st.StableTrainer, count=16, size=8, passes=1, dropout=False, **options):
    """Weights after plain gradient descent, and the trainer."""
    arguments = {name: options.pop(name) for name in ("eval_strategy", "eval_steps") if name in options}
    set_seed(0)
    trainer = cls(
        model=tiny_classifier("bert", dropout=dropout),
        args=TrainingArguments(
            str(folder),
            per_device_train_batch_size=size,
            gradient_accumulation_steps=passes,
            max_grad_norm=0.0,
            optim="sgd",
            learning_rate=0.05,
            num_train_epochs=1,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
            **arguments,
        ),
        train_dataset=options.pop("train_dataset", rows(count)),
        eval_dataset=rows(6, seed=3),
        data_collator=batch,
        stabilizers=methods,
        **options,
    )
    trainer.train()
    return torch.cat([weight.detach().flatten() for weight in trainer.model.parameters()]), trainer


@pytest.mark.parametrize("methods", [["mmr"], ["mhloss"], ["smart"]])
def test_class_weights_in_compute_loss_are_those_of_compute_loss_func_and_keep_the_stabilizers(methods, tmp_path):
    overridden, trainer = trained(tmp_path, methods, Weighted)
    given, other = trained(tmp_path, methods, compute_loss_func=weighted)

    assert torch.equal(overridden, given)
    assert trainer.evaluate()["eval_loss"] == other.evaluate()["eval_loss"]
    assert not torch.allclose(overridden, trained(tmp_path, [], Weighted)[0], atol=1e-5)
    assert not torch.allclose(overridden, trained(tmp_path, methods)[0], atol=1e-3)


@pytest.mark.parametrize("cls", [Onward, Decorated, Barely, Helped])
def test_an_override_that_passes_on_is_left_alone(cls, tmp_path):
    assert torch.equal(trained(tmp_path, ["mmr"], cls)[0], trained(tmp_path, ["mmr"])[0])


@pytest.mark.parametrize("cls", [Elsewhere, States, Past, Besides, Nought])
def test_an_override_that_stabilizers_cannot_work_with_is_refused_with_the_way_out(cls, tmp_path):
    with pytest.raises(UserError, match="compute_loss_func"):
        trained(tmp_path, ["mmr"], cls)


@pytest.mark.parametrize("methods", [["mmr"], ["freelb"], ["llrd"]])
def test_an_override_may_add_to_the_stabilized_loss(methods, tmp_path):
    assert not torch.equal(trained(tmp_path, methods, More)[0], trained(tmp_path, methods)[0])


@pytest.mark.parametrize("method", ["supcon", "freelb", "child_tuning"])
def test_a_training_step_that_goes_past_the_stabilizers_is_refused(method, tmp_path):
    with pytest.raises(UserError, match="training_step"):
        trained(tmp_path, [method], ByHand)


def test_a_training_step_of_ones_own_does_where_the_methods_get_what_they_need(tmp_path):
    assert torch.equal(trained(tmp_path, ["llrd"], ByHand)[0], trained(tmp_path, ["llrd"])[0])
    assert torch.equal(trained(tmp_path, ["mmr"], OwnBackward)[0], trained(tmp_path, ["mmr"])[0])
    with pytest.raises(UserError, match="training_step"):
        trained(tmp_path, ["freelb"], OwnBackward)


def shifted(outputs, labels, num_items_in_batch=None):
    return torch.nn.functional.cross_entropy(outputs.logits, labels + 1, ignore_index=0)


@pytest.mark.parametrize("label", [-1, 2])
@pytest.mark.parametrize("options", [{"cls": Weighted}, {"compute_loss_func": weighted}])
def test_a_label_at_which_a_loss_of_ones_own_fails_is_named(options, label, tmp_path):
    examples = rows(16)
    examples[3]["labels"] = label
    with pytest.raises(UserError, match=says("label", str(label))):
        trained(tmp_path, ["mmr"], train_dataset=examples, **options)


def test_a_loss_of_ones_own_may_leave_examples_out(tmp_path):
    examples = [{**row, "labels": -100 if n == 3 else row["labels"]} for n, row in enumerate(rows(16))]
    trained(tmp_path, ["mmr"], Weighted, train_dataset=examples)
    trained(tmp_path, ["mmr"], compute_loss_func=weighted, train_dataset=examples)
    examples = [{**row, "labels": row["labels"] - 1} for row in rows(16)]
    trained(tmp_path, ["mmr"], compute_loss_func=shifted, train_dataset=examples)


def test_an_optimizer_that_goes_past_the_stabilizers_is_refused(tmp_path):
    with pytest.raises(UserError, match="create_optimizer"):
        trained(tmp_path, ["llrd"], OwnOptimizer)
    assert torch.equal(trained(tmp_path, ["mmr"], OwnOptimizer)[0], trained(tmp_path, ["mmr"])[0])


def test_an_override_and_a_function_are_one_too_many(tmp_path):
    with pytest.raises(UserError, match=says("compute_loss", "compute_loss_func")):
        trained(tmp_path, ["mmr"], Weighted, compute_loss_func=weighted)


@pytest.mark.parametrize(
    "options",
    [
        {"methods": ["mhloss"]},
        {"methods": ["smart"], "compute_loss_func": weighted_sum},
        # The loss is the Trainer's; BERT's does not divide by the count that it is given.
        {"methods": ["l2_sp"]},
        {"methods": ["l2_sp"], "compute_loss_func": weighted_sum},
    ],
)
def test_an_uneven_last_step_in_passes_is_that_of_one_batch(options, tmp_path):
    whole, _ = trained(tmp_path, count=15, size=8, **options)
    passes, _ = trained(tmp_path, count=15, size=2, passes=4, **options)

    assert torch.allclose(whole, passes, atol=1e-6)


def test_evaluation_during_training_does_not_change_it(tmp_path):
    plain, _ = trained(tmp_path, ["mixout"], size=4, dropout=True)
    for when in ({"eval_strategy": "epoch"}, {"eval_strategy": "steps", "eval_steps": 1}):
        assert torch.equal(trained(tmp_path, ["mixout"], size=4, dropout=True, **when)[0], plain)
