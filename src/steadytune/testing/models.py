"""Tiny randomly initialised models of every architecture, and examples to train them on.

A name is an architecture for a classifier, with "+lora" one in PEFT's wrapper, and with ":generation" or ":tokens" a
model of another kind of task.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import AutoConfig, AutoModelForSequenceClassification

from steadytune.kinds import KINDS

VOCABULARY = 40
PAD, START, END = 0, 2, 3

_SMALL: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
_SPECIAL = {"pad_token_id": PAD, "bos_token_id": START, "eos_token_id": END}
_DECODER = {**_SMALL, **_SPECIAL, "num_key_value_heads": 2}
CONFIGS: dict[str, dict[str, Any]] = {
    "bert": _SMALL,
    "roberta": {**_SMALL, **_SPECIAL},
    "distilbert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32},
    "electra": {**_SMALL, "embedding_size": 8},
    "albert": {**_SMALL, "embedding_size": 8},
    "deberta-v2": {**_SMALL, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "norm_rel_ebd": "layer_norm"},
    "modernbert": {**_SMALL, **_SPECIAL, "cls_token_id": START, "sep_token_id": END},
    "t5": {
        "d_model": 16,
        "d_kv": 8,
        "d_ff": 32,
        "num_layers": 2,
        "num_heads": 2,
        "decoder_start_token_id": PAD,
        **_SPECIAL,
    },
    "bart": {
        "d_model": 16,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 32,
        "decoder_ffn_dim": 32,
        "decoder_start_token_id": START,
        "init_std": 0.2,
        **_SPECIAL,
    },
    "llama": _DECODER,
    "qwen2": {**_DECODER, "tie_word_embeddings": True},
}
LORA = [f"{name}+lora" for name in ("bert", "roberta", "llama")]
ALL = [*CONFIGS, *LORA]
PER_TOKEN = [f"{name}:generation" for name in ("t5", "bart", "llama", "qwen2")] + ["bert:tokens"]
"""Names of models for kinds of task whose labels are per token. The last layer of all writers but Llama is tied."""


def tiny_model(name: str, seed: int = 0, dropout: bool = True) -> Any:
    """Create a model by a name in `ALL` or `PER_TOKEN`; for the arguments see `tiny_classifier`."""
    architecture, _, kind = name.partition(":")
    if not kind:
        return tiny_classifier(name, seed, dropout=dropout)
    config = _config(architecture, dropout, num_labels=_TAGS)
    auto = KINDS[kind].auto_model(bool(config.is_encoder_decoder))
    return _from_config(getattr(transformers, auto), config, seed)


def tiny_classifier(name: str, seed: int = 0, num_labels: int = 2, dropout: bool = True) -> Any:
    """Create a classifier of an architecture, or with "+lora" in PEFT's wrapper.

    Args:
        name: A name in `ALL`.
        seed: Seed of its weights; the global random state is preserved.
        num_labels: Number of outputs.
        dropout: Whether to keep the dropout of its architecture.
    """
    architecture, _, wrapper = name.partition("+")
    config = _config(architecture, dropout, num_labels)
    return _from_config(AutoModelForSequenceClassification, config, seed, _with_lora if wrapper else None)


def _config(architecture: str, dropout: bool, num_labels: int) -> Any:
    options: dict[str, Any] = {"vocab_size": VOCABULARY, "initializer_range": 0.2, **CONFIGS[architecture]}
    if architecture != "t5":
        options["max_position_embeddings"] = 40
    if not dropout:
        rates = AutoConfig.for_model(architecture, **options).to_dict()
        options |= {key: 0.0 for key, rate in rates.items() if "dropout" in key and isinstance(rate, float)}
    return AutoConfig.for_model(architecture, num_labels=num_labels, **options)


def _from_config(auto: Any, config: Any, seed: int, wrap: Callable[[Any], Any] | None = None) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = auto.from_config(config, attn_implementation="eager")
        return wrap(model) if wrap else model


def _with_lora(model: Any) -> Any:
    from peft import LoraConfig, TaskType, get_peft_model

    return get_peft_model(model, LoraConfig(task_type=TaskType.SEQ_CLS, r=2, lora_alpha=4))


def rows(count: int = 16, classes: int = 2, seed: int = 0) -> list[dict[str, Any]]:
    """Create examples that reveal their class in the first and the next-to-last token, where models read.

    Each ends with the token that encoder-decoders expect.
    """
    generator = torch.Generator().manual_seed(seed)
    made: list[dict[str, Any]] = []
    for n in range(count):
        label = n % classes
        words = torch.randint(10, VOCABULARY, (5,), generator=generator).tolist()
        made.append({"input_ids": [4 + label, *words, 4 + label, END], "attention_mask": [1] * 8, "labels": label})
    return made


_TAGS = 3
_NO_LABEL = -100


def rows_for(name: str, count: int = 16) -> list[dict[str, Any]]:
    """Create examples for a model by its name, of equal length; of tokens some are padding or have no label."""
    architecture, _, kind = name.partition(":")
    if not kind:
        return rows(count)
    texts, reads_apart = KINDS[kind].has_texts, architecture in ("t5", "bart")
    made = []
    for n, row in enumerate(rows(count)):
        padding = n % 3  # after the text, which shortens what is written by as much
        text = row["input_ids"][: 8 - padding]
        written = [4 + n % 2, 6 + n % 2, END][padding:]
        labels = [token % _TAGS for token in text]
        labels[0] = _NO_LABEL
        if texts and not reads_apart:
            text = [*text, *written]
            labels = [_NO_LABEL] * (8 - padding) + written
        elif texts:
            labels = written
        length = 11 if texts and not reads_apart else 8
        made.append(
            {
                "input_ids": text + [PAD] * (length - len(text)),
                "attention_mask": [1] * len(text) + [0] * (length - len(text)),
                "labels": labels + [_NO_LABEL] * ((3 if reads_apart else length) - len(labels)),
            }
        )
    return made


def batch(examples: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
    """Return one batch of such rows, as made by a collator."""
    return {name: torch.tensor([row[name] for row in examples]) for name in examples[0]}


def letter_tokenizer(start: bool = False, end: bool = False) -> Any:
    """Create a tokenizer with one token per byte, so that tokens are counted by reading.

    Args:
        start: Whether a text begins with the token "<s>", as for Llama.
        end: Whether a text ends with the token "</s>", as for T5.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<unk>", "<s>", "</s>"]
    letters = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    whole = Tokenizer(models.BPE({letter: number for number, letter in enumerate(letters)}, [], unk_token="<unk>"))
    whole.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    whole.decoder = decoders.ByteLevel()
    whole.post_processor = processors.TemplateProcessing(
        single=" ".join(["<s>"] * start + ["$A"] + ["</s>"] * end), special_tokens=[("<s>", START), ("</s>", END)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=whole, pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )
