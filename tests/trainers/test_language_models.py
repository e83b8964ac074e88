"""Language models: T5 in Seq2SeqTrainer, which generates to evaluate, and TRL's SFTTrainer with and without LoRA."""

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from saying import says
from somebodys import CNGC, SWA, Script, check_plain, check_recorded, check_stabilized
from transformers import (
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    LlamaConfig,
    LlamaForCausalLM,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    T5Config,
    T5ForConditionalGeneration,
)
from trl import SFTConfig, SFTTrainer

import steadytune as st
from steadytune.decoding import Decoding
from steadytune.errors import UserError
from steadytune.testing.models import CONFIGS, VOCABULARY, rows

LORA = LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
TEXTS = ["anna likes the glad apple", "ben sees the awful boat", "emma hears a song", "hugo finds the lamp"]


@pytest.fixture
def tokenizer(tiny_model):
    made = AutoTokenizer.from_pretrained(tiny_model)
    made.eos_token = "[SEP]"
    return made


@pytest.fixture
def seq2seq(tokenizer):
    """Copy the middle of the input; labels are of different lengths."""

    def made(count, seed):
        texts = rows(count, seed=seed)
        return [
            {"input_ids": row["input_ids"], "attention_mask": row["attention_mask"], "labels": row["input_ids"][1:end]}
            for end, row in zip([4, 6, 7, 5] * count, texts, strict=False)
        ]

    return Script(
        lambda: T5ForConditionalGeneration(T5Config(vocab_size=VOCABULARY, **CONFIGS["t5"])),
        made(16, 0),
        made(8, 1),
        trainer=Seq2SeqTrainer,
        arguments=Seq2SeqTrainingArguments,
        options={
            "data_collator": DataCollatorForSeq2Seq(tokenizer),
            "compute_metrics": lambda found: {"length": float(found.predictions.shape[1])},
        },
        settings={"predict_with_generate": True, "generation_max_length": 8},
    )


def sft(tokenizer, **options):
    settings = {"max_length": 16, "bf16": False, **options.pop("settings", {})}
    config = LlamaConfig(**{**CONFIGS["llama"], "vocab_size": len(tokenizer), "max_position_embeddings": 40})
    return Script(
        lambda: LlamaForCausalLM(config),
        Dataset.from_dict({"text": TEXTS * 4}),
        Dataset.from_dict({"text": TEXTS}),
        trainer=SFTTrainer,
        arguments=SFTConfig,
        options={"processing_class": tokenizer, **options},
        settings=settings,
    )


def test_seq2seq_without_stabilizers_is_plain_and_generates(seq2seq, tmp_path):
    check_plain(seq2seq, tmp_path)


@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize("method", ["l2_sp", "mixout", "wd_pre", "ema", SWA, "llrd", "neftune", "freelb"])
def test_methods_serve_seq2seq(method, passes, seq2seq, tmp_path):
    seq2seq.settings |= {"gradient_accumulation_steps": passes, "max_steps": 2}
    check_stabilized(seq2seq, tmp_path, method)


PASSES = {"optim": "sgd", "max_grad_norm": 0.0, "eval_strategy": "no", "max_steps": 2}


def trained(script, cls, folder, **settings):
    script.settings |= {**PASSES, **settings}
    trainer = script.make(cls, folder, **({"stabilizers": [st.EMA(decay=0.0)]} if cls is not script.trainer else {}))
    trainer.train()
    return torch.cat([weight.detach().flatten() for weight in trainer.model.parameters()])


def test_every_token_of_a_step_counts_alike_in_however_many_passes(seq2seq, tmp_path):
    config = T5Config(vocab_size=VOCABULARY, dropout_rate=0.0, **CONFIGS["t5"])
    seq2seq.model = lambda: T5ForConditionalGeneration(config)
    cls = st.stabilized(Seq2SeqTrainer)
    whole = trained(seq2seq, cls, tmp_path, per_device_train_batch_size=4)
    passes = trained(seq2seq, cls, tmp_path, per_device_train_batch_size=1, gradient_accumulation_steps=4)
    assert torch.allclose(whole, passes, rtol=1e-4, atol=1e-6)


def test_in_passes_the_loss_is_that_of_the_plain_trainer_where_the_model_heeds_its_count(tokenizer, tmp_path):
    passes = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4}
    plain = trained(sft(tokenizer), SFTTrainer, tmp_path, **passes)
    assert torch.allclose(trained(sft(tokenizer), st.stabilized(SFTTrainer), tmp_path, **passes), plain, atol=1e-6)


def test_a_seq2seq_run_is_recorded_with_its_texts_and_the_training_is_the_same(seq2seq, tmp_path):
    run, said = check_recorded(seq2seq, tmp_path)
    assert said == []
    assert run.kind == "generation"
    assert len(run.generations) == 8
    assert run.token_counts.tolist() == [len(row["labels"]) for row in seq2seq.held_out]
    assert run.references[0] == seq2seq.options["data_collator"].tokenizer.decode(seq2seq.held_out[0]["labels"])
    assert run.token_log_probabilities.shape == (run.token_counts.sum(), VOCABULARY)


@pytest.mark.parametrize("adapter", [None, LORA])
def test_sft_without_stabilizers_is_plain(adapter, tokenizer, tmp_path):
    check_plain(sft(tokenizer, peft_config=adapter), tmp_path)


@pytest.mark.parametrize("method", ["l2_sp", "mixout", "wd_pre", "ema", SWA, "llrd", "neftune", "freelb"])
def test_methods_serve_sft(method, tokenizer, tmp_path):
    check_stabilized(sft(tokenizer), tmp_path, method)


@pytest.mark.parametrize("method", ["ema", SWA, "neftune", "freelb", CNGC, "hype"])
def test_methods_that_need_no_trained_encoder_serve_adapters(method, tokenizer, tmp_path):
    check_stabilized(sft(tokenizer, peft_config=LORA), tmp_path, method)


@pytest.mark.parametrize("method", ["l2_sp", "wd_pre", "mixout"])
def test_what_acts_on_pretrained_weights_is_refused_at_once_where_they_are_frozen(method, tokenizer, tmp_path):
    with pytest.raises(UserError, match=says(method)):
        check_stabilized(sft(tokenizer, peft_config=LORA), tmp_path, method)


def test_a_method_that_reads_outputs_is_refused_for_a_loss_that_sft_computes_without_any(tokenizer, tmp_path):
    with pytest.raises(UserError, match=says("logits", "l2_sp")):
        check_stabilized(sft(tokenizer), tmp_path, "smart")


@pytest.mark.parametrize("adapter", [None, LORA])
def test_an_sft_run_on_whole_texts_is_recorded_without_texts_and_says_why(adapter, tokenizer, tmp_path):
    run, said = check_recorded(sft(tokenizer, peft_config=adapter), tmp_path)
    assert len(said) == 1
    assert "no prompt" in said[0]
    assert run.generations is None
    assert run.token_log_probabilities.shape == (run.token_counts.sum(), len(tokenizer))


@pytest.mark.parametrize("adapter", [None, LORA])
def test_an_sft_run_of_prompts_and_completions_is_recorded_with_its_texts(adapter, tokenizer, tmp_path):
    made = sft(tokenizer, peft_config=adapter)
    made.train = made.held_out = Dataset.from_dict(
        {"prompt": TEXTS, "completion": [f" {text}" for text in TEXTS[::-1]]}
    )
    run, said = check_recorded(made, tmp_path, decoding=Decoding(max_new_tokens=4))
    assert said == []
    assert [text.split() for text in run.references] == [text.split() for text in TEXTS[::-1]]
    assert len(run.generations) == 4
