"""What files leave open is asked, and the setting that is named settles it; what all files together tell is taken."""

import json

import numpy as np
import pandas as pd
import pytest
from saying import names, says
from sklearn.metrics import f1_score

import steadytune as st
from steadytune.errors import UserError

RUNS, ROWS = 3, 40
RNG = np.random.default_rng(0)
LABELS = np.concatenate([np.arange(12) % 3, RNG.integers(0, 3, ROWS - 12)])
LOGITS = RNG.normal(size=(RUNS, ROWS, 3)) + 1.5 * np.eye(3)[LABELS]
PREDICTED = LOGITS.argmax(axis=-1)
SCORES = (PREDICTED == LABELS).mean(axis=1)
NUMBERED = {f"logit_{n}": lambda run, n=n: LOGITS[run, :, n] for n in range(3)}


def write(folder, columns, order=None):
    """Write a CSV file per run, with the rows of runs after the first in another order if one is given."""
    for run in range(RUNS):
        frame = pd.DataFrame({name: made(run) if callable(made) else made for name, made in columns.items()})
        rows = np.arange(ROWS) if order is None or not run else np.random.default_rng(run).permutation(ROWS)
        frame.iloc[rows].to_csv(folder / f"s{run}.csv", index=False)
    return folder


def named(names, kind="logit"):
    return {f"{kind}_{name}": lambda run, at=at: LOGITS[run, :, at] for at, name in enumerate(names)}


@pytest.mark.parametrize("names", ["ABS", ["да", "нет", "иное"], ["-1", "0", "1"], ["LARGE", "Large2", "x y"]])
def test_classes_may_have_any_name(tmp_path, names):
    words = np.array(list(names))
    cohort = st.read_runs(write(tmp_path, {"label": words[LABELS], **named(words)}))
    np.testing.assert_allclose(cohort.scores, SCORES)


def test_a_bare_p_names_classes_where_the_rows_sum_to_1(tmp_path):
    shares = np.exp(LOGITS) / np.exp(LOGITS).sum(-1, keepdims=True)
    columns = {f"p_{name}": lambda run, n=n: shares[run, :, n] for n, name in enumerate("xyz")}
    (tmp_path / "p").mkdir()
    cohort = st.read_runs(write(tmp_path / "p", {"label": np.array(list("xyz"))[LABELS], **columns}))
    np.testing.assert_allclose(cohort.scores, SCORES)
    tested = write(tmp_path, {"label": LABELS, "prediction": PREDICTED.__getitem__, "p_value": 0.04, "p_adjusted": 0.2})
    assert st.read_runs(tested).probabilities is None


@pytest.mark.parametrize(
    ("columns", "asked", "settings"),
    [
        # Labels are numbers, columns have names.
        ({"label": LABELS, **named("abc")}, "--set classes=a,b,c", {"classes": "a,b,c"}),
        ({"label": LABELS + 1, **NUMBERED}, "--set classes=1,2,3", {"classes": "1,2,3"}),
        # A column of something else looks like one of a class.
        (
            {"label": np.array(list("abc"))[LABELS], **named("abc"), "logit_bias": 9.0},
            "--set ignore=logit_bias",
            {"ignore": "logit_bias"},
        ),
        # Two columns say different things.
        ({"label": LABELS, "y_true": (LABELS + 1) % 3, **NUMBERED}, "--set label=NAME", {"label": "label"}),
        ({"target": LABELS, "answer": (LABELS + 1) % 3, **NUMBERED}, "--set label=NAME", {"label": "target"}),
        (
            {"label": LABELS, "prediction": PREDICTED.__getitem__, "pred": lambda run: (PREDICTED[run] + 1) % 3},
            "--set prediction=NAME",
            {"prediction": "prediction"},
        ),
        # Several runs stand below each other.
        ({"label": LABELS, "rank": range(ROWS), "part": "x", **NUMBERED}, None, {}),
    ],
)
def test_what_may_be_two_things_is_asked(tmp_path, columns, asked, settings):
    write(tmp_path, columns)
    if asked:
        with pytest.raises(UserError) as raised:
            st.read_runs(tmp_path)
        assert asked in str(raised.value)
    np.testing.assert_allclose(st.read_runs(tmp_path, columns=settings).scores, SCORES)


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize(
    ("marks", "sure"),
    [
        ({"key": [f"k{n}" for n in range(ROWS)]}, True),
        ({"premise": [f"p{n // 4}" for n in range(ROWS)], "hypothesis": [f"h{n % 4}" for n in range(ROWS)]}, True),
        ({"number": range(100, 100 + ROWS)}, False),
    ],
)
def test_rows_in_another_order_are_matched_by_what_tells_them_apart_or_asked_about(tmp_path, labelled, marks, sure):
    write(tmp_path, {**({"label": LABELS} if labelled else {}), **marks, **NUMBERED}, order="other")
    if not sure and not labelled:
        with pytest.raises(UserError, match=says("--set id=number", "--set ignore=number")):
            st.read_runs(tmp_path)
    cohort = st.read_runs(tmp_path, columns={} if sure or labelled else {"id": "number"})
    np.testing.assert_array_equal(cohort.predictions, PREDICTED)


def test_numbers_that_rank_the_examples_of_a_run_do_not_match_its_rows(tmp_path):
    ranks = np.argsort(np.argsort(LOGITS[:, :, 0], axis=1), axis=1)
    cohort = st.read_runs(write(tmp_path, {"label": LABELS, "rank": ranks.__getitem__, **NUMBERED}))
    np.testing.assert_array_equal(cohort.predictions, PREDICTED)


def test_small_arrays_of_other_names_tell_the_order(tmp_path):
    for run in range(RUNS):
        rows = np.random.default_rng(run).permutation(ROWS)
        np.savez(tmp_path / f"s{run}.npz", logits=LOGITS[run][rows], hash=np.array([f"x{n}" for n in rows]))
    first = np.random.default_rng(0).permutation(ROWS)
    np.testing.assert_array_equal(st.read_runs(tmp_path).predictions, PREDICTED[:, first])


@pytest.mark.parametrize(
    ("labels", "predictions", "asked", "scores"),
    [
        # -1 beside 0 and 1, or beside 1 alone, may be a class; with classes 0, 1 and 2 it means that there is none.
        ([-1, 0, 1, 1], [[0, 0, 1, 0], [1, 0, 1, 1]], True, [0.5, 0.75]),
        ([-1, 1, 1, 1], [[0, 1, 1, 0], [1, 1, 1, 1]], True, [0.5, 0.75]),
        ([-1, 0, 1, 2], [[0, 0, 1, 0], [1, 0, 1, 1]], False, [2 / 3, 2 / 3]),
        ([-100, 0, 1, 1], [[0, 0, 1, 0], [1, 0, 1, 1]], False, [2 / 3, 1]),
        # One run predicts -1 and the other never does.
        ([-1, 0, 1, 1], [[0, 0, 1, 0], [-1, 0, 1, 1]], False, [0.5, 1]),
    ],
)
def test_minus_one_is_a_class_or_none_by_all_files_together(tmp_path, labels, predictions, asked, scores):
    for run, predicted in enumerate(predictions):
        pd.DataFrame({"label": labels, "prediction": predicted}).to_csv(tmp_path / f"s{run}.csv", index=False)
    if asked:
        with pytest.raises(UserError, match="--set no_label=-1"):
            st.read_runs(tmp_path)
    cohort = st.read_runs(tmp_path, columns={"no_label": "never"} if asked else {})
    np.testing.assert_allclose(cohort.scores, scores)


@pytest.mark.parametrize("integers", [RNG.integers(18, 90, ROWS), np.arange(ROWS) * 7])
def test_many_whole_numbers_are_classes_only_if_somebody_says_so(tmp_path, integers):
    write(tmp_path, {"label": integers, "prediction": lambda run: integers + run * (np.arange(ROWS) % 2)})
    with pytest.raises(UserError, match=says("kind=classification", "kind=regression", "--set generation=prediction")):
        st.read_runs(tmp_path)
    assert st.read_runs(tmp_path, columns={"kind": "classification"}).scores.tolist() == [1, 0.5, 0.5]
    assert st.read_runs(tmp_path, columns={"kind": "regression"}).kind == "regression"


def test_lists_that_are_written_as_text_are_lists(tmp_path):
    answers = [f"a{n}" for n in range(ROWS)]
    for name, spell in (("python", str), ("json", json.dumps)):
        (tmp_path / name).mkdir()
        columns = {"reference": [spell([f"a{n}", "or it's b"]) for n in range(ROWS)], "generation": answers}
        assert st.read_runs(write(tmp_path / name, columns)).scores.tolist() == [1, 1, 1]


def test_probabilities_that_one_run_calls_logits_are_taken_as_such(tmp_path):
    shares = np.exp(LOGITS) / np.exp(LOGITS).sum(-1, keepdims=True)
    for run in range(RUNS):
        np.savez(tmp_path / f"s{run}.npz", logits=LOGITS[run] if run else shares[run], labels=LABELS)
    cohort = st.read_runs(tmp_path)
    np.testing.assert_allclose(cohort.probabilities, shares)
    assert any("s0.npz" in note and "s1.npz" not in note for note in cohort.notes)


@pytest.mark.parametrize("name", ["model", "epoch", "random_seed"])
def test_rows_of_several_runs_below_each_other_are_asked_about(tmp_path, name):
    for part in range(2):
        frames = [
            pd.DataFrame({"label": LABELS, name: f"m{part}{run}", "prediction": PREDICTED[run]}) for run in range(2)
        ]
        pd.concat(frames).to_csv(tmp_path / f"part{part}.csv", index=False)
    if name != "random_seed":
        with pytest.raises(UserError, match=f"--set seed={name}"):
            st.read_runs(tmp_path)
    cohort = st.read_runs(tmp_path, columns={} if name == "random_seed" else {"seed": name})
    np.testing.assert_allclose(cohort.scores, SCORES[[0, 1, 0, 1]])


def test_columns_that_hold_the_same_in_many_rows_hint_at_groups(tmp_path):
    passages = [f"passage {n // 4}" for n in range(ROWS)]
    cohort = st.read_runs(write(tmp_path, {"label": LABELS, "passage": passages, "language": "en", **NUMBERED}))
    (hint,) = [note for note in cohort.notes if "--set group=" in note]
    assert "--set group=passage" in hint


@pytest.mark.parametrize("name", ["logit", "logit_1"])
def test_one_logit_is_that_of_class_1_only_if_somebody_says_so(tmp_path, name):
    labels = LABELS % 2
    margin = LOGITS[:, :, 1] - LOGITS[:, :, 0]
    write(tmp_path, {"label": labels, name: margin.__getitem__})
    with pytest.raises(UserError, match=says("(40,", "--set kind=classification", "--set kind=regression")):
        st.read_runs(tmp_path)
    cohort = st.read_runs(tmp_path, columns={"kind": "classification"})
    np.testing.assert_allclose(cohort.scores, ((margin > 0) == labels).mean(axis=1))


def test_one_probability_of_named_classes_is_of_the_class_that_is_named(tmp_path):
    spam = 1 / (1 + np.exp(-LOGITS[:, :, 1]))
    words = np.array(["ham", "spam"])
    write(tmp_path, {"label": words[LABELS % 2], "prob": spam.__getitem__})
    with pytest.raises(UserError, match="--set probability=prob --set class=spam"):
        st.read_runs(tmp_path)
    cohort = st.read_runs(tmp_path, columns={"probability": "prob", "class": "spam"})
    np.testing.assert_allclose(cohort.scores, ((spam > 0.5) == LABELS % 2).mean(axis=1))


def test_outputs_that_are_objects_are_classes_by_name(tmp_path):
    for run in range(RUNS):
        rows = [
            {"label": "abc"[one], "logits": dict(zip("abc", LOGITS[run, n], strict=True))}
            for n, one in enumerate(LABELS)
        ]
        (tmp_path / f"s{run}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    np.testing.assert_allclose(st.read_runs(tmp_path).scores, SCORES)


def test_scores_alone_are_runs_and_are_checked_where_there_are_predictions(tmp_path):
    for run in range(RUNS):
        st.record_run(tmp_path / f"s{run}.safetensors", logits=LOGITS[run], labels=LABELS)
        np.savez(tmp_path / f"only{run}.npz", **{"scores.accuracy": 0.9 + run / 100})
    alone = st.read_runs(sorted(tmp_path.glob("only*.npz")))
    assert alone.scores.tolist() == pytest.approx([0.9, 0.91, 0.92])
    for run in range(RUNS):
        np.savez(tmp_path / f"s{run}.npz", logits=LOGITS[run], labels=LABELS, accuracy=0.99)
    held = st.read_runs(sorted(tmp_path.glob("s*.npz")))
    np.testing.assert_allclose(held.scores, SCORES)
    assert any(names(note, "accuracy", "0.99", "0.75") for note in held.notes)


def test_targets_that_are_missing_are_left_out_of_a_regression(tmp_path):
    targets = np.where(np.arange(ROWS) < 4, np.nan, LABELS + 0.5)
    cohort = st.read_runs(write(tmp_path, {"label": targets, "prediction": lambda run: LABELS + 0.25 * run + 0.1}))
    assert cohort.kind == "regression"
    assert cohort.logits.shape == (RUNS, ROWS - 4, 1)


def test_states_with_as_many_layers_as_examples_are_asked_about(tmp_path):
    for run in range(2):
        np.savez(tmp_path / f"s{run}.npz", representations=RNG.normal(size=(6, 6, 3)), labels=np.arange(6) % 2)
    with pytest.raises(UserError, match=says("(6, 6, 3)", "axes=layers-first", "axes=examples-first")):
        st.read_runs(tmp_path)
    assert st.read_runs(tmp_path, columns={"axes": "layers-first"}).representations[0].shape == (6, 6, 3)


WORDS = np.array(["Negative", "Positive", "neutral"])


@pytest.mark.parametrize(
    ("columns", "settings"),
    [
        # Numbers and words beside each other, on either side.
        ({"label": WORDS[LABELS], "label_id": LABELS, "prediction": lambda run: WORDS[PREDICTED[run]]}, {}),
        ({"target": LABELS, "label": WORDS[LABELS], "prediction": PREDICTED.__getitem__}, {}),
        # Capitals that differ.
        ({"label": WORDS[LABELS], "prediction": lambda run: np.char.lower(WORDS[PREDICTED[run]])}, {}),
        # What a pipeline of transformers gives: the prediction is called label.
        (
            {"gold": WORDS[LABELS], "label": lambda run: WORDS[PREDICTED[run]], "score": 0.9},
            {"label": "gold", "prediction": "label"},
        ),
        # Few words under the names of generated texts.
        (
            {"output": lambda run: WORDS[PREDICTED[run]], "label": WORDS[LABELS]},
            {"prediction": "output", "label": "label"},
        ),
        (
            {"reference": WORDS[LABELS], "prediction": lambda run: WORDS[PREDICTED[run]]},
            {"prediction": "prediction", "label": "reference"},
        ),
    ],
)
def test_predicted_words_are_classes_however_their_columns_are_called(tmp_path, columns, settings):
    write(tmp_path, columns)
    if settings:
        with pytest.raises(UserError) as raised:
            st.read_runs(tmp_path)
        assert "--set prediction=" in str(raised.value)
    cohort = st.read_runs(tmp_path, columns=settings)
    np.testing.assert_allclose(cohort.scores, SCORES)
    assert cohort.kind == "classification"


def test_scores_of_rows_are_held_against_the_texts(tmp_path):
    texts = [f"answer {n}" for n in range(ROWS)]
    right = np.arange(ROWS) % 4 > 0
    columns = {
        "target": [f"#### {text}" for text in texts],
        "filtered_resps": texts,
        "exact_match": right.astype(float),
    }
    cohort = st.read_runs(write(tmp_path, columns))
    assert any(names(note, "exact_match", "0.75", "0, 0, 0") for note in cohort.notes)
    (tmp_path / "right").mkdir()
    references = [text if ok else "other" for text, ok in zip(texts, right, strict=True)]
    agreeing = st.read_runs(write(tmp_path / "right", {**columns, "target": references}))
    assert agreeing.scores.tolist() == [0.75] * RUNS
    assert not any("exact_match" in note for note in agreeing.notes)


def test_labels_that_are_minus_one_throughout_are_none(tmp_path):
    cohort = st.read_runs(write(tmp_path, {"label": -1, "prediction": PREDICTED.__getitem__}))
    assert cohort.labels is None
    assert st.profile(cohort).last("disagreement").value > 0


def test_examples_of_their_own_below_each_other_are_no_runs(tmp_path):
    languages = np.repeat(["de", "en"], ROWS // 2)
    labels = np.tile(LABELS[: ROWS // 2], 2)
    texts = [f"text {n}" for n in range(ROWS)]
    cohort = st.read_runs(
        write(tmp_path, {"text": texts, "language": languages, "label": labels, "prediction": PREDICTED.__getitem__})
    )
    np.testing.assert_allclose(cohort.scores, (labels == PREDICTED).mean(axis=1))


def test_scores_of_scikit_learn_are_of_class_1(tmp_path):
    shares = 1 / (1 + np.exp(-LOGITS[:, :, 1]))
    cohort = st.read_runs(write(tmp_path, {"y_true": LABELS % 2, "y_score": shares.__getitem__}))
    np.testing.assert_allclose(cohort.scores, ((shares > 0.5) == LABELS % 2).mean(axis=1))


def test_three_classes_in_another_order_are_matched_by_name(tmp_path):
    names, order = np.array(list("abc")), np.array([2, 0, 1])
    np.savez(tmp_path / "s0.npz", logits=LOGITS[0], labels=LABELS, label_names=names)
    np.savez(
        tmp_path / "s1.npz",
        logits=LOGITS[1][:, order],
        labels=np.argsort(order)[LABELS],
        label_names=names[order],
    )
    cohort = st.read_runs(tmp_path)
    np.testing.assert_array_equal(cohort.logits, LOGITS[:2])
    np.testing.assert_allclose(cohort.scores, SCORES[:2])


def test_runs_that_differ_in_which_examples_have_a_label_are_refused(tmp_path):
    for run in range(2):
        labels = np.where(np.arange(ROWS) == run, -100, LABELS)
        pd.DataFrame({"label": labels, "prediction": PREDICTED[run]}).to_csv(tmp_path / f"s{run}.csv", index=False)
    with pytest.raises(UserError, match=says("s1.csv", "label", "s0.csv")):
        st.read_runs(tmp_path)


@pytest.mark.parametrize("prefix", ["label_", "y_", ""])
@pytest.mark.parametrize("outputs", ["logit", "prob"])
def test_a_label_for_every_class_is_no_single_class(tmp_path, outputs, prefix):
    labels = {f"{prefix}{name}": (RNG.random(ROWS) < 0.5).astype(int) for name in "abc"}
    scores = 1 / (1 + np.exp(-LOGITS)) if outputs == "prob" else LOGITS
    columns = {f"{outputs}_{name}": lambda run, at=at: scores[run, :, at] for at, name in enumerate("abc")}
    folder = write(tmp_path, labels | columns)
    with pytest.raises(UserError, match=says(*labels, "multilabel", "ignore")):
        st.read_runs(folder)
    sets = st.read_runs(folder, columns={"kind": "multilabel"})
    np.testing.assert_array_equal(sets.labels, np.stack(list(labels.values()), axis=1))
    expected = [f1_score(sets.labels, one > 0, average="micro", zero_division=0) for one in LOGITS]
    np.testing.assert_allclose(sets.scores, expected)
    if outputs == "logit":
        ignored = st.read_runs(folder, columns={"ignore": ",".join(labels)})
        np.testing.assert_array_equal(ignored.predictions, PREDICTED)


def test_other_columns_named_after_classes_are_left_aside(tmp_path):
    columns = {name: RNG.random(ROWS) for name in "abc"}
    cohort = st.read_runs(write(tmp_path, named("abc") | columns))
    np.testing.assert_array_equal(cohort.predictions, PREDICTED)
