import csv
import pickle
import zipfile

import numpy as np
import pytest
from commands import command, refused
from made_runs import made_store
from saying import names

import steadytune

EXAMPLES, CLASSES = 20, 2


def arrays(seed, **changes):
    rng = np.random.default_rng(seed)
    labels = np.arange(EXAMPLES) % CLASSES
    logits = rng.normal(size=(EXAMPLES, CLASSES))
    logits[np.arange(EXAMPLES), labels] += 1.5
    return {"logits": logits, "labels": labels, **changes}


@pytest.fixture
def runs(tmp_path):
    """Three runs that were trained elsewhere."""
    paths = [tmp_path / f"{name}.npz" for name in "abc"]
    for seed, path in enumerate(paths):
        np.savez(path, **arrays(seed, representations=np.random.default_rng(seed).normal(size=(2, EXAMPLES, 3 + seed))))
    return paths


def test_runs_that_were_trained_elsewhere_are_measured(runs):
    result = command("measure", *runs)
    assert result.code == 0, result.err
    for word in ("these runs", "accuracy", "disagree", "JSD", "SVCCA", "CKA"):
        assert word in result.out
    assert result.out.count("of runs may fail") == 1


def test_they_are_measured_without_representations_and_by_another_metric(tmp_path):
    for seed in range(2):
        np.savez(tmp_path / f"{seed}.npz", **arrays(seed))
    result = command("measure", tmp_path / "0.npz", tmp_path / "1.npz", "--metric", "matthews")
    assert result.code == 0, result.err
    assert "matthews" in result.out


def test_tables_of_predicted_numbers_are_measured_as_a_regression(tmp_path):
    # The predictions of a are those of b and c plus 1.5: RMSE 1.5, 1.5 and 0 are 1 on average.
    labels = [0.25, 1.5, 3.75, 2.5, 8.25, 4.5, 6.75, 5.5]
    for name, shift in (("a", 1.5), ("b", 0.0), ("c", 0.0)):
        rows = "".join(f"{label},{label + 0.25 * (n % 2) + shift}\n" for n, label in enumerate(labels))
        (tmp_path / f"{name}.csv").write_text(f"label,prediction\n{rows}")
    result = command("measure", tmp_path, "--metric", "rmse", "--out", tmp_path / "report")
    assert result.code == 0, result.err
    for word in ("RMSE", "1 − r", "1 − ICC", "the predictions of two runs differ by 1 (RMSE)"):
        assert word in " ".join(result.out.split())
    assert "JSD" not in result.out
    with (tmp_path / "report" / "measures.csv").open(encoding="utf-8") as file:
        found = {row["measure"]: row["value"] for row in csv.DictReader(file)}
    assert float(found["prediction_rmse"]) == pytest.approx(1)
    assert float(found["prediction_correlation"]) == pytest.approx(0, abs=1e-12)
    # Mean squared difference 2 * 2.25 / 3 beside the variance of what is predicted, which all three share.
    shared = np.var([label + 0.25 * (n % 2) for n, label in enumerate(labels)], ddof=1)
    assert float(found["icc"]) == pytest.approx(1.5 / (1.5 + 2 * shared))
    assert "disagreement" not in found


def test_formats_may_be_mixed_or_lie_in_a_folder(runs, tmp_path):
    steadytune.record_run(tmp_path / "d.safetensors", **arrays(3, representations=np.zeros((2, EXAMPLES, 4))))
    for words in ([*runs, tmp_path / "d.safetensors"], [tmp_path]):
        result = command("measure", *words)
        assert result.code == 0, result.err
        assert "0/4" in result.out


def test_a_page_and_a_table_are_written_where_they_are_wanted(tmp_path):
    names = [f"sentence {n} & more" for n in range(EXAMPLES)]
    for seed in range(3):
        steadytune.record_run(tmp_path / f"{seed}.safetensors", **arrays(seed), texts=names, label_names=["no", "yes"])
    result = command("measure", tmp_path, "--out", tmp_path / "report")
    assert result.code == 0, result.err
    assert f"report: {tmp_path / 'report' / 'report.html'}" in result.out
    page = (tmp_path / "report/report.html").read_text()
    assert "sentence 1" in page
    assert "yes" in page
    assert "jensen_shannon" in (tmp_path / "report/measures.csv").read_text()
    assert "sentence" in (tmp_path / "report/flips.csv").read_text()


def test_runs_without_a_score_are_measured_and_it_is_said(tmp_path):
    for seed in range(3):
        fields = arrays(seed)
        del fields["labels"]
        np.savez(tmp_path / f"{seed}.npz", **fields)
    result = command("measure", tmp_path, "--out", tmp_path / "report")
    assert result.code == 0, result.err
    assert names(result.out, "score", "unknown", "disagree")
    assert "nan" not in result.out
    assert "no score" in command("measure", tmp_path).out


def test_tokens_alone_are_measured_as_those_of_generated_text(tmp_path):
    rng = np.random.default_rng(0)
    for seed in range(3):
        steadytune.record_run(tmp_path / f"{seed}.safetensors", token_logits=rng.normal(size=(4, 3, 5)))
    found = steadytune.profile(steadytune.read_runs(tmp_path)).last("jensen_shannon")
    assert 0 < found.low < found.value < found.high
    result = command("measure", tmp_path)
    assert result.code == 0, result.err
    assert f"{found.value:.3f}"[1:] in result.out


def test_fewer_than_two_runs_are_refused(runs):
    assert names(refused("measure", runs[0]), f"error: {runs[0]}", "single run", "two")
    assert names(refused("measure", runs[0], runs[0]), str(runs[0]), "twice")


def test_a_study_has_a_metric_and_a_report_of_its_own(tmp_path):
    store = made_store(tmp_path / "out")
    for words in (("--out", tmp_path / "x"), ("--metric", "f1")):
        assert refused("measure", store.path, *words).endswith(f"steadytune report {store.path}")


def test_an_output_that_is_a_file_is_named(runs, tmp_path):
    (tmp_path / "x").touch()
    assert names(refused("measure", *runs, "--out", tmp_path / "x"), f"error: {tmp_path / 'x'}", "file", "--out")


def test_a_folder_of_a_study_is_measured(tmp_path):
    store = made_store(tmp_path / "out")
    result = command("measure", store.path)
    assert result.code == 0, result.err
    assert "standard" in result.out
    assert not (store.path / "report.html").exists()


def test_a_metric_that_is_unknown_or_means_nothing_here_is_refused(runs):
    assert names(refused("measure", *runs, "--metric", "acuracy"), "'acuracy'", "'accuracy'")
    assert names(refused("measure", *runs, "--metric", "pearson"), "'pearson'", "regression")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {
                "logits": np.zeros((EXAMPLES + 1, CLASSES)),
                "labels": np.zeros(EXAMPLES + 1, int),
                "ids": np.arange(EXAMPLES + 1),
                "representations": np.zeros((2, EXAMPLES + 1, 4)),
            },
            ("logits", "(21, 2)"),
        ),
        ({"logits": np.zeros((EXAMPLES, 3))}, ("logits", "(20, 3)")),
        ({"logits": np.zeros(EXAMPLES)}, ("logits", "(examples,", "(20,)")),
        ({"logits": np.zeros((EXAMPLES, 1))}, ("logits", "(examples,", "(20, 1)")),
        (
            {"logits": np.zeros((0, 2)), "labels": np.zeros(0, int), "ids": np.zeros(0)},
            ("logits", "(examples,", "(0, 2)"),
        ),
        (
            {"logits": np.array([[np.nan, 0]] + [[1, 2]] * 19)},
            ("logits", "NaN", "row 0"),
        ),
        ({"logits": np.full((EXAMPLES, CLASSES), "x")}, ("logits", "real numbers", "<U1")),
        ({"labels": np.zeros(EXAMPLES - 1, int)}, ("labels", "(20,)", "(19,)")),
        ({"labels": np.full(EXAMPLES, 2)}, ("labels", "0 to 1", "row 0", "2")),
        ({"labels": np.full(EXAMPLES, -2)}, ("labels", "0 to 1", "-2")),
        ({"labels": np.full(EXAMPLES, 0.5)}, ("labels", "0 to 1", "0.5")),
        ({"labels": np.zeros(EXAMPLES, int)}, ("labels", "a.npz")),
        ({"labels": np.full(EXAMPLES, -1)}, ("no labels", "a.npz")),
        (
            {"labels": np.full(EXAMPLES, "yes")},
            ("row 0", "'labels'", "'yes'", "number"),
        ),
        ({"representations": np.zeros((2, 19, 4))}, ("representations", "(layers, 20, width)", "(2, 19, 4)")),
        ({"representations": np.zeros((2, 0, 4))}, ("representations", "(layers, 20, width)", "(2, 0, 4)")),
        ({"representations": np.zeros(EXAMPLES)}, ("representations", "(layers, examples, width)", "(20,)")),
        ({"representations": np.zeros((3, EXAMPLES, 4))}, ("layers", "representations", "3", "a.npz")),
        ({"representations": np.full((2, EXAMPLES, 4), np.inf)}, ("representations", "NaN", "layer 1")),
        (
            {"probabilities": np.full((EXAMPLES, 2), 0.6)},
            ("probabilities", "sum to 1", "(axis 1)", "row 0"),
        ),
        (
            {"probabilities": np.tile([-0.5, 1.5], (EXAMPLES, 1))},
            ("probabilities", "0", "row 0", "class 0"),
        ),
        ({"examples": "f0"}, ("examples", "a.npz")),
        ({"ids": np.zeros(EXAMPLES, int)}, ("ids", "rows 0 and 1", "'0'")),
        ({"texts": np.full(EXAMPLES + 1, "x")}, ("20 rows", "21 texts")),
        ({"label_names": ["a", "b", "c"]}, ("3 label_names", "2 columns")),
        ({"ids": np.arange(EXAMPLES)[::-1]}, ("rows", "order", "c.npz")),
    ],
)
def test_a_file_that_is_wrong_or_does_not_fit_the_others_is_named(runs, changes, said):
    shared = {"examples": "f1", "ids": np.arange(EXAMPLES), "representations": np.zeros((2, EXAMPLES, 4))}
    np.savez(runs[0], **arrays(0, **shared))
    np.savez(runs[1], **arrays(1, **{**shared, **changes}))
    assert names(refused("measure", *runs), f"error: {runs[1]}", *said)


def test_a_file_without_predictions_is_named_with_what_it_holds(runs):
    np.savez(runs[1], other=np.zeros(2), labels=np.zeros(EXAMPLES))
    said = refused("measure", *runs)
    assert names(said, f"error: {runs[1]}:", "'logits'", "'probabilities'", "'predictions'", "'representations'")
    assert said.endswith("other, labels")


class Bomb:
    def __reduce__(self):
        return (raise_, ("unpickled",))


def raise_(text):
    raise AssertionError(text)


def test_a_file_with_objects_in_it_is_refused_without_reading_them(runs):
    np.savez(runs[1], logits=np.array([[Bomb()]], dtype=object), labels=np.zeros(1, int))
    assert names(refused("measure", *runs), str(runs[1]), ".npz", "pickles", "Python objects")
    runs[1].write_bytes(pickle.dumps(Bomb()))
    assert names(refused("measure", *runs), str(runs[1]), ".npz", "pickles")


def damage(path, how):
    content = path.read_bytes()
    if how == "empty":
        path.write_bytes(b"")
    elif how == "text":
        path.write_text("logits,labels\n")
    elif how == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif how == "flipped":
        middle = content.index(b"NUMPY") + 300
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :])
    elif how == "one array":
        np.save(path.with_suffix(".npy"), np.zeros(3))
        path.with_suffix(".npy").rename(path)
    elif how == "compressed badly":
        np.savez_compressed(path, **arrays(0))
        content = bytearray(path.read_bytes())
        content[200:260] = bytes(60)
        path.write_bytes(content)
    elif how == "huge header":
        with zipfile.ZipFile(path, "w") as archive:
            text = "{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999999, 9), }".ljust(117) + "\n"
            header = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()
            archive.writestr("logits.npy", header)
            archive.writestr("labels.npy", header)


@pytest.mark.parametrize("how", ["empty", "text", "cut", "flipped", "one array", "compressed badly", "huge header"])
def test_a_file_that_is_not_npz_or_damaged_is_named(runs, how):
    damage(runs[1], how)
    said = refused("measure", *runs)
    assert names(said, f"error: {runs[1]}", ".npz", "pickles")
    assert "allow_pickle" not in said


@pytest.mark.parametrize(("suffix", "said"), [("safetensors", "safetensors"), ("parquet", "parquet file")])
def test_a_file_of_another_format_that_is_damaged_is_named(runs, tmp_path, suffix, said):
    path = tmp_path / f"broken.{suffix}"
    path.write_bytes(runs[0].read_bytes()[:1000])
    assert names(refused("measure", *runs, path), f"error: {path} ", said)


def test_a_file_that_is_not_there_or_a_folder_is_named(runs, tmp_path):
    (tmp_path / "empty").mkdir()
    assert names(refused("measure", *runs, tmp_path / "none.npz"), "file or folder", str(tmp_path / "none.npz"))
    assert names(refused("measure", tmp_path / "none"), "file or folder", str(tmp_path / "none"))
    assert names(refused("measure", runs[0], tmp_path), f"{tmp_path} ", "folder", "files")
    assert names(refused("measure", tmp_path / "empty"), str(tmp_path / "empty"), "study.yaml", "(.npz, ")
