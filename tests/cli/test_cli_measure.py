import pickle
import zipfile

import numpy as np
import pytest
from commands import command, refused
from made_runs import made_store

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


def test_they_are_measured_without_representations_and_by_another_metric(tmp_path):
    for seed in range(2):
        np.savez(tmp_path / f"{seed}.npz", **arrays(seed))
    result = command("measure", tmp_path / "0.npz", tmp_path / "1.npz", "--metric", "matthews")
    assert result.code == 0, result.err
    assert "matthews" in result.out


def test_one_run_has_a_score_and_no_instability(runs):
    result = command("measure", runs[0])
    assert result.code == 0, result.err
    assert "these runs" in result.out


def test_a_folder_of_a_study_is_measured(tmp_path):
    store = made_store(tmp_path / "out")
    result = command("measure", store.path)
    assert result.code == 0, result.err
    assert "standard" in result.out
    assert not (store.path / "report.html").exists()


def test_a_metric_that_is_unknown_or_means_nothing_here_is_refused(runs):
    assert "unknown metric 'acuracy': did you mean 'accuracy'?" in refused("measure", *runs, "--metric", "acuracy")
    assert "metric 'pearson' is not defined for a classification task" in refused(
        "measure", *runs, "--metric", "pearson"
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {
                "logits": np.zeros((EXAMPLES + 1, CLASSES)),
                "labels": np.zeros(EXAMPLES + 1, int),
                "representations": np.zeros((2, EXAMPLES + 1, 4)),
            },
            "logits of shape (21, 2), but",
        ),
        ({"logits": np.zeros((EXAMPLES, 3))}, "logits of shape (20, 3), but"),
        ({"logits": np.zeros(EXAMPLES)}, "logits must be (examples, two or more classes), not (20,)"),
        ({"logits": np.zeros((EXAMPLES, 1))}, "logits must be (examples, two or more classes), not (20, 1)"),
        ({"logits": np.zeros((0, 2)), "labels": np.zeros(0, int)}, "logits must be (examples, two or more classes)"),
        ({"logits": np.full((EXAMPLES, CLASSES), np.nan)}, "logits hold NaN or infinity: a diverged run cannot be"),
        ({"logits": np.full((EXAMPLES, CLASSES), "x")}, "logits must be real numbers, not <U1"),
        ({"labels": np.zeros(EXAMPLES - 1, int)}, "labels must be (20,), one for each row of logits, not (19,)"),
        ({"labels": np.full(EXAMPLES, 2)}, "labels must be 0 to 1, the columns of logits"),
        ({"labels": np.full(EXAMPLES, -1)}, "labels must be 0 to 1, the columns of logits"),
        ({"labels": np.full(EXAMPLES, 0.5)}, "labels must be 0 to 1, the columns of logits"),
        ({"labels": np.full(EXAMPLES, "yes")}, "labels must be real numbers, not <U3"),
        ({"labels": np.zeros(EXAMPLES, int)}, "labels differ from those of"),
        ({"representations": np.zeros((EXAMPLES, 4))}, "representations must be (layers, 20, width), not (20, 4)"),
        ({"representations": np.zeros((3, EXAMPLES, 4))}, "representations of 3 layers, but"),
        ({"representations": np.full((2, EXAMPLES, 4), np.inf)}, "representations hold NaN or infinity"),
    ],
)
def test_a_file_that_is_wrong_or_does_not_fit_the_others_is_named(runs, changes, said):
    changed = {"representations": np.zeros((2, EXAMPLES, 4)), **changes}
    np.savez(runs[1], **arrays(1, **changed))
    assert refused("measure", *runs).startswith(f"error: {runs[1]}: {said}")


@pytest.mark.parametrize("missing", ["logits", "labels"])
def test_a_file_without_an_array_is_named_with_what_it_holds(runs, missing):
    kept = {"other": np.zeros(2), **{name: array for name, array in arrays(1).items() if name != missing}}
    np.savez(runs[1], **kept)
    said = f"error: {runs[1]}: no array '{missing}'; it holds {', '.join(kept)}"
    assert refused("measure", *runs) == said


class Bomb:
    def __reduce__(self):
        return (raise_, ("unpickled",))


def raise_(text):
    raise AssertionError(text)


def test_a_file_with_objects_in_it_is_refused_without_reading_them(runs):
    np.savez(runs[1], logits=np.array([[Bomb()]], dtype=object), labels=np.zeros(1, int))
    assert "cannot be read as .npz without pickles: Object arrays cannot be loaded" in refused("measure", *runs)
    runs[1].write_bytes(pickle.dumps(Bomb()))
    assert "cannot be read as .npz without pickles" in refused("measure", *runs)


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
    assert refused("measure", *runs).startswith(f"error: {runs[1]} cannot be read as .npz without pickles: ")


def test_a_file_that_is_not_there_or_a_folder_is_named(runs, tmp_path):
    assert refused("measure", *runs, tmp_path / "none.npz") == f"error: no file {tmp_path / 'none.npz'}"
    assert "is a folder: measure one folder of a study, or .npz files" in refused("measure", runs[0], tmp_path)
    assert "holds no study.yaml" in refused("measure", tmp_path)
