"""Models with a label for every token: their loss, what their decoder reads, and the outputs that count."""

import pytest
import torch
from saying import says
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments
from transformers.trainer_pt_utils import LabelSmoother

import steadytune as st
from steadytune.errors import UserError
from steadytune.models.criterion import kind_of
from steadytune.models.language import criterion_of, inputs_of, targets_of, unanswered
from steadytune.models.parts import find_parts
from steadytune.stabilizers import STABILIZERS, Stabilizer, parse_stabilizer
from steadytune.stabilizers.lnsr import LNSR
from steadytune.stabilizers.surgery import changed_outputs
from steadytune.testing.models import PER_TOKEN, batch, rows, rows_for, tiny_classifier, tiny_model
from steadytune.testing.stabilizers import script, state
from steadytune.training.stabilization import Stabilization

CAUSAL = ("llama:generation", "qwen2:generation")


def counting(name, labels):
    """Which outputs have a label that counts, in a formulation of its own."""
    counts = torch.zeros_like(labels, dtype=torch.bool)
    for row, column in (labels != -100).nonzero().tolist():
        if name not in CAUSAL:
            counts[row, column] = True
        elif column:
            counts[row, column - 1] = True
    return counts


@pytest.fixture(params=PER_TOKEN)
def name(request):
    return request.param


def test_the_loss_is_the_models_own_to_the_bit(name):
    model, inputs = tiny_model(name).eval(), batch(rows_for(name))
    kit = Stabilization(model, [])

    loss, outputs = kit.loss(model, inputs)

    assert kit.kind == name.partition(":")[2]
    assert torch.equal(loss, model(**inputs).loss)
    assert torch.equal(outputs.logits, model(**inputs).logits)
    assert kit.terms(inputs["labels"]) == counting(name, inputs["labels"]).sum()


def test_smoothed_labels_give_the_trainers_own_loss(name):
    model, inputs = tiny_model(name, dropout=False), batch(rows_for(name))
    expected = LabelSmoother(0.2)(model(**inputs), inputs["labels"], shift_labels=name in CAUSAL)

    loss, _ = Stabilization(model, [], label_smoothing=0.2).loss(model.train(), inputs)

    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)


def test_a_batch_without_a_label_that_counts_has_no_loss_and_no_gradient(name):
    model, inputs = tiny_model(name), batch(rows_for(name))
    inputs["labels"][:] = -100
    if "decoder_input_ids" not in inputs and name[:2] in ("t5", "ba"):
        inputs["decoder_input_ids"] = torch.full_like(inputs["labels"], 4)
    kit = Stabilization(model, [st.R3F(eps=0.1), st.LNSR()])
    kit._unchecked = False  # the model's own loss is not a number

    loss = kit.backward(model.train(), inputs)

    assert loss.isfinite()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in model.parameters())
    kit.finish()
    model.zero_grad()
    assert Stabilization(model, [st.RDrop()] if name[:2] in ("t5", "ba") else []).backward(model, inputs) == 0
    assert all(weight.grad is None or not weight.grad.any() for weight in model.parameters())


def test_a_label_of_a_causal_model_stands_where_it_is_predicted():
    labels = torch.tensor([[-100, 5, 6, 7], [8, -100, 9, -100]])

    found = {name: targets_of(tiny_model(name), labels).tolist() for name in PER_TOKEN}

    assert found["llama:generation"] == [[5, 6, 7, -100], [-100, 9, -100, -100]]
    assert all((found[name] == found["llama:generation"]) == (name in CAUSAL) for name in PER_TOKEN)
    assert targets_of(tiny_classifier("llama"), torch.tensor([1, 0])).tolist() == [1, 0]


@pytest.mark.parametrize("name", ["t5:generation", "bart:generation"])
def test_a_decoder_reads_the_right_text_one_token_late_unless_the_batch_says_what(name):
    model, inputs = tiny_model(name), batch(rows_for(name, 2))
    start = model.config.decoder_start_token_id

    read = inputs_of(model, inputs)["decoder_input_ids"]

    assert inputs["labels"].tolist() == [[4, 6, 3], [7, 3, -100]]
    assert read.tolist() == [[start, 4, 6], [start, 7, 3]]
    given = {**inputs, "decoder_input_ids": torch.full((2, 3), 9)}
    assert inputs_of(model, given)["decoder_input_ids"] is given["decoder_input_ids"]
    assert "labels" not in inputs_of(model, given)


def test_a_decoder_that_has_no_first_token_is_refused():
    model = tiny_model("t5:generation")
    model.config.decoder_start_token_id = None

    with pytest.raises(UserError, match=says("T5ForConditionalGeneration", "decoder_start_token_id")):
        inputs_of(model, batch(rows_for("t5:generation")))


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (torch.zeros(16), says("generation", "(examples, tokens)", "(16,)")),
        (torch.zeros(16, 11), says("integers", "float32")),
        (torch.full((16, 11), -1), says("-1", "-100")),
        (torch.full((16, 11), 40), says("40", "0 to 39", "embeddings")),
        (torch.zeros(16, 10, dtype=torch.int64), says("one label per token", "(16, 10)", "(16, 11, 40)")),
    ],
)
def test_labels_that_are_no_tokens_are_refused(labels, said):
    name = "llama:generation"
    model, inputs = tiny_model(name), {**batch(rows_for(name)), "labels": labels}

    with pytest.raises(UserError, match=said):
        Stabilization(model, []).loss(model, inputs)


class Watch(Stabilizer):
    """Keeps what it sees.

    Source: nobody.

    Cost per step: none.
    """

    name = "watch"

    def penalty(self, step):
        step.run.scratch["step"] = step


def test_predictions_and_features_are_those_of_the_tokens_that_count(name):
    model, inputs = tiny_model(name, dropout=False), batch(rows_for(name))
    kit = Stabilization(model, [Watch()])
    kit.loss(model.train(), inputs)
    step = kit.runs["watch"].scratch["step"]

    counts = counting(name, inputs["labels"])
    assert torch.equal(step.predictions(step.logits), step.logits[counts])
    assert torch.equal(step.counted, counts)
    last = model.classifier if name == "bert:tokens" else model.lm_head
    assert torch.allclose(last(step.features), step.logits[counts], atol=1e-5)
    assert step.classes is None
    with pytest.raises(UserError, match=says("watch", "(16, 2, ")):
        step.predictions(step.logits[:, :2])


@pytest.mark.parametrize("method", [st.R3F(eps=0.3), st.RDrop(alpha=1.0), st.SMART(mu=0.0, radius=0.3)])
def test_what_compares_predictions_compares_those_that_count_alone(name, method):
    """A divergence by hand, of every output that counts, in a loop."""
    if method.name == "rdrop" and name in CAUSAL:
        pytest.skip("no dropout")
    model, inputs = tiny_model(name, dropout=method.name == "rdrop").double(), batch(rows_for(name))
    passes = []
    watch = model.register_forward_hook(lambda module, given, out: passes.append(out.logits))
    kit = Stabilization(model, [method])
    kit._unchecked = False
    torch.manual_seed(3)
    loss = kit.loss(model.train(), inputs)[0].item()
    watch.remove()

    def divergence(first, second):
        values = []
        for i, j in counting(name, inputs["labels"]).nonzero().tolist():
            p, q = first[i, j].softmax(-1), second[i, j].softmax(-1)
            values.append(float((p * (p / q).log() + q * (q / p).log()).sum()))
        return sum(values) / len(values)

    task = [criterion_of(model, kit.kind)(logits, inputs["labels"]).item() for logits in passes]
    with torch.no_grad():
        between = divergence(passes[0], passes[-1])
    expected = (task[0] + task[1]) / 2 + between / 2 if method.name == "rdrop" else task[0] + between
    assert between > 1e-6
    assert loss == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", ["t5:generation", "bart:generation"])
def test_noise_is_watched_at_texts_in_the_encoder_and_at_labels_in_the_decoder(name, monkeypatch):
    model, inputs = tiny_model(name, dropout=False).double(), batch(rows_for(name))
    shift = torch.randn(16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr("steadytune.stabilizers.lnsr.add_noise", lambda states, share, seed: states + shift)
    parts, states = find_parts(model), ([], [])

    def run(kept, first):
        block = parts.blocks[0].register_forward_pre_hook(first, with_kwargs=True)
        with changed_outputs(dict.fromkeys(parts.blocks, lambda given: kept.append(given.detach()) or given)):
            model(**inputs)
        block.remove()

    def moved(module, given, named):
        return (
            ((given[0] + shift, *given[1:]), named)
            if given
            else (given, {**named, "hidden_states": named["hidden_states"] + shift})
        )

    run(states[0], lambda module, given, named: None)
    run(states[1], moved)
    shown = [inputs["attention_mask"] == 1] * 2 + [inputs["labels"] != -100] * 2
    expected = sum(
        float((noisy - clean)[mask].square().sum(-1).mean()) for clean, noisy, mask in zip(*states, shown, strict=True)
    )

    plain, noisy = (
        Stabilization(model, some).loss(model.train(), inputs)[0].item() for some in ([], [LNSR(weight=0.1)])
    )

    assert noisy - plain == pytest.approx(0.1 * expected, rel=1e-9)


def test_what_needs_a_new_head_or_classes_names_the_kind(name):
    kind = name.partition(":")[2]
    refused = [method for method in map(parse_stabilizer, STABILIZERS) if not method.serves(kind)]

    wanted = {"mmr", "mhloss", "supcon", "centre_loss", "large_margin"}
    assert {method.name for method in refused} == wanted | ({"lp_ft", "r4f"} if kind == "generation" else set())
    for method in refused:
        with pytest.raises(UserError, match=says(method.name, f"'{kind}'")):
            Stabilization(tiny_model(name), [method])


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: tiny_classifier("bart"), "classification"),
        (lambda: tiny_classifier("llama+lora"), "classification"),
        (lambda: GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=40)), "generation"),
    ],
)
def test_the_kind_of_a_model_is_that_of_its_class(make, kind):
    assert kind_of(make()) == kind


@pytest.mark.parametrize("name", ["llama:generation", "t5:generation", "bert:tokens"])
def test_passes_are_weighed_by_the_tokens_that_count(name, tmp_path):
    """As one large batch, and as the plain Trainer does it by the number of items."""
    trained = []
    for size, accumulation, plain in ((8, 1, False), (2, 4, False), (8, 1, True)):
        model = tiny_model(name, dropout=False)
        arguments = TrainingArguments(
            output_dir=str(tmp_path),
            per_device_train_batch_size=size,
            gradient_accumulation_steps=accumulation,
            num_train_epochs=2,
            learning_rate=0.05,
            optim="sgd",
            max_grad_norm=0.0,
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
        )
        made = (
            Trainer(model=model, args=arguments, train_dataset=rows_for(name))
            if plain
            else st.StableTrainer(
                model=model, args=arguments, train_dataset=rows_for(name), stabilizers=[st.CNGC(limit=1e9)]
            )
        )
        made.train()
        trained.append(state(model))
    start = state(tiny_model(name))

    for weight, first in trained[0].items():
        assert torch.allclose(first, trained[1][weight], atol=1e-5)
        assert torch.allclose(first, trained[2][weight], atol=1e-5)
    assert any(not torch.allclose(start[weight], first, atol=1e-3) for weight, first in trained[0].items())


class Summed(st.StableTrainer):
    """A loss of one's own, of the logits of an encoder-decoder whose decoder reads what the labels say."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        labels = inputs["labels"]
        logits = model(**inputs).logits
        return 3 * torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())


def test_a_loss_of_ones_own_is_one_of_the_same_logits(tmp_path):
    name = "t5:generation"
    model, inputs = tiny_model(name, dropout=False), batch(rows_for(name, 8))
    arguments = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none")
    trainer = Summed(model=model, args=arguments, train_dataset=rows_for(name), stabilizers=[st.R3F(eps=0.0)])

    loss = trainer.compute_loss(model.train(), inputs)

    assert loss.item() == pytest.approx(3 * model(**inputs).loss.item(), rel=1e-5)
    assert loss.requires_grad


def test_what_a_causal_model_is_to_write_is_no_text_to_train_on_before():
    row = {"input_ids": [5, 6, 7, 8, 0], "labels": [-100, -100, 7, 8, -100], "attention_mask": [1, 1, 1, 1, 0]}

    assert unanswered(tiny_model("llama:generation"), row) == [5, 6]
    assert unanswered(tiny_model("t5:generation"), row) == row["input_ids"]
    assert unanswered(tiny_classifier("llama"), {**row, "labels": 1}) == row["input_ids"]
    assert unanswered(tiny_model("llama:generation"), {"input_ids": [5, 6]}) == []


@pytest.mark.parametrize(
    "method", [st.ChildTuning(variant="F"), st.EMA(decay=0.5), st.R3F(eps=0.3), st.LNSR(), st.HyPe()]
)
def test_adapters_of_a_language_model_are_trained_as_any_weights(method):
    from peft import LoraConfig, get_peft_model

    name = "llama:generation"
    model = get_peft_model(
        tiny_model(name), LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj", "v_proj"])
    )
    inputs = batch(rows_for(name))
    kit = Stabilization(model, [method])
    optimizer = kit.prepare_optimizer(torch.optim.AdamW(model.parameters(), lr=0.02))
    kit.begin(lambda: [inputs], 8)
    before = model.eval()(**inputs).loss.item()
    for _ in range(8):
        kit.backward(model.train(), inputs)
        kit.before_step()
        optimizer.step()
        kit.after_step(optimizer)
        optimizer.zero_grad()
    kit.finish()

    assert kit.kind == "generation"
    assert model.eval()(**inputs).loss.item() < 0.98 * before


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bart:generation", "qwen2:generation", "bert:tokens"])
def test_a_training_that_is_resumed_ends_with_the_same_bits(name, tmp_path):
    def training(**changes):
        methods = [st.WDPre(decay=0.5), st.EMA(decay=0.5), st.SMART(mu=1.0, weight=0.0)]
        return script(tiny_model(name), methods, tmp_path, rows_for(name), **changes)

    whole = training(save_strategy="steps", save_steps=4)
    whole.train()
    resumed = training()
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))

    one, two = state(whole.model), state(resumed.model)
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_a_classification_is_not_read_token_by_token():
    model, inputs = tiny_classifier("llama"), batch(rows())
    kit = Stabilization(model, [Watch()])
    kit.loss(model.train(), inputs)

    step = kit.runs["watch"].scratch["step"]
    assert step.counted is None
    assert step.predictions(step.logits) is step.logits
    assert kit.terms(inputs["labels"]) == 16
