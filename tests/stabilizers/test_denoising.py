"""What T5 and BART are pre-trained on, of which surt makes batches."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from saying import says

from steadytune.errors import UserError
from steadytune.stabilizers.denoising import Denoising, damage_of, infilling, span_corruption
from steadytune.testing.models import END, PAD, letter_tokenizer

FIRST, MASK = 1000, 999
SENTINELS = list(range(FIRST, FIRST + 100))
LENGTHS, SEEDS = st.integers(0, 700), st.integers(0, 1000)


def spans(size, seed, sentinels=SENTINELS):
    return span_corruption(list(range(size)), [-1], [-2], sentinels, np.random.default_rng(seed))


def filled(size, seed, share=0.3, mean=3.0):
    return infilling(list(range(size)), [-1], [-2], MASK, np.random.default_rng(seed), share, mean)


def triples(pair):
    read = [*pair[0][:-1], 10]
    return zip(read, read[1:], read[2:], strict=False)


def with_sentinels(count=10):
    tokenizer = letter_tokenizer(start=True, end=True)
    tokenizer.add_special_tokens({"additional_special_tokens": [f"<extra_id_{n}>" for n in range(count)]})
    return tokenizer


def restored(read, written):
    """Put what stands after each sentinel in its place."""
    lost = {}
    for token in written[:-1]:
        if token >= FIRST:
            current = lost.setdefault(token, [])
        else:
            current.append(token)
    return [one for token in read for one in (lost[token] if token >= FIRST else [token])]


@given(LENGTHS, SEEDS, st.sampled_from([2, 5, 100]))
def test_a_text_is_restored_from_what_is_read_and_what_is_written(size, seed, count):
    read, written = spans(size, seed, SENTINELS[:count])

    assert restored(read, written) == [-1, *range(size), -2]


@given(st.integers(2, 700), SEEDS)
def test_15_per_cent_are_lost_in_spans_of_three_that_do_not_touch(size, seed):
    read, written = spans(size, seed)
    marks = [token for token in read if token >= FIRST]

    lost = max(1, round(0.15 * size))
    assert len(read) - len(marks) - 2 == size - lost
    assert marks == SENTINELS[: max(1, round(lost / 3))]
    assert [token for token in written if token >= FIRST] == SENTINELS[: len(marks) + 1]
    assert written[-2:] == [SENTINELS[len(marks)], -2]
    assert all(one < FIRST or other < FIRST for one, other in pairwise(read))
    assert all(one < FIRST or other < FIRST for one, other in pairwise(written))


def test_the_example_of_the_paper():
    # "Thank you for inviting me to your party last week", of which two tokens are lost in one span.
    read, written = span_corruption(list(range(10)), [], [-2], SENTINELS, np.random.default_rng(0))

    (place,) = [at for at, token in enumerate(read) if token == FIRST]
    assert read == [*range(place), FIRST, *range(place + 2, 10), -2]
    assert written == [FIRST, place, place + 1, FIRST + 1, -2]


def test_a_span_lies_anywhere_with_equal_probability():
    draws = 6000
    starts = [spans(20, seed)[0].index(FIRST) - 1 for seed in range(draws)]
    counts = np.bincount(starts, minlength=18)

    # Three of twenty tokens have 18 places.
    assert len(counts) == 18
    assert np.abs(counts - draws / 18).max() < 4.5 * np.sqrt(draws / 18)


@given(LENGTHS, SEEDS)
def test_bart_writes_the_whole_text_and_reads_masks_where_something_is_missing(size, seed):
    read, written = filled(size, seed)

    assert written == [-1, *range(size), -2]
    kept = [token for token in read if token != MASK]
    assert len(kept) - 2 == size - (max(1, round(0.3 * size)) if size else 0)
    assert kept == [-1, *sorted(kept[1:-1]), -2]
    before, marked = -1, False
    for token in [*read[1:-1], size]:
        if token == MASK:
            marked = True
        else:
            assert token == before + 1 or marked
            before, marked = token, False


def test_the_lengths_of_bart_are_poisson_with_masks_that_stand_for_nothing():
    masks = [sum(token == MASK for token in filled(1000, seed)[0]) for seed in range(200)]
    # 300 tokens in spans of 3 on average, the last one cut short.
    assert np.mean(masks) == pytest.approx(100, rel=0.03)
    alone = sum(
        one == MASK and other - before == 1 for seed in range(500) for before, one, other in triples(filled(10, seed))
    )
    assert alone > 0


def test_batches_are_padded_special_tokens_stay_and_every_pass_damages_anew():
    tokenizer = with_sentinels()
    rows = [{"input_ids": tokenizer(text)["input_ids"]} for text in ("the cat sat on the mat", "a dog")]
    make = Denoising(damage_of("t5", tokenizer), tokenizer, seed=3)
    batch, again = make(rows), make(rows)

    assert batch["input_ids"].shape == batch["attention_mask"].shape
    for row, padded, mask, labels in zip(rows, *(batch[name].tolist() for name in batch), strict=True):
        read = [token for token, seen in zip(padded, mask, strict=True) if seen]
        written = [token for token in labels if token != -100]
        first = tokenizer.convert_tokens_to_ids("<extra_id_0>")
        shifted = [[token + FIRST if token >= first else token for token in side] for side in (read, written)]
        assert restored(*shifted) == row["input_ids"]
        assert (read[0], read[-1], written[-1]) == (row["input_ids"][0], END, END)
        assert labels == written + [-100] * (len(labels) - len(written))
    assert batch["input_ids"][1, -1] == PAD
    assert batch["input_ids"].tolist() != again["input_ids"].tolist()
    same = Denoising(damage_of("t5", tokenizer), tokenizer, seed=3)(rows)
    assert {name: same[name].tolist() for name in same} == {name: batch[name].tolist() for name in batch}


def test_the_sentinels_of_mt5_are_spelled_with_a_space_and_no_part_of_a_text():
    tokenizer = letter_tokenizer(start=True, end=True)
    tokenizer.add_tokens([f"\N{LOWER ONE EIGHTH BLOCK}<extra_id_{n}>" for n in (1, 0)])
    one, zero = sorted(tokenizer.get_added_vocab().values())[-2:]
    assert zero not in tokenizer.all_special_ids
    # Those that were added beside them have no trained embeddings.
    tokenizer.add_tokens([f"<extra_id_{n}>" for n in range(2)])
    row = [*tokenizer("a dog")["input_ids"][:-1], zero]

    batch = Denoising(damage_of("mt5", tokenizer), tokenizer, seed=0)([{"input_ids": row}])

    (read,), (written,) = batch["input_ids"].tolist(), batch["labels"].tolist()
    assert [token for token in written if token in (zero, one)] == [zero, one, zero]
    assert read[-1] == written[-1] == zero
    assert read.count(zero) == 2


def test_bart_reads_its_tokenizers_mask():
    tokenizer = letter_tokenizer(start=True, end=True)
    tokenizer.add_special_tokens({"mask_token": "<mask>"})
    row = tokenizer("the cat sat on the mat")["input_ids"]

    batch = Denoising(damage_of("bart", tokenizer), tokenizer, seed=0)([{"input_ids": row}])

    assert batch["labels"].tolist() == [row]
    assert tokenizer.mask_token_id in batch["input_ids"][0]


@pytest.mark.parametrize(("name", "word"), [("t5", "<extra_id_0>"), ("bart", "mask")])
def test_a_tokenizer_without_marks_is_refused(name, word):
    with pytest.raises(UserError, match=says("surt", name, word)):
        damage_of(name, letter_tokenizer())
