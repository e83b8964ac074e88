import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, TrainerCallback, TrainingArguments, set_seed

import steadytune as st
from steadytune.errors import UserError
from steadytune.stabilizers.layers import MultiHeadLinear
from steadytune.training.trainer import geometry


@pytest.fixture
def script(tiny_model, tmp_path):
    """Return a function that trains as somebody's own script would."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    texts = ["anna likes the glad apple", "ben sees the awful boat"] * 8
    rows = [{"input_ids": tokenizer(text)["input_ids"], "labels": n % 2} for n, text in enumerate(texts)]

    def make(stabilizers=(), num_labels=2, **arguments):
        def model_init():
            set_seed(1)
            return AutoModelForSequenceClassification.from_pretrained(
                tiny_model, num_labels=num_labels, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
            )

        defaults = {
            "output_dir": str(tmp_path / "out"),
            "num_train_epochs": 1,
            "per_device_train_batch_size": 8,
            "learning_rate": 1e-3,
            "report_to": "none",
            "save_strategy": "no",
            "disable_tqdm": True,
        }
        return st.StableTrainer(
            model_init=model_init,
            args=TrainingArguments(**{**defaults, **arguments}),
            train_dataset=rows,
            eval_dataset=rows,
            processing_class=tokenizer,
            stabilizers=stabilizers,
        )

    return make


def _logits(model, tokenizer):
    model.eval()
    with torch.no_grad():
        return model(**tokenizer(["anna likes the boat"], return_tensors="pt")).logits


def test_the_trained_model_is_plain_and_loads_in_plain_transformers(script, tmp_path):
    trainer = script([st.MMR(alpha=0.1), st.MHLoss(heads=5)])
    trainer.train()
    expected = _logits(trainer.model, trainer.processing_class)

    trainer.save_model(str(tmp_path / "saved"))
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved")

    assert not any(isinstance(module, MultiHeadLinear) for module in trainer.model.modules())
    assert torch.allclose(_logits(loaded, trainer.processing_class), expected, atol=1e-6)


def test_folding_the_heads_keeps_the_logits(script, monkeypatch):
    trainer = script([st.MHLoss(heads=50)])
    before = []
    unequip = type(trainer).unequip

    def look(self):
        before.append(_logits(self.model, self.processing_class))
        unequip(self)

    monkeypatch.setattr(type(trainer), "unequip", look)
    trainer.train()

    assert torch.allclose(_logits(trainer.model, trainer.processing_class), before[0], atol=1e-5)


def test_without_stabilizers_it_trains_as_the_plain_trainer_does(script):
    from transformers import Trainer

    ours = script(seed=3)
    plain = Trainer(
        model_init=ours.model_init,
        args=ours.args,
        train_dataset=ours.train_dataset,
        processing_class=ours.processing_class,
    )

    ours.train()
    plain.train()

    assert torch.allclose(_logits(ours.model, ours.processing_class), _logits(plain.model, ours.processing_class))


def test_two_batches_of_four_accumulated_are_one_of_eight(script):
    models = []
    for batch, accumulation in ((8, 1), (4, 2)):
        trainer = script(
            [st.MHLoss(heads=3)], per_device_train_batch_size=batch, gradient_accumulation_steps=accumulation
        )
        trainer.train()
        models.append(_logits(trainer.model, trainer.processing_class))

    assert torch.allclose(models[0], models[1], atol=1e-4)


def test_strength_zero_changes_nothing(script):
    logits = []
    for stabilizers in ([], [st.MMR(alpha=0)], [st.MHLoss(heads=1)]):
        trainer = script(stabilizers)
        trainer.train()
        logits.append(_logits(trainer.model, trainer.processing_class))

    assert torch.allclose(logits[0], logits[1], atol=1e-6)
    assert torch.allclose(logits[0], logits[2], atol=1e-5)


def test_evaluation_reports_the_plain_task_loss(script):
    trainer = script([st.MMR(alpha=1000.0)])

    assert trainer.evaluate()["eval_loss"] < 10


def test_surt_retrains_from_the_scripts_own_training_set(script):
    trainer = script([st.SURT(epochs=1)])
    trainer.train()

    assert trainer.measurements["surt_distance"] > 0


def test_a_regression_refuses_mmr(script):
    with pytest.raises(UserError, match="needs classes"):
        script([st.MMR()], num_labels=1)


def test_inputs_are_read_for_a_method_that_retrains_and_for_no_other(script, monkeypatch):
    asked = []
    pretraining = st.StableTrainer.pretraining
    monkeypatch.setattr(
        st.StableTrainer, "pretraining", lambda self, model: asked.append(model) or pretraining(self, model)
    )

    script([st.MMR(), st.MHLoss(heads=3)])
    assert not asked
    script([st.SURT(epochs=1)])
    assert asked


def test_the_trained_model_keeps_no_hook_of_the_trainer(script):
    trainer = script([st.MMR()])
    trainer.train()

    assert not any(module._forward_pre_hooks for module in trainer.model.modules())


def test_label_smoothing_is_that_of_the_plain_trainer(script):
    from transformers import Trainer

    ours = script(label_smoothing_factor=0.2)
    plain = Trainer(
        model_init=ours.model_init,
        args=ours.args,
        train_dataset=ours.train_dataset,
        processing_class=ours.processing_class,
    )

    ours.train()
    plain.train()

    assert torch.allclose(_logits(ours.model, ours.processing_class), _logits(plain.model, ours.processing_class))


def test_label_smoothing_of_numbers_is_refused(script):
    with pytest.raises(UserError, match="label smoothing needs classes"):
        script(num_labels=1, label_smoothing_factor=0.1)


def test_a_loss_function_of_the_script_is_refused(tiny_model, tmp_path):
    model = AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=2)

    with pytest.raises(UserError, match="leave out compute_loss_func"):
        st.StableTrainer(model, TrainingArguments(str(tmp_path)), compute_loss_func=lambda *_: 0)


def test_an_optimizer_of_the_script_is_refused_where_a_method_regroups_its_weights(tiny_model, tmp_path):
    def make(*stabilizers):
        model = AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=2)
        optimizer = torch.optim.AdamW(model.parameters())
        arguments = TrainingArguments(str(tmp_path), report_to="none")
        return st.StableTrainer(model, arguments, optimizers=(optimizer, None), stabilizers=stabilizers)

    make(st.MMR())
    for method in (st.LLRD(), st.MHLoss(), st.NoBiasCorrection()):
        with pytest.raises(UserError, match=f"{method.name} changes .*: leave out optimizers"):
            make(method)


def test_a_model_for_many_labels_per_example_is_refused(tiny_model, tmp_path):
    model = AutoModelForSequenceClassification.from_pretrained(
        tiny_model, num_labels=3, problem_type="multi_label_classification"
    )

    with pytest.raises(UserError, match="this model is made for many labels"):
        st.StableTrainer(model, TrainingArguments(str(tmp_path), report_to="none"))


def test_a_model_init_is_equipped_anew_for_each_training(script):
    trainer = script([st.Mixout(), st.EMA()])

    trainer.train()
    first = _logits(trainer.model, trainer.processing_class)
    trainer.train()

    assert torch.equal(_logits(trainer.model, trainer.processing_class), first)


def test_without_warm_up_the_first_step_has_the_peak_rate(script):
    for methods, expected in (([], 0.0), ([st.NoWarmup()], 1e-3)):
        trainer = script(methods, warmup_steps=1, logging_steps=1)
        given = trainer.args.warmup_steps
        trainer.train()

        assert trainer.state.log_history[0]["learning_rate"] == expected
        assert given == (0 if methods else 1)


def test_evaluation_sees_the_averaged_weights_and_training_goes_on_with_its_own(script):
    trainer = script([st.EMA(decay=0.9)], num_train_epochs=3, eval_strategy="epoch")
    seen = []

    class Look(TrainerCallback):
        def on_evaluate(self, args, state, control, metrics, **kwargs):
            average = trainer.stabilization.runs["ema"].state["classifier.weight"].clone()
            seen.append((metrics["eval_loss"], average, trainer.model.classifier.weight.detach().clone()))

    trainer.add_callback(Look())
    trainer.train()

    loss, average, trained = seen[-1]
    assert not torch.equal(average, trained)
    assert torch.equal(trainer.model.classifier.weight, average)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(loss)


def test_the_best_checkpoint_brings_back_its_own_average(script):
    trainer = script(
        [st.EMA(decay=0.5)],
        num_train_epochs=4,
        learning_rate=1e-1,
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
    )
    trainer.train()

    losses = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    assert trainer.evaluate()["eval_loss"] == pytest.approx(min(losses), rel=1e-5)


def test_geometry_of_two_points_is_what_one_measures_with_a_ruler():
    head = torch.nn.Linear(2, 2)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
        head.bias.zero_()

    values = geometry(torch.tensor([[3.0, 4.0], [-2.0, 4.0]]), torch.tensor([0, 1]), head)

    assert values == {"centre_distance": 5.0, "feature_norm": 5.0, "margin": 2.0}


def test_geometry_of_one_class_has_no_distance_between_centres():
    values = geometry(torch.randn(3, 2), torch.zeros(3, dtype=torch.int64), torch.nn.Linear(2, 2))

    assert values["centre_distance"] != values["centre_distance"]
