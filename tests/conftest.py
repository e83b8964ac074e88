"""A model and a task small enough that a run takes a fraction of a second, real enough to go through every library."""

import gc
import json
import os
import random

# Before any library reads them. One thread per process: the tests share few processors with other work.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
from hypothesis import HealthCheck, settings

# A statement about numbers is not wrong because the machine is busy: neither how long an example takes nor how long it
# takes to draw one is looked at.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

_NAMES = [
    "anna",
    "ben",
    "clara",
    "david",
    "emma",
    "felix",
    "greta",
    "hugo",
    "ida",
    "jonas",
    "karla",
    "leo",
    "mara",
    "nils",
    "olga",
    "paul",
]
_VERBS = [
    "likes",
    "sees",
    "knows",
    "finds",
    "greets",
    "hears",
    "helps",
    "meets",
    "needs",
    "reads",
    "sells",
    "takes",
    "wants",
]
_GOOD = [
    "bright",
    "calm",
    "clean",
    "clever",
    "fair",
    "fine",
    "gentle",
    "glad",
    "good",
    "great",
    "happy",
    "kind",
    "lovely",
    "nice",
    "warm",
]
_BAD = [
    "awful",
    "bad",
    "bitter",
    "broken",
    "cold",
    "cruel",
    "dark",
    "dirty",
    "dull",
    "foul",
    "grim",
    "harsh",
    "mean",
    "rude",
    "sad",
]
_THINGS = [
    "apple",
    "boat",
    "book",
    "chair",
    "cup",
    "dog",
    "door",
    "garden",
    "hat",
    "house",
    "lamp",
    "letter",
    "map",
    "pen",
    "road",
    "song",
    "table",
    "tree",
]
_OTHER = [
    "a",
    "and",
    "at",
    "by",
    "for",
    "in",
    "is",
    "it",
    "of",
    "on",
    "or",
    "our",
    "the",
    "their",
    "this",
    "to",
    "very",
    "with",
]
_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_LETTERS = "abcdefghijklmnopqrstuvwxyz.,"


def _sentence(rng: random.Random, label: int) -> str:
    # Few adjectives, so that 40 sentences show each of them many times.
    adjective = rng.choice((_BAD, _GOOD)[label][:2])
    return f"{rng.choice(_NAMES)} {rng.choice(_VERBS)} the {adjective} {rng.choice(_THINGS)}"


def _rows(rng: random.Random, count: int) -> list[dict[str, object]]:
    # Three to two: the majority class is known, and always answering it does not pass for learning.
    labels = [int(n % 5 < 3) for n in range(count)]
    return [{"sentence": _sentence(rng, label), "label": label} for label in labels]


# Folders whose tests train, start processes or a browser: `make test-fast` leaves them out, as it does what is slow.
_SLOW = {"training", "trainers", "stabilizers", "sweep", "cli", "theory", "reporting", "examples"}


def pytest_ignore_collect(collection_path, config):
    # Reading them imports every library, which takes as long as the tests that are left.
    return True if config.option.markexpr == "not slow" and collection_path.name in _SLOW else None


def pytest_collection_modifyitems(items):
    for item in items:
        if _SLOW & set(item.path.parts):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session", autouse=True)
def _imported_code_is_not_searched_for_garbage():
    """The Trainer collects garbage at each start: among all that is imported that takes longer than a tiny training."""
    gc.freeze()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """Folder of a two-layer BERT with random weights and a WordPiece tokenizer of about 200 tokens."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    words = [*_NAMES, *_VERBS, *_GOOD, *_BAD, *_THINGS, *_OTHER]
    tokens = [*_SPECIAL, *_LETTERS, *(f"##{letter}" for letter in _LETTERS), *dict.fromkeys(words)]
    tokens = list(dict.fromkeys(tokens))
    folder = tmp_path_factory.mktemp("models") / "tiny-bert"
    folder.mkdir()
    BertTokenizerFast(vocab={token: n for n, token in enumerate(tokens)}, model_max_length=64).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(tokens),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        # Wider than usual: random features of 16 dimensions must tell words apart.
        initializer_range=0.2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_task(tmp_path_factory):
    """Folder with 40 training and 24 validation sentences; an adjective decides the label."""
    folder = tmp_path_factory.mktemp("tasks") / "adjectives"
    folder.mkdir()
    rng = random.Random(0)
    for name, count in (("train", 40), ("validation", 24)):
        lines = [json.dumps(row) + "\n" for row in _rows(rng, count)]
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder
