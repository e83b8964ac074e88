import pytest
import torch
from saying import says
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertForSequenceClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

import steadytune as st
from steadytune.errors import UserError
from steadytune.stabilizers.layers import MultiHeadLinear
from steadytune.training.curves import geometry


@pytest.fixture
def script(tiny_model, tmp_path):
    """Return a function that trains as somebody's own script would."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    texts = ["anna likes the glad apple", "ben sees the awful boat"] * 8
    rows = [{"input_ids": tokenizer(text)["input_ids"], "labels": n % 2} for n, text in enumerate(texts)]

    def make(stabilizers=(), num_labels=2, **arguments):
        names = ("compute_loss_func", "compute_metrics", "task_kind", "train_dataset")
        options = {name: arguments.pop(name) for name in names if name in arguments}

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
            eval_dataset=rows,
            processing_class=tokenizer,
            stabilizers=stabilizers,
            **{"train_dataset": rows, **options},
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
    with pytest.raises(UserError, match=says("mmr", "classes")):
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
    with pytest.raises(UserError, match=says("label smoothing", "classes")):
        script([st.SMART()], num_labels=1, label_smoothing_factor=0.1)


def test_an_optimizer_of_the_script_is_refused_where_a_method_regroups_its_weights(tiny_model, tmp_path):
    def make(*stabilizers):
        model = AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=2)
        optimizer = torch.optim.AdamW(model.parameters())
        arguments = TrainingArguments(str(tmp_path), report_to="none")
        return st.StableTrainer(model, arguments, optimizers=(optimizer, None), stabilizers=stabilizers)

    make(st.MMR())
    for method in (st.LLRD(), st.MHLoss(), st.NoBiasCorrection()):
        with pytest.raises(UserError, match=says(method.name, "optimizers")):
            make(method)


def test_a_model_for_many_numbers_per_example_is_refused_by_what_reads_its_outputs(tiny_model, tmp_path):
    model = AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=3, problem_type="regression")

    with pytest.raises(UserError, match=says("one number", "per example")):
        st.StableTrainer(model, TrainingArguments(str(tmp_path), report_to="none"), stabilizers=["smart"])


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


def test_others_that_look_when_training_ends_see_the_plain_model_with_the_weights_that_are_kept(script):
    class Looks(TrainerCallback):
        def on_train_end(self, args, state, control, model=None, **kwargs):
            self.plain = not any(isinstance(module, MultiHeadLinear) for module in model.modules())
            self.weights = {name: weight.clone() for name, weight in model.state_dict().items()}

    trainer, looks = script([st.EMA(decay=0.9), st.MHLoss(heads=3)], learning_rate=1e-2), Looks()
    trainer.add_callback(looks)
    trainer.train()

    assert looks.plain
    assert all(torch.equal(weight, looks.weights[name]) for name, weight in trainer.model.state_dict().items())


def test_a_model_that_is_saved_before_the_end_is_plain_and_training_goes_on(script, tmp_path):
    class Saves(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 1:
                trainer.save_model(str(tmp_path / "early"))

    trainer = script([st.MHLoss(heads=3)], save_strategy="no")
    undisturbed = script([st.MHLoss(heads=3)])
    undisturbed.train()
    trainer.add_callback(Saves())
    trainer.train()

    early = AutoModelForSequenceClassification.from_pretrained(tmp_path / "early")
    assert early.classifier.weight.shape == (2, 16)
    tokenizer = trainer.processing_class
    assert torch.equal(_logits(trainer.model, tokenizer), _logits(undisturbed.model, tokenizer))


class _Weighted(BertForSequenceClassification):
    def forward(self, input_ids=None, attention_mask=None, token_type_ids=None, labels=None):
        outputs = super().forward(input_ids, attention_mask)
        if labels is not None:
            outputs.loss = torch.nn.functional.cross_entropy(outputs.logits, labels, torch.tensor([1.0, 9.0]))
        return outputs


def _weighted_loss(outputs, labels, num_items_in_batch=None):
    return torch.nn.functional.cross_entropy(outputs.logits, labels, torch.tensor([1.0, 9.0]))


def test_a_model_with_a_loss_of_its_own_is_refused_unless_the_script_says_which(script, tiny_model):
    def own_model():
        set_seed(1)
        return _Weighted.from_pretrained(tiny_model, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)

    trainer = script([st.MMR()])
    trainer.model_init = own_model
    with pytest.raises(UserError, match=says("loss", "compute_loss_func")):
        trainer.train()

    ours, plain = script(compute_loss_func=_weighted_loss), script()
    ours.train()
    stock = Trainer(
        model_init=own_model,
        args=plain.args,
        train_dataset=plain.train_dataset,
        processing_class=plain.processing_class,
    )
    stock.train()
    assert torch.allclose(_logits(ours.model, ours.processing_class), _logits(stock.model, ours.processing_class))


@pytest.mark.parametrize("methods", [[st.SMART()], [st.MMR()], [st.LNSR()]])
def test_several_labels_per_example_are_refused_whatever_the_configuration_says(script, methods):
    trainer = script(methods)
    trainer.train_dataset = [{**row, "labels": [1.0, 0.0]} for row in trainer.train_dataset]
    with pytest.raises(UserError, match="per example"):
        trainer.train()


def test_a_negative_label_and_a_batch_without_labels_are_refused(script):
    for change, words in (({"labels": -100}, says("label", "-100")), ({"labels": None}, "no 'labels'")):
        trainer = script([st.CentreLoss()], remove_unused_columns=False)
        rows = [{**row, **change} for row in trainer.train_dataset]
        trainer.train_dataset = [{name: value for name, value in row.items() if value is not None} for row in rows]
        with pytest.raises(UserError, match=words):
            trainer.train()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("mmr", says("list", "['mmr']")),
        (st.MMR(), says("list", "[MMR()]")),
        ([st.MMR], says("{name: {parameter: value}}", "MMR")),
        (["mrm"], says("'mrm'", "'mmr'")),
    ],
)
def test_what_is_no_list_of_stabilizers_is_refused(script, given, words):
    with pytest.raises(UserError, match=words):
        script(given)


def test_a_stabilizer_may_be_given_by_its_name(script):
    assert script(["mmr", {"mhloss": {"heads": 3}}]).stabilizers == (st.MMR(), st.MHLoss(heads=3))


def test_an_unknown_kind_of_task_is_refused(script):
    with pytest.raises(UserError, match=says("'chocie'", "'choice'")):
        script(["mmr"], task_kind="chocie")
    with pytest.raises(UserError, match=says("'chocie'", "'choice'")):
        script(["mixout"], task_kind="chocie")


@pytest.mark.parametrize("method", [st.LPFT(), st.ChildTuning(variant="D"), st.SURT()])
def test_a_stream_without_end_is_refused_by_what_reads_all_of_it(script, method):
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            while True:
                yield from rows

    rows = script().train_dataset
    with pytest.raises(UserError, match="length"):
        script([method], train_dataset=Stream(), max_steps=1).train()


def test_the_trainers_own_noise_is_not_doubled(script):
    with pytest.raises(UserError, match=says("neftune_noise_alpha", "neftune")):
        script([st.NEFTune()], neftune_noise_alpha=5.0)


def test_models_without_named_outputs_are_evaluated(script):
    trainer = script(compute_metrics=lambda found: {"width": found.predictions.shape[1]})
    trainer.model.config.return_dict = False
    assert trainer.evaluate()["eval_width"] == 2


def test_a_checkpoint_of_other_stabilizers_is_refused_before_its_weights_are_read(script, tmp_path):
    script([st.MHLoss(heads=3)], save_strategy="epoch").train()
    (checkpoint,) = (tmp_path / "out").glob("checkpoint-*")
    with pytest.raises(UserError, match=says(str(checkpoint), "mhloss", "[]")):
        script(num_train_epochs=2).train(resume_from_checkpoint=str(checkpoint))
