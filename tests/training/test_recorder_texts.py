"""Runs of language models, recorded and read again, against what the models say of each example alone."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from saying import says
from scipy.special import log_softmax
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

import steadytune as st
from steadytune.decoding import Decoding
from steadytune.errors import UserError
from steadytune.external import read_run
from steadytune.external.generating import decoding_of
from steadytune.models.candidates import draw_candidates
from steadytune.testing.models import CONFIGS, END, VOCABULARY, batch, letter_tokenizer, rows_for, tiny_model

TOKENIZER = letter_tokenizer()
NAMES = ("llama:generation", "t5:generation", "bart:generation")
LENGTH = 5


def examples(name):
    return rows_for(name, 7)


def parts(row):
    """The prompt and the text of a row, by hand."""
    shown = [token for token, seen in zip(row["input_ids"], row["attention_mask"], strict=True) if seen]
    answer = [label for label in row["labels"] if label != -100]
    return (shown if len(row["labels"]) == 3 else shown[: len(shown) - len(answer)]), answer


def states_and_logits(model, prompt, answer):
    """Last states of the last token of the prompt, and logits (t, V) of the text, of one example without padding."""
    with torch.no_grad():
        if model.config.is_encoder_decoder:
            given = torch.tensor([[model.config.decoder_start_token_id, *answer[:-1]]])
            said = model(
                input_ids=torch.tensor([prompt]), decoder_input_ids=given, output_hidden_states=True, use_cache=False
            )
            return said.encoder_hidden_states[-1][0, -1].numpy(), said.logits[0].numpy()
        said = model(input_ids=torch.tensor([[*prompt, *answer]]), output_hidden_states=True)
        return said.hidden_states[-1][0, len(prompt) - 1].numpy(), said.logits[0, len(prompt) - 1 : -1].numpy()


def greedy(model, prompt):
    """The likeliest next token, time and again, up to the end of the text."""
    new = []
    for _ in range(LENGTH):
        with torch.no_grad():
            if model.config.is_encoder_decoder:
                given = torch.tensor([[model.config.decoder_start_token_id, *new]])
                said = model(input_ids=torch.tensor([prompt]), decoder_input_ids=given).logits
            else:
                said = model(input_ids=torch.tensor([[*prompt, *new]])).logits
        new.append(int(said[0, -1].argmax()))
        if new[-1] == END:
            break
    return TOKENIZER.decode(new, skip_special_tokens=True)


def script(model, held_out, folder, seed=0, **options):
    return Trainer(
        model=model,
        args=TrainingArguments(
            str(folder / "out"),
            max_steps=3,
            per_device_train_batch_size=2,
            seed=seed,
            learning_rate=1e-2,
            per_device_eval_batch_size=3,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
        ),
        train_dataset=held_out,
        eval_dataset=held_out,
        data_collator=batch,
        **{"processing_class": TOKENIZER, **options},
    )


def record(trainer, path, **options):
    trainer.add_callback(st.StabilityRecorder(trainer, path, decoding=Decoding(max_new_tokens=LENGTH), **options))
    trainer.train()
    return trainer.model.eval()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_two_seeds_are_recorded_and_measured_as_each_example_alone_has_it(name, tmp_path, recwarn):
    held_out, every = examples(name), []
    for seed in (0, 1):
        model = tiny_model(name)
        model = record(script(model, held_out, tmp_path, seed), tmp_path / f"{seed}.safetensors")
        run = read_run(tmp_path / f"{seed}.safetensors")
        exchanges = [parts(row) for row in held_out]
        found = [states_and_logits(model, *exchange) for exchange in exchanges]
        said = [log_softmax(logits.astype(float), axis=1) for _, logits in found]
        every.append(np.concatenate(said))
        assert run.kind == "generation"
        assert list(run.generations) == [greedy(model, prompt) for prompt, _ in exchanges]
        assert list(run.references) == [TOKENIZER.decode(answer[:-1]) for _, answer in exchanges]
        assert run.token_counts.tolist() == [len(answer) for _, answer in exchanges]
        targets = np.concatenate([answer for _, answer in exchanges])
        expected = every[-1][np.arange(len(targets)), targets]
        np.testing.assert_allclose(run.target_log_probabilities, expected, atol=1e-4)
        assert run.token_choices.tolist() == every[-1].argmax(1).tolist()
        np.testing.assert_allclose(run.representations[-1], [state for state, _ in found], atol=1e-2)
        # Of so few words all are compared.
        np.testing.assert_allclose(run.token_log_probabilities, every[-1], atol=1e-4)
        assert run.token_exact == VOCABULARY
    assert not [one for one in recwarn if "StabilityRecorder" in str(one.message)]
    cohort = st.read_runs(sorted(tmp_path.glob("*.safetensors")))
    assert (cohort.kind, cohort.seeds) == ("generation", ("0", "1"))
    p, q = (np.exp(one) for one in every)
    mean = (p + q) / 2
    divergence = ((p * np.log(p / mean)).sum(1) + (q * np.log(q / mean)).sum(1)) / 2
    assert divergence.mean() > 1e-4
    assert st.profile(cohort).last("jensen_shannon").value == pytest.approx(divergence.mean(), rel=1e-3)


def test_words_are_drawn_from_the_model_before_its_first_step_and_other_models_are_not_compared(tmp_path):
    config = LlamaConfig(**{**CONFIGS["llama"], "vocab_size": 300, "max_position_embeddings": 40})
    held_out = examples("llama:generation")
    for number, start in enumerate((0, 0, 1)):
        torch.manual_seed(start)
        model = LlamaForCausalLM(config).eval()
        before = [
            torch.tensor(log_softmax(states_and_logits(model, *parts(row))[1].astype(float), axis=1))
            for row in held_out
        ]
        model = record(script(model, held_out, tmp_path, number), tmp_path / f"{number}.safetensors")
        run = read_run(tmp_path / f"{number}.safetensors")
        drawn = [draw_candidates(one, example) for example, one in enumerate(before)]
        np.testing.assert_allclose(run.token_weights, np.concatenate([one[1] for one in drawn]), rtol=1e-3)
        after = [log_softmax(states_and_logits(model, *parts(row))[1].astype(float), axis=1) for row in held_out]
        expected = [np.take_along_axis(one, words.numpy(), 1) for one, (words, _) in zip(after, drawn, strict=True)]
        np.testing.assert_allclose(run.token_log_probabilities, np.concatenate(expected), atol=1e-4)
        assert run.token_exact == 128
    paths = [tmp_path / f"{number}.safetensors" for number in range(3)]
    assert st.read_runs(paths[:2]).token_weights.shape == (15, 256)
    with pytest.raises(UserError, match=says("2.safetensors", "token_weights")):
        st.read_runs(paths)


@pytest.mark.parametrize("name", NAMES)
def test_batches_change_nothing_and_another_label_does(name, tmp_path):
    held_out, model = examples(name), tiny_model(name)
    other = [{**row, "labels": [*row["labels"]]} for row in held_out]
    place = next(place for place, label in enumerate(other[3]["labels"]) if label != -100)
    other[3]["labels"][place] += 1
    found = []
    for number, (used, size) in enumerate(((held_out, 2), (held_out, 7), (other, 7))):
        path = tmp_path / f"{number}.safetensors"
        pieces = [trimmed(batch(used[start : start + size])) for start in range(0, len(used), size)]
        st.record_model(path, model, pieces, tokenizer=TOKENIZER, decoding=Decoding(max_new_tokens=3), position="mean")
        found.append(read_run(path))
    assert found[0].examples == found[1].examples != found[2].examples
    assert found[0].generations == found[1].generations
    np.testing.assert_allclose(found[0].target_log_probabilities, found[1].target_log_probabilities, atol=1e-4)
    np.testing.assert_allclose(found[0].representations, found[1].representations, atol=1e-2)
    assert found[0].token_log_probabilities is None


def trimmed(whole):
    """A batch padded to its longest input and its longest text."""
    width = int(whole["attention_mask"].sum(1).max())
    apart = whole["labels"].shape != whole["input_ids"].shape
    long = int((whole["labels"] != -100).sum(1).max()) if apart else width
    return {name: tensor[:, : long if name == "labels" else width] for name, tensor in whole.items()}


@pytest.mark.parametrize(
    ("change", "tokenizer", "said"),
    [
        (lambda labels: labels, None, says("tokenizer", "processing_class", "without texts")),
        (lambda labels: [5, *labels[1:]], TOKENIZER, says("example 0", "no prompt", "-100", "without texts")),
        (lambda labels: [-100, 5, -100, *labels[3:]], TOKENIZER, says("example 0", "several", "without texts")),
    ],
)
def test_what_has_no_texts_is_recorded_without_them_and_said(change, tokenizer, said, tmp_path):
    held_out = [{**row, "labels": change(row["labels"])} for row in examples("llama:generation")]
    trainer = script(tiny_model("llama:generation"), held_out, tmp_path, processing_class=tokenizer)
    with pytest.warns(UserWarning, match=said) as caught:
        record(trainer, tmp_path / "run.safetensors")
    assert len([one for one in caught if "StabilityRecorder" in str(one.message)]) == 1
    run = read_run(tmp_path / "run.safetensors")
    assert run.generations is run.references is None
    assert run.token_log_probabilities.shape == (run.token_counts.sum(), VOCABULARY)


def test_a_reference_ends_where_a_text_would(tmp_path):
    rows = [{**row, "labels": [-100] * 3 + [8, 9, END, 10, *[-100] * 4]} for row in examples("llama:generation")]
    rows = [{**row, "attention_mask": [1] * 7 + [0] * 4} for row in rows]
    model = tiny_model("llama:generation")
    run = read_run(st.record_model(tmp_path / "run.safetensors", model, [batch(rows)], tokenizer=TOKENIZER))
    assert list(run.references) == [TOKENIZER.decode([8, 9])] * 7
    assert run.token_counts.tolist() == [4] * 7


def test_a_model_that_is_not_finite_is_recorded_as_diverged(tmp_path):
    model = tiny_model("llama:generation")
    model.lm_head.weight.data.fill_(torch.nan)
    rows = batch(examples("llama:generation"))
    run = read_run(st.record_model(tmp_path / "run.safetensors", model, [rows], tokenizer=TOKENIZER))
    assert (run.status, run.kind) == ("diverged", "generation")
    assert "token 0" in run.reason


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: {name: rows[name] for name in ("input_ids", "attention_mask")}, says("'labels'")),
        (lambda rows: {**rows, "labels": rows["labels"][:, 1:]}, says("labels", "(7, 10)", "(7, 11)")),
        (lambda rows: {**rows, "labels": rows["labels"].masked_fill(rows["labels"] == END, 40)}, says("40", "resize")),
        (
            lambda rows: {**{n: rows[n] for n in ("input_ids", "labels")}, "position_ids": rows["input_ids"]},
            says("one row", "padding_free=False"),
        ),
        (lambda rows: (rows["input_ids"], rows["labels"]), says("input_ids", "record_run(generations=")),
    ],
)
def test_batches_that_are_not_of_texts_are_said(change, said, tmp_path):
    rows = change(batch(examples("llama:generation")))
    with pytest.raises(UserError, match=said):
        st.record_model(tmp_path / "run.safetensors", tiny_model("llama:generation"), [rows], tokenizer=TOKENIZER)


def test_a_kind_that_is_not_the_models_is_said(tmp_path):
    rows = batch(examples("llama:generation"))
    for model, kind, said in (
        (tiny_model("llama:generation"), "tokens", says("language model", "kind='tokens'")),
        (nn.Embedding(VOCABULARY, VOCABULARY), "generation", says("kind='generation'", "record_run(generations=")),
    ):
        with pytest.raises(UserError, match=said):
            st.record_model(tmp_path / "run.safetensors", model, [rows], kind=kind)


def test_a_training_that_is_resumed_has_no_words_to_compare(tmp_path):
    trainer = script(tiny_model("llama:generation"), examples("llama:generation"), tmp_path)
    recorder = st.StabilityRecorder(trainer, tmp_path / "run.safetensors")
    state = SimpleNamespace(is_world_process_zero=True, is_hyper_param_search=False, global_step=1)
    with pytest.warns(UserWarning, match=says("checkpoint", "distributions")):
        recorder.on_train_begin(trainer.args, state, None)
    recorder.on_train_end(trainer.args, state, None)
    run = read_run(tmp_path / "run.safetensors")
    assert len(run.generations) == 7
    assert run.token_log_probabilities is None


def test_texts_are_as_long_as_the_script_says(tmp_path):
    t5, llama = tiny_model("t5:generation"), tiny_model("llama:generation")
    arguments = SimpleNamespace(generation_max_length=8, generation_num_beams=3)
    # The token that the decoder starts with is one of the eight.
    assert decoding_of(t5, arguments) == Decoding(max_new_tokens=7, beams=3)
    assert decoding_of(llama, arguments) == Decoding(beams=3)
    llama.generation_config.max_new_tokens = 5
    assert decoding_of(llama) == Decoding(max_new_tokens=5)
    assert decoding_of(t5) == Decoding()
    rows = batch(examples("llama:generation"))
    run = read_run(st.record_model(tmp_path / "run.safetensors", llama, [rows], tokenizer=TOKENIZER))
    assert list(run.generations) == [greedy(llama.eval(), parts(row)[0]) for row in examples("llama:generation")]
    with pytest.raises(UserError, match=says("decoding", "Decoding(", "'beams'")):
        st.record_model(tmp_path / "run.safetensors", llama, [rows], decoding={"beams": 2})


class Restless(nn.Module):
    """Noise that no mode turns off."""

    def forward(self, states):
        return states + torch.randn_like(states)


def test_dropout_that_never_rests_is_said_of_language_models_as_well(tmp_path):
    model = tiny_model("llama:generation")
    model.model.norm = Restless()
    rows = [batch(examples("llama:generation"))]
    with pytest.warns(UserWarning, match=says("dropout", "training=self.training")) as caught:
        st.record_model(tmp_path / "run.safetensors", model, rows, tokenizer=TOKENIZER)
    assert caught[0].filename == __file__


def test_a_diverged_run_is_read_with_others_as_one_that_failed(tmp_path):
    rows = [batch(examples("llama:generation"))]
    for seed in range(3):
        model = tiny_model("llama:generation", seed)
        if seed == 2:
            model.lm_head.weight.data.fill_(torch.nan)
        st.record_model(tmp_path / f"{seed}.safetensors", model, rows, seed=seed, tokenizer=TOKENIZER, groups=range(7))
    cohort = st.read_runs(sorted(tmp_path.glob("*.safetensors")))
    assert cohort.seeds == ("0", "1")
    assert len(cohort.lost) == 1


def test_examples_that_are_others_after_the_training_are_said(tmp_path):
    held_out = examples("llama:generation")
    trainer = script(tiny_model("llama:generation"), held_out, tmp_path)
    recorder = st.StabilityRecorder(trainer, tmp_path / "run.safetensors")
    recorder.on_train_begin(trainer.args, trainer.state, None)
    recorder.dataset = held_out[:-1]
    with pytest.warns(UserWarning, match=says("6 examples", "7", "same")):
        recorder.on_train_end(trainer.args, trainer.state, None)
    recorder._failed, recorder.dataset = False, held_out[1:] + held_out[:1]
    with pytest.warns(UserWarning, match=says("example 0", "target tokens")):
        recorder.on_train_end(trainer.args, trainer.state, None)
