"""Prompts and completions as rows: with one token per byte, so that every expectation is read off the text."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from saying import says

from steadytune.errors import UserError
from steadytune.kinds import KINDS
from steadytune.kinds.encoding import IGNORED
from steadytune.tasks.base import Examples
from steadytune.testing.models import END, PAD, START, letter_tokenizer

GENERATION = KINDS["generation"]
CHATML = (
    "{% for message in messages %}<{{ message.role }}>{{ message.content }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def examples(*pairs, parts=None):
    labels = np.fromiter(((one,) if isinstance(one, str) else one for _, one in pairs), dtype=object)
    return Examples(tuple(((prompt, None),) for prompt, _ in pairs), labels, parts=parts)


def encoded(*pairs, tokenizer=None, limit=100, seq2seq=False, parts=None):
    return GENERATION.encode(examples(*pairs, parts=parts), tokenizer or letter_tokenizer(), limit, seq2seq)


def read(tokenizer, ids):
    return tokenizer.decode([one for one in ids if one != IGNORED])


@pytest.mark.parametrize(
    ("prompt", "target", "between"),
    [("ask", "say", "\n"), ("ask ", "say", ""), ("ask\n", "say", ""), ("ask", " say", ""), ("ask", "\nsay", "")],
)
def test_a_causal_model_reads_both_and_is_asked_for_the_text_alone(prompt, target, between):
    tokenizer = letter_tokenizer(start=True, end=True)
    (row,), over = encoded((prompt, target), tokenizer=tokenizer)

    assert read(tokenizer, row["inputs"][0]["input_ids"]) == f"<s>{prompt}{between}{target}</s>"
    assert row["inputs"][0]["attention_mask"] == [1] * len(row["inputs"][0]["input_ids"])
    assert read(tokenizer, row["labels"]) == f"{target}</s>"
    assert row["labels"][: len(row["prompt"])] == [IGNORED] * len(row["prompt"])
    assert row["prompt"] + row["labels"][len(row["prompt"]) :] == row["inputs"][0]["input_ids"]
    assert read(tokenizer, row["prompt"]) == f"<s>{prompt}{between}"
    assert over.tolist() == [False]


def test_an_encoder_decoder_reads_the_prompt_as_its_tokenizer_writes_it():
    tokenizer = letter_tokenizer(end=True)
    (row,), _ = encoded(("ask", "say"), tokenizer=tokenizer, seq2seq=True)

    assert row["prompt"] == row["inputs"][0]["input_ids"]
    assert read(tokenizer, row["prompt"]) == "ask</s>"
    assert read(tokenizer, row["labels"]) == "say</s>"


def test_the_first_accepted_text_is_trained_on():
    tokenizer = letter_tokenizer()
    (row,), _ = encoded(("ask", ("one", "two")), tokenizer=tokenizer)

    assert read(tokenizer, row["labels"]) == "one</s>"


def trained_on(row):
    """Return the prompt as it is read in training."""
    ids, labels = row["inputs"][0]["input_ids"], row["labels"]
    return [one for one, label in zip(ids, labels, strict=True) if label == IGNORED] if IGNORED in labels else ids


def test_a_model_goes_on_from_a_prompt_that_does_not_depend_on_the_right_text():
    tokenizer = letter_tokenizer(start=True)
    rows, _ = encoded(("abcdefg ", "x"), ("abcdefg ", "tuvwxyz"), ("abcdefghij ", "tuv"), tokenizer=tokenizer, limit=10)
    assert [read(tokenizer, row["prompt"]) for row in rows] == ["<s>abcdefg ", "<s>abcdefg ", "<s>cdefghij "]


# One token begins the input; the limit is 10.
@pytest.mark.parametrize(
    ("prompt", "target", "kept", "said", "cut"),
    [
        ("abcde ", "xy", "<s>abcde ", "xy</s>", False),
        ("abcdef ", "xy", "<s>bcdef ", "xy</s>", True),
        ("abcdefghij ", "x", "<s>efghij ", "x</s>", True),
        ("a ", "tuvwxy", "<s>a ", "tuvwxy</s>", False),
        ("a ", "tuvwxyz", "<s>a ", "tuvwxyz", True),
        ("abcdefg ", "tuvwxyz", "<s>efg ", "tuvwx", True),
    ],
)
def test_a_prompt_loses_its_beginning_and_a_text_its_end(prompt, target, kept, said, cut):
    tokenizer = letter_tokenizer(start=True)
    (row,), over = encoded((prompt, target), tokenizer=tokenizer, limit=10)

    assert (read(tokenizer, trained_on(row)), read(tokenizer, row["labels"])) == (kept, said)
    assert over.tolist() == [cut]


def test_an_encoder_decoder_cuts_each_to_the_limit():
    tokenizer = letter_tokenizer(start=True, end=True)
    (long, short), over = encoded(("abcdefg", "tuvwxyz"), ("a", "b"), tokenizer=tokenizer, limit=5, seq2seq=True)

    assert (read(tokenizer, long["prompt"]), read(tokenizer, long["labels"])) == ("<s>efg</s>", "tuvwx")
    assert (read(tokenizer, short["prompt"]), read(tokenizer, short["labels"])) == ("<s>a</s>", "b</s>")
    assert over.tolist() == [True, False]


@given(
    st.lists(st.tuples(st.text("ab \n", min_size=1, max_size=12), st.text("xyz", min_size=1, max_size=12)), min_size=1),
    st.integers(4, 30),
    st.booleans(),
    st.booleans(),
)
def test_rows_fit_the_limit_and_say_when_something_is_missing(pairs, limit, start, seq2seq):
    tokenizer = letter_tokenizer(start=start)
    rows, over = encoded(*pairs, tokenizer=tokenizer, limit=limit, seq2seq=seq2seq)

    for (prompt, target), row, cut in zip(pairs, rows, over.tolist(), strict=True):
        ids, said = row["inputs"][0]["input_ids"], [one for one in row["labels"] if one != IGNORED]
        assert len(ids) <= limit
        assert len(said) <= limit
        assert len(row["prompt"]) >= min(limit // 2, len(prompt) + start)
        assert not start or row["prompt"][0] == START
        whole = "<s>" * start + prompt, target + "</s>"
        got = read(tokenizer, ids if seq2seq else trained_on(row)), read(tokenizer, said)
        between = "" if seq2seq or prompt[-1].isspace() else "\n"
        assert cut == (got != (whole[0] + between, whole[1]))
        assert whole[1].startswith(got[1])
        assert (whole[0] + between).endswith(got[0].removeprefix("<s>"))


def test_a_batch_is_padded_on_the_right_and_padding_is_not_asked_for():
    tokenizer = letter_tokenizer()
    rows, _ = encoded(("a ", "xyz"), ("abcdefg ", "x"), tokenizer=tokenizer)
    batch = GENERATION.collate(rows, tokenizer)

    assert batch["input_ids"].shape == batch["labels"].shape == batch["attention_mask"].shape == (2, 10)
    assert batch["input_ids"][0, 6:].tolist() == [PAD] * 4
    assert batch["labels"][0, 6:].tolist() == [IGNORED] * 4
    assert [read(tokenizer, one.tolist()) for one in batch["labels"]] == ["xyz</s>", "x</s>"]
    asked = batch["labels"] != IGNORED
    assert torch.equal(batch["labels"][asked], batch["input_ids"][asked])


def test_a_padding_token_that_ends_texts_as_well_is_asked_for_where_it_ends_one():
    tokenizer = letter_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    rows, _ = encoded(("a ", "xy"), ("ab ", "vwxyz"), tokenizer=tokenizer)
    labels = GENERATION.collate(rows, tokenizer)["labels"]

    assert (labels == END).sum(dim=1).tolist() == [1, 1]


def test_an_encoder_decoder_has_labels_of_their_own_length():
    tokenizer = letter_tokenizer(end=True)
    rows, _ = encoded(("abcdef", "x"), ("a", "xyz"), tokenizer=tokenizer, seq2seq=True)
    batch = GENERATION.collate(rows, tokenizer)

    assert batch["input_ids"].shape == (2, 7)
    assert batch["labels"].shape == (2, 4)
    assert batch["labels"][0, 2:].tolist() == [IGNORED] * 2


def test_a_chat_is_read_as_its_template_writes_it():
    tokenizer = letter_tokenizer(start=True)
    tokenizer.chat_template = CHATML
    chat = (("system", "s"), ("user", "u"))
    (row,), _ = encoded(("shown", "x"), tokenizer=tokenizer, parts=(chat,))

    whole = tokenizer.apply_chat_template(
        [{"role": role, "content": content} for role, content in chat], add_generation_prompt=True, return_dict=False
    )
    assert row["prompt"] == whole
    assert read(tokenizer, row["prompt"]) == "<system>s<user>u<assistant>"
    assert read(tokenizer, row["labels"]) == "x</s>"


@pytest.mark.parametrize("template", [None, "{{ raise_exception('users and assistants take turns') }}"])
def test_a_chat_that_a_tokenizer_cannot_write_is_refused_in_a_line(template):
    tokenizer = letter_tokenizer()
    tokenizer.chat_template = template

    with pytest.raises(UserError, match=says("template", "take turns" if template else "chats")) as refused:
        encoded(("shown", "x"), tokenizer=tokenizer, parts=((("user", "u"),),))
    assert "\n" not in str(refused.value)


def test_a_tokenizer_that_ends_no_text_is_refused():
    tokenizer = letter_tokenizer()
    tokenizer.eos_token = None

    with pytest.raises(UserError, match=says("end-of-text", "eos_token")):
        encoded(("a", "b"), tokenizer=tokenizer)


def test_the_model_is_a_language_model_whose_last_layer_is_its_own():
    assert GENERATION.auto_model(seq2seq=False) == "AutoModelForCausalLM"
    assert GENERATION.auto_model(seq2seq=True) == "AutoModelForSeq2SeqLM"
    assert not GENERATION.new_head
