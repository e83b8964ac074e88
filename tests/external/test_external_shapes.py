"""Shapes of files that people have, each with the right value: accuracies 1, 2/3, 1 and disagreement 2/9."""

import json

import numpy as np
import pandas as pd
import pytest
from saying import names, says
from scipy.spatial.distance import jensenshannon

import steadytune as st
from steadytune.errors import UserError

LABELS = np.array([0, 1, 0, 1, 0, 1])
POSITIVE = np.array([[0.1, 0.8, 0.3, 0.6, 0.2, 0.9], [0.2, 0.7, 0.6, 0.4, 0.1, 0.8], [0.3, 0.9, 0.2, 0.7, 0.4, 0.6]])
PREDICTED = (POSITIVE > 0.5).astype(int)
NAMES = np.array(["neg", "pos"])
ORDERS = np.array([[0, 1, 2, 3, 4, 5], [5, 3, 1, 0, 2, 4], [1, 0, 2, 3, 4, 5]])
TARGETS = np.array([1.5, 2.0, 3.25, 4.0, 2.5, 1.0])
TEXTS = np.array(["a b", "c d", "e f", "g h", "i j", "k l"])


def both(run):
    return np.stack([1 - POSITIVE[run], POSITIVE[run]], axis=1)


def divergence():
    """Mean Jensen-Shannon divergence over pairs of runs and examples, by SciPy."""
    pairs = [(0, 1), (0, 2), (1, 2)]
    return np.mean([[jensenshannon(a, b) ** 2 for a, b in zip(both(i), both(j), strict=True)] for i, j in pairs])


def write(folder, columns, suffix="csv"):
    """Write a table per run; a column may be a function of the run."""
    for run in range(3):
        frame = pd.DataFrame({name: made(run) if callable(made) else made for name, made in columns.items()})
        if suffix == "csv":
            frame.to_csv(folder / f"s{run}.csv", index=False)
        elif suffix == "parquet":
            frame.to_parquet(folder / f"s{run}.parquet")
        else:
            rows = [json.dumps(row) for row in json.loads(frame.to_json(orient="records"))]
            (folder / f"s{run}.jsonl").write_text("\n".join(rows))
    return folder


def check(cohort, probable):
    np.testing.assert_allclose(cohort.scores, [1, 2 / 3, 1])
    found = st.profile(cohort)
    assert found.last("disagreement").value == pytest.approx(2 / 9)
    if probable:
        assert found.last("jensen_shannon").value == pytest.approx(divergence(), abs=1e-6)
    else:
        assert np.isnan(found.last("jensen_shannon").value)


@pytest.mark.parametrize(
    "columns",
    [
        {"y_true": LABELS, "y_pred": PREDICTED.__getitem__},
        {"label": NAMES[LABELS], "prediction": lambda run: NAMES[PREDICTED[run]]},
        {"labels": LABELS == 1, "pred": lambda run: PREDICTED[run] == 1},
        {"Gold Label": 2 * LABELS - 1, "Predicted": lambda run: 2 * PREDICTED[run] - 1},
        {"label": LABELS, "label_text": NAMES[LABELS], "prediction": PREDICTED.__getitem__},
        # "none" is a class where it is one.
        {"label": np.array(["hate", "none"])[LABELS], "pred": lambda run: np.array(["hate", "none"])[PREDICTED[run]]},
        {"id": ORDERS.__getitem__, "label": lambda r: LABELS[ORDERS[r]], "pred": lambda r: PREDICTED[r][ORDERS[r]]},
    ],
)
def test_predicted_classes_alone_have_scores_and_disagreement(tmp_path, columns):
    check(st.read_runs(write(tmp_path, columns)), probable=False)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("name", ["logits", "probs"])
def test_lists_of_outputs_are_one_column(tmp_path, suffix, name):
    def made(run):
        rows = (np.log(both(run)) if name == "logits" else both(run)).tolist()
        return [str(row) for row in rows] if suffix == "csv" else rows

    write(tmp_path, {"label": LABELS, name: made, "logit_margin": 9.0}, suffix)
    cohort = st.read_runs(tmp_path)
    check(cohort, probable=True)
    assert cohort.read["left aside"] == "logit_margin"


@pytest.mark.parametrize(
    "columns",
    [
        {"label": LABELS, "logit_0": lambda r: np.log(both(r)[:, 0]), "logit_1": lambda r: np.log(both(r)[:, 1])},
        {"label": NAMES[LABELS], "prob_neg": lambda r: both(r)[:, 0], "prob_pos": POSITIVE.__getitem__},
        {"label": LABELS + 1, "prob_1": lambda r: both(r)[:, 0], "prob_2": POSITIVE.__getitem__},
        {"label": LABELS, "prob_0": lambda r: 100 * both(r)[:, 0], "prob_1": lambda r: 100 * POSITIVE[r]},
        # Probabilities under the name of logits.
        {"label": LABELS, "logit_0": lambda r: both(r)[:, 0], "logit_1": POSITIVE.__getitem__},
        # One of two classes.
        {"label": LABELS, "prob_1": POSITIVE.__getitem__},
        {"label": LABELS, "prob_0": lambda r: both(r)[:, 0]},
        {"label": LABELS, "prob": POSITIVE.__getitem__},
        {"label": NAMES[LABELS], "prob_pos": POSITIVE.__getitem__},
        # Predictions tell of which class a score is the probability.
        {"label": LABELS, "pred": PREDICTED.__getitem__, "score": POSITIVE.__getitem__},
        {"label": LABELS, "pred": PREDICTED.__getitem__, "score": lambda r: both(r).max(axis=1)},
    ],
)
@pytest.mark.parametrize("extra", ["prob_max", "logit_entropy"])
def test_classes_are_told_from_summaries_and_single_probabilities_from_their_class(tmp_path, columns, extra):
    cohort = st.read_runs(write(tmp_path, {**columns, extra: 0.5}))
    check(cohort, probable=True)
    assert extra in cohort.read["left aside"]


@pytest.mark.parametrize("name", ["idx", "doc_id", "guid", "question_id", "Unnamed: 0", "text", "passage"])
def test_rows_in_another_order_are_matched_by_names_or_texts(tmp_path, name):
    values = TEXTS if name in ("text", "passage") else np.arange(6) + 10
    columns = {
        name: lambda r: values[ORDERS[r]],
        "label": lambda r: LABELS[ORDERS[r]],
        "prob_0": lambda r: both(r)[ORDERS[r], 0],
        "prob_1": lambda r: POSITIVE[r][ORDERS[r]],
    }
    cohort = st.read_runs(write(tmp_path, columns))
    check(cohort, probable=True)
    assert any(names(note, "2 of 3 runs", f"'{name}'") for note in cohort.notes)


def test_names_that_stand_twice_do_not_match_rows_in_another_order(tmp_path):
    document = np.array([0, 0, 1, 1, 2, 2])
    columns = {"doc_id": lambda r: document[ORDERS[r]], "pred": lambda r: PREDICTED[r][ORDERS[r]]}
    with pytest.raises(UserError, match=says("s1.csv", "order", "s0.csv", "'doc_id'", " id")):
        st.read_runs(write(tmp_path, columns))


def test_one_file_of_all_seeds_is_split(tmp_path):
    rows = [
        pd.DataFrame({"seed": 7 + r, "label": LABELS, "prob_0": both(r)[:, 0], "prob_1": POSITIVE[r]}) for r in range(3)
    ]
    pd.concat(rows).to_csv(tmp_path / "all.csv", index=False)
    cohort = st.read_runs(tmp_path / "all.csv")
    check(cohort, probable=True)
    assert cohort.seeds == ("7", "8", "9")


def test_a_folder_per_seed_names_the_runs(tmp_path):
    for run in range(3):
        folder = tmp_path / f"seed{run}"
        folder.mkdir()
        pd.DataFrame({"label": LABELS, "pred": PREDICTED[run]}).to_csv(folder / "predictions.csv", index=False)
    cohort = st.read_runs(tmp_path)
    check(cohort, probable=False)
    assert cohort.seeds == ("seed0", "seed1", "seed2")
    (tmp_path / "seed0/other.csv").write_text("a\n1\n")
    (tmp_path / "seed1/other.csv").write_text("a\n1\n")
    (tmp_path / "seed2/other.csv").write_text("a\n1\n")
    with pytest.raises(UserError, match=says("seed0", "2 files", "other.csv, predictions.csv")):
        st.read_runs(tmp_path)


def test_objects_beside_the_arrays_of_a_run_are_left_aside(tmp_path):
    for run in range(3):
        metrics = np.array({"test_loss": 0.5}, dtype=object)
        np.savez(tmp_path / f"s{run}.npz", predictions=PREDICTED[run], label_ids=LABELS, metrics=metrics)
    cohort = st.read_runs(tmp_path)
    check(cohort, probable=False)
    assert "metrics" in cohort.read["left aside"]


def test_what_trainers_predict_is_taken(tmp_path):
    for run in range(3):
        np.savez(tmp_path / f"{run}.npz", predictions=np.log(both(run)), label_ids=LABELS)
    check(st.read_runs(tmp_path), probable=True)


def test_named_classes_of_one_file_are_matched_to_the_numbers_of_another_by_the_labels(tmp_path):
    write(tmp_path, {"label": NAMES[LABELS], "prob_neg": lambda r: both(r)[:, 0], "prob_pos": POSITIVE.__getitem__})
    # Here 0 is what the others call "pos".
    turned = pd.DataFrame({"label": 1 - LABELS, "prob_0": POSITIVE[2], "prob_1": both(2)[:, 0]})
    turned.to_csv(tmp_path / "s2.csv", index=False)
    check(st.read_runs(tmp_path), probable=True)
    turned.drop(columns="label").to_csv(tmp_path / "s2.csv", index=False)
    with pytest.raises(UserError, match=says("s2.csv", "classes", "s0.csv", "neg, pos")):
        st.read_runs(tmp_path)


def test_recorded_classes_in_another_order_are_matched_by_name_or_refused(tmp_path):
    for run, classes in enumerate((["no", "yes"], ["yes", "no"], ["no", "yes"])):
        flip = run == 1
        st.record_run(
            tmp_path / f"{run}.safetensors",
            probabilities=both(run)[:, ::-1] if flip else both(run),
            labels=1 - LABELS if flip else LABELS,
            label_names=classes,
        )
    check(st.read_runs(tmp_path), probable=True)
    st.record_run(tmp_path / "1.safetensors", probabilities=both(1), labels=LABELS, label_names=["yes", "no"])
    with pytest.raises(UserError, match=says("1.safetensors: label_names", "0.safetensors", "yes, no", "no, yes")):
        st.read_runs(tmp_path)


def test_examples_without_a_label_are_left_out_and_an_empty_column_is_no_labels(tmp_path):
    labels = np.where(np.arange(6) == 2, -1, LABELS)
    write(tmp_path, {"label": labels, "pred": PREDICTED.__getitem__})
    with pytest.raises(UserError, match=says("--set no_label=-1", "--set no_label=never")):
        st.read_runs(tmp_path)
    cohort = st.read_runs(tmp_path, columns={"no_label": "-1"})
    np.testing.assert_allclose(cohort.scores, [1, 4 / 5, 1])
    assert any("1 of 6" in note for note in cohort.notes)
    np.testing.assert_allclose(st.read_runs(tmp_path, columns={"no_label": "never"}).scores, [5 / 6, 4 / 6, 5 / 6])
    empty = st.read_runs(write(tmp_path, {"label": [None] * 6, "pred": PREDICTED.__getitem__}))
    assert not empty.scored
    assert any(names(note, "'label'", "no labels") for note in empty.notes)


def test_rounded_probabilities_are_divided_by_their_sums(tmp_path):
    rows = np.array([[0.33, 0.33, 0.33], [0.2, 0.5, 0.3], [0.34, 0.33, 0.34]])
    for run in range(2):
        np.savez(tmp_path / f"{run}.npz", probabilities=rows, labels=[0, 1, 2])
    cohort = st.read_runs(tmp_path)
    np.testing.assert_allclose(cohort.probabilities[0], rows / rows.sum(axis=1, keepdims=True))
    assert any(names(note, "0.99", "1.01") for note in cohort.notes)


def test_logits_and_probabilities_that_contradict_are_refused(tmp_path):
    for run in range(2):
        np.savez(tmp_path / f"{run}.npz", logits=-np.log(both(run)), probabilities=both(run), labels=LABELS)
    with pytest.raises(UserError, match=says("row 0", "(0.1, 0.9)", "(0.9, 0.1)")):
        st.read_runs(tmp_path)


def test_a_diverged_run_is_counted_as_lost(tmp_path):
    write(tmp_path, {"label": LABELS, "prob_0": lambda r: both(r)[:, 0], "prob_1": POSITIVE.__getitem__})
    pd.DataFrame({"label": LABELS, "prob_0": np.nan, "prob_1": np.nan}).to_csv(tmp_path / "s3.csv", index=False)
    st.record_run(tmp_path / "s4.safetensors", status="diverged", reason="loss is NaN", seed=4)
    cohort = st.read_runs(tmp_path)
    check(cohort, probable=True)
    assert [(lost.seed, lost.status) for lost in cohort.lost] == [("s3", "diverged"), ("s4", "diverged")]
    assert cohort.lost[1].reason == "loss is NaN"


def test_predictions_with_fractions_are_a_regression_where_labels_have_some_too(tmp_path):
    cohort = st.read_runs(
        write(tmp_path, {"label": TARGETS, "prediction": lambda run: TARGETS + 0.1 * run * np.arange(6)})
    )
    assert cohort.kind == "regression"
    expected = [np.corrcoef(TARGETS, TARGETS + 0.1 * run * np.arange(6))[0, 1] for run in range(3)]
    np.testing.assert_allclose(cohort.scores, expected)
    binary = write(tmp_path, {"label": LABELS, "prediction": POSITIVE.__getitem__})
    with pytest.raises(UserError, match=says("'prediction'", "--set probability=prediction", "--set kind=regression")):
        st.read_runs(binary)
    check(st.read_runs(binary, columns={"probability": "prediction"}), probable=True)


def test_any_of_several_references_will_do(tmp_path):
    said = [["Paris", "four"], ["City of Light", "4"], ["Rome", "four"]]
    for run, texts in enumerate(said):
        rows = zip(texts, (["Paris", "City of Light"], ["4", "four"]), strict=True)
        lines = [json.dumps({"generation": text, "reference": right}) for text, right in rows]
        (tmp_path / f"{run}.jsonl").write_text("\n".join(lines))
    assert st.read_runs(tmp_path).scores.tolist() == [1.0, 1.0, 0.5]


def test_states_with_the_examples_first_are_turned_where_labels_tell_and_asked_about_where_nothing_does(tmp_path):
    states = np.random.default_rng(0).normal(size=(2, 6, 3, 4))
    for run in range(2):
        np.savez(tmp_path / f"{run}.npz", representations=states[run], labels=LABELS, logits=np.log(both(run)))
    np.testing.assert_array_equal(st.read_runs(tmp_path).representations[1], states[1].swapaxes(0, 1))
    for run in range(2):
        np.savez(tmp_path / f"{run}.npz", representations=states[run])
    with pytest.raises(UserError, match=says("axes=layers-first", "axes=examples-first")):
        st.read_runs(tmp_path)
    assert st.read_runs(tmp_path, columns={"axes": "examples-first"}).representations[0].shape == (3, 6, 4)
    assert st.read_runs(tmp_path, columns={"axes": "layers-first"}).representations[0].shape == (6, 3, 4)


def test_a_number_is_one_that_people_write(tmp_path):
    (tmp_path / "a.csv").write_text("label,logit_0,logit_1\n0,1_0,2\n")
    (tmp_path / "b.csv").write_text("label,logit_0,logit_1\n0,1,2\n")
    with pytest.raises(UserError, match=says("a.csv, line 2", "'logit_0'", "'1_0'")):
        st.read_runs(tmp_path)


def test_semicolons_with_decimal_commas_are_read(tmp_path):
    for run in range(3):
        frame = pd.DataFrame({"label": LABELS, "prob_0": both(run)[:, 0], "prob_1": POSITIVE[run]})
        frame.to_csv(tmp_path / f"{run}.csv", index=False, sep=";", decimal=",")
    check(st.read_runs(tmp_path), probable=True)


def test_arrays_in_json_are_tables_beside_what_training_leaves(tmp_path):
    for run in range(3):
        rows = [
            {"label": int(one), "prediction": int(other)} for one, other in zip(LABELS, PREDICTED[run], strict=True)
        ]
        (tmp_path / f"s{run}.json").write_text(json.dumps(rows, indent=1))
    (tmp_path / "all_results.json").write_text('{"eval_accuracy": 1.0}')
    (tmp_path / "trainer_state.json").write_text("{}")
    check(st.read_runs(tmp_path), probable=False)


def test_text_that_is_not_in_utf_8_is_read_in_the_encoding_that_is_named(tmp_path):
    words = np.array(["nein", "für"])
    for run in range(3):
        frame = pd.DataFrame({"label": words[LABELS], "prediction": words[PREDICTED[run]]})
        frame.to_csv(tmp_path / f"s{run}.csv", index=False, encoding="latin-1")
    with pytest.raises(UserError, match="--set encoding=latin-1"):
        st.read_runs(tmp_path)
    cohort = st.read_runs(tmp_path, columns={"encoding": "latin-1"})
    check(cohort, probable=False)
    assert cohort.label_names == ("für", "nein")


def test_a_column_that_may_be_several_things_is_asked_about(tmp_path):
    write(tmp_path, {"label": LABELS, "score": POSITIVE.__getitem__})
    with pytest.raises(UserError, match="--set probability=score"):
        st.read_runs(tmp_path)
    write(tmp_path, {"gold": LABELS, "label": PREDICTED.__getitem__})
    with pytest.raises(UserError, match="--set label=NAME"):
        st.read_runs(tmp_path)
    write(tmp_path, {"passage": [0, 0, 1, 1, 2, 2], "label": LABELS, "pred": PREDICTED.__getitem__})
    assert st.read_runs(tmp_path, columns={"group": "passage"}).groups.tolist() == [0, 0, 1, 1, 2, 2]
    with pytest.raises(UserError, match=says("'grup'", "'group'")):
        st.read_runs(tmp_path, columns={"grup": "passage"})


def test_runs_that_record_one_seed_are_said_to(tmp_path):
    for run in range(3):
        st.record_run(tmp_path / f"{run}.safetensors", probabilities=both(run), labels=LABELS, seed=42)
    cohort = st.read_runs(tmp_path)
    assert names(cohort.notes[0], "3 runs", "42")
    assert st.profile(cohort).notes[0] == cohort.notes[0]
