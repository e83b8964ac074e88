"""Runs of which one lacks examples that others have, or has them in another order."""

import json

import numpy as np
import pandas as pd
import pytest
from saying import names, says

import steadytune as st
from steadytune.errors import UserError

ROWS = 30
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 2, ROWS)
PREDICTED = np.where(RNG.random((3, ROWS)) < 0.8, LABELS, 1 - LABELS)
NAMES = np.array([f"x{at}" for at in range(ROWS)])


def write(folder, rows_of, **columns):
    for run in range(3):
        rows = np.array(rows_of(run))
        frame = pd.DataFrame({"label": LABELS[rows], "prediction": PREDICTED[run][rows]})
        for name, values in columns.items():
            frame[name] = values(rows) if callable(values) else np.asarray(values)[rows]
        frame.to_json(folder / f"s{run}.jsonl", orient="records", lines=True)
    return folder


@pytest.mark.parametrize("turned", [1, -1])
def test_examples_that_a_run_lacks_are_left_aside_and_named(tmp_path, turned):
    kept = [at for at in range(ROWS) if at not in (4, 11)]
    cohort = st.read_runs(write(tmp_path, lambda run: kept[::turned] if run == 1 else range(ROWS), id=NAMES))
    np.testing.assert_array_equal(cohort.predictions, PREDICTED[:, kept])
    np.testing.assert_array_equal(cohort.labels, LABELS[kept])
    assert any(names(note, "s1.jsonl", "2 of 30", "x4, x11") for note in cohort.notes)


def test_many_examples_that_a_run_lacks_are_an_error(tmp_path):
    write(tmp_path, lambda run: range(4, ROWS) if run == 1 else range(ROWS), id=NAMES)
    with pytest.raises(UserError, match=says("s1.jsonl", "4 of 30", "x0, x1")):
        st.read_runs(tmp_path)


@pytest.mark.parametrize("first", [0, 1])
def test_numbers_of_rows_do_not_say_which_examples_a_run_lacks(tmp_path, first):
    kept = [at for at in range(ROWS) if at != 4]
    write(tmp_path, lambda run: kept if run == 1 else range(ROWS), id=lambda rows: np.arange(len(rows)) + first)
    with pytest.raises(UserError, match=says("s1.jsonl", "1 of 30", "id column")):
        st.read_runs(tmp_path)


def test_numbers_of_rows_are_believed_where_texts_agree(tmp_path):
    columns = {"id": np.arange(ROWS), "text": [f"text {at}" for at in range(ROWS)]}
    cohort = st.read_runs(write(tmp_path, lambda run: range(ROWS - (run == 1)), **columns))
    np.testing.assert_array_equal(cohort.predictions, PREDICTED[:, :-1])


def test_a_sentence_is_not_left_without_some_of_its_words(tmp_path):
    columns = {"id": NAMES, "sentence_id": np.arange(ROWS) // 3}

    def read(folder, lacking):
        folder.mkdir()
        rows = [at for at in range(ROWS) if at not in lacking]
        write(folder, lambda run: rows if run == 1 else range(ROWS), **columns)
        return st.read_runs(folder, columns={"kind": "tokens"})

    assert len(read(tmp_path / "whole", [3, 4, 5]).labels) == ROWS - 3
    with pytest.raises(UserError, match=says("s1.jsonl", "x4", "together")):
        read(tmp_path / "part", [4])


def test_tokens_move_with_their_examples(tmp_path):
    counts, rows = np.array([2, 0, 3, 1]), np.array([2, 3, 1, 0])
    starts = np.cumsum(counts) - counts
    moved = np.concatenate([np.arange(starts[row], starts[row] + counts[row]) for row in rows])
    choices = RNG.integers(0, 9, (2, 6))
    ids = np.array(["a", "b", "c", "d"])
    st.record_run(tmp_path / "0.safetensors", token_choices=choices[0], token_counts=counts, ids=ids, seed=0)
    changed = {"token_choices": choices[1][moved], "token_counts": counts[rows], "ids": ids[rows]}
    st.record_run(tmp_path / "1.safetensors", **changed, seed=1)
    cohort = st.read_runs(tmp_path)
    np.testing.assert_array_equal(cohort.token_choices, choices)
    assert cohort.token_counts.tolist() == counts.tolist()


def test_accepted_texts_are_a_set(tmp_path):
    accepted = [["a", "b"], ["b", "a", "a"], ["a", "b"]]
    for run, texts in enumerate(accepted):
        rows = [{"id": at, "generation": "b", "reference": texts if at else "c"} for at in range(4)]
        (tmp_path / f"s{run}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert st.read_runs(tmp_path).scores.tolist() == [0.75] * 3
    (tmp_path / "s1.jsonl").write_text((tmp_path / "s1.jsonl").read_text().replace('"b", "a"', '"b", "d"'))
    with pytest.raises(UserError, match=says("s1.jsonl", "references", "row 1", "'d'")):
        st.read_runs(tmp_path)


@pytest.mark.parametrize("first", ["layers", "examples"])
def test_states_move_with_their_examples(tmp_path, first):
    states, labels = RNG.normal(size=(2, 3, ROWS, 4)), np.arange(ROWS) % 2
    orders = [np.arange(ROWS), RNG.permutation(ROWS)[1:]]
    for run, rows in enumerate(orders):
        held = states[run][:, rows]
        held = held if first == "layers" else np.swapaxes(held, 0, 1)
        outputs = np.eye(2)[labels[rows]]
        np.savez(tmp_path / f"s{run}.npz", logits=outputs, labels=labels[rows], ids=NAMES[rows], representations=held)
    cohort = st.read_runs(tmp_path)
    kept = np.sort(orders[1])
    np.testing.assert_array_equal(np.stack(list(cohort.representations)), states[:, :, kept])


def test_scores_are_of_the_examples_that_every_run_has(tmp_path):
    right = RNG.integers(0, 2, (3, ROWS))
    kept = np.array([at for at in range(ROWS) if at not in (4, 11)])
    for run in range(3):
        rows = kept[::-1] if run == 1 else np.arange(ROWS)
        texts = [f"text {at} of {run}" for at in rows]
        frame = pd.DataFrame({"id": NAMES[rows], "generation": texts, "exact_match": right[run][rows]})
        frame.to_csv(tmp_path / f"s{run}.csv", index=False)
    np.testing.assert_allclose(st.read_runs(tmp_path).scores, right[:, kept].mean(axis=1))


def test_a_score_that_a_run_also_has_of_other_examples_is_not_used(tmp_path):
    for run, rows in enumerate([np.arange(ROWS), np.arange(2, ROWS)]):
        scores = {"scores.accuracy": np.float64(0.8 + run / 10)}
        np.savez(tmp_path / f"s{run}.npz", logits=RNG.normal(size=(len(rows), 2)), ids=NAMES[rows], **scores)
    cohort = st.read_runs(tmp_path)
    assert np.isnan(cohort.scores).all()
    assert any(names(note, "s0.npz", "accuracy", "left aside") for note in cohort.notes)
