import numpy as np
import pytest
from external_runs import CLASSES, EXAMPLES, arrays
from saying import names, says
from scipy.special import softmax
from sklearn.metrics import f1_score

import steadytune as st
from steadytune.analysis.comparison.verdict import describe
from steadytune.errors import UserError

SHUFFLED = np.random.default_rng(5).permutation(EXAMPLES)


def test_files_of_several_formats_are_one_cohort(write, tmp_path):
    paths = [write("a", seed=0), tmp_path / "b.safetensors", tmp_path / "c.csv"]
    st.record_run(paths[1], **arrays(1))
    fields = arrays(2)
    header = ["label", *(f"prob_{number}" for number in range(CLASSES))]
    rows = np.column_stack([fields["labels"], softmax(fields["logits"], axis=1)])
    np.savetxt(paths[2], rows, delimiter=",", header=",".join(header), comments="", fmt="%.17g")
    cohort = st.read_runs(paths)
    assert cohort.seeds == ("a", "b", "c")
    assert cohort.logits is None
    expected = [softmax(arrays(seed)["logits"], axis=1) for seed in range(3)]
    np.testing.assert_allclose(cohort.probabilities, expected, atol=1e-15)
    np.testing.assert_array_equal(cohort.predictions, [arrays(seed)["logits"].argmax(1) for seed in range(3)])
    np.testing.assert_allclose(cohort.scores, (cohort.predictions == arrays(0)["labels"]).mean(axis=1))
    assert (cohort.metric, cohort.majority_score) == ("accuracy", pytest.approx(1 / 3))


def test_a_metric_is_taken_from_the_files_or_else_from_the_predictions(write):
    paths = [write(name, seed, **{"scores.mine": 0.1 * seed, "scores.loss": 0.5}) for seed, name in enumerate("ab")]
    assert (st.read_runs(paths).metric, st.read_runs(paths).scores.tolist()) == ("mine", [0.0, 0.1])
    recorded = st.read_runs(paths, "loss")
    assert recorded.scores.tolist() == [0.5, 0.5]
    assert (recorded.majority_score, recorded.failed) == (None, None)
    plain = st.read_runs([write("c", 0), write("d", 1)], "f1_macro")
    expected = [f1_score(arrays(s)["labels"], arrays(s)["logits"].argmax(1), average="macro") for s in (0, 1)]
    np.testing.assert_allclose(plain.scores, expected)
    assert plain.majority_score is not None


def test_a_recorded_score_that_is_the_metric_of_that_name_tells_which_runs_failed(write):
    paths = []
    for seed, name in enumerate("ab"):
        labels = np.arange(EXAMPLES) % CLASSES
        logits = np.eye(CLASSES)[labels if seed else [0] * EXAMPLES]
        score = 1.0 if seed else 1 / CLASSES
        paths.append(write(name, logits=logits, **{"scores.accuracy": score}))
    cohort = st.read_runs(paths)
    assert cohort.majority_score == pytest.approx(1 / 3)
    assert cohort.failed.tolist() == [True, False]


def test_without_labels_the_score_is_the_recorded_one_or_unknown(write):
    unknown = [write("a", 0, labels=None), write("b", 1, labels=None)]
    cohort = st.read_runs(unknown)
    assert not cohort.scored
    assert np.isfinite(st.profile(cohort).last("jensen_shannon").value)
    with pytest.raises(UserError, match=says("a.npz", "'accuracy'", "labels")):
        st.read_runs(unknown, "accuracy")
    scored = [write(name, seed, labels=None, scores=0.5 + seed) for seed, name in enumerate("cd")]
    assert st.read_runs(scored).scores.tolist() == [0.5, 1.5]


def test_one_column_of_logits_is_a_regression_only_if_that_is_said(write):
    outputs = np.arange(EXAMPLES)[:, None] * 1.0
    classes = [write(name, logits=outputs, labels=np.arange(EXAMPLES) % 2) for name in "ef"]
    with pytest.raises(UserError, match=says("(12, 1)", "zeros", "--set kind=classification", "--set kind=regression")):
        st.read_runs(classes)
    fields = {"logits": outputs, "labels": np.arange(EXAMPLES) ** 2 / 7}
    paths = [write("a", **fields), write("b", **fields)]
    # Labels with fractions are no classes.
    assert st.read_runs(paths).kind == "regression"
    cohort = st.read_runs(paths, "spearman")
    assert (cohort.kind, cohort.scores.tolist()) == ("regression", [1.0, 1.0])
    stated = [write(name, kind="regression", **fields) for name in "cd"]
    assert st.read_runs(stated).metric == "pearson"


def test_generated_texts_are_scored_by_equality_or_by_chrf(tmp_path):
    texts = [["a cat", "a dog"], ["a cat ", "a cow"]]
    for seed, generations in enumerate(texts):
        st.record_run(tmp_path / f"{seed}.safetensors", generations=generations, references=["a cat", "a cow"])
    cohort = st.read_runs([tmp_path])
    assert (cohort.kind, cohort.metric) == ("generation", "exact_match")
    assert cohort.scores.tolist() == [0.5, 1.0]
    assert cohort.generations == tuple(map(tuple, texts))
    chrf = st.read_runs([tmp_path], "chrf")
    assert chrf.scores[1] == 1
    assert 0.5 < chrf.scores[0] < 1
    with pytest.raises(UserError, match=says("'bleu'", "four words", "exact_match, chrf")):
        st.read_runs([tmp_path], "bleu")


def test_runs_are_named_by_seeds_or_by_as_much_of_the_path_as_tells_them_apart(tmp_path):
    for seed in (3, 4):
        st.record_run(tmp_path / f"{seed}/run.safetensors", **arrays(seed), seed=seed)
    paths = [tmp_path / "3/run.safetensors", tmp_path / "4/run.safetensors"]
    assert st.read_runs(paths).seeds == ("3", "4")
    st.record_run(paths[1], **arrays(4))
    # Folders tell apart what has one name.
    assert st.read_runs(paths).seeds == ("3", "4")


@pytest.mark.parametrize(
    ("mine", "others", "said"),
    [
        ({"labels": None}, {}, ["no labels", "a.npz"]),
        ({}, {"representations": np.zeros((2, EXAMPLES, 4))}, ["no representations", "a.npz"]),
        (
            {"logits": np.zeros((EXAMPLES, 4))},
            {},
            ["logits", "(12, 4)", "a.npz", "(12, 3)"],
        ),
        (
            {"representations": np.zeros((3, EXAMPLES, 4))},
            {"representations": np.zeros((2, EXAMPLES, 4))},
            ["layers", "3", "a.npz", "2"],
        ),
        (
            {"logits": None, "representations": np.zeros((1, EXAMPLES, 4))},
            {"representations": np.zeros((1, EXAMPLES, 4))},
            ["no logits", "a.npz"],
        ),
        (
            {"logits": None, "labels": None, "representations": np.zeros((2, 59, 4))},
            {"logits": None, "labels": None, "representations": np.zeros((2, 60, 4))},
            ["rows", "59", "a.npz", "60"],
        ),
        (
            {"labels": (np.arange(EXAMPLES) + 1) % 3},
            {},
            [": labels", "a.npz", "row 0", "1", "0", "--set id=NAME"],
        ),
        (
            {"examples": "f0"},
            {"examples": "f1"},
            [": examples", "a.npz"],
        ),
        (
            {"ids": np.arange(EXAMPLES)},
            {"ids": np.where(np.arange(EXAMPLES) == 5, 99, np.arange(EXAMPLES))},
            ["a.npz", "1 of 13", "(5)", "(99)"],
        ),
        # Matched by their names, the examples have other labels.
        ({"ids": SHUFFLED}, {"ids": np.arange(EXAMPLES)}, [": labels", "a.npz", "row 0", "2", "0"]),
        (
            {"label_names": ["a", "b", "c"]},
            {"label_names": ["a", "c", "b"]},
            [": label_names", "a.npz", "a, b, c", "a, c, b", "labels"],
        ),
        ({"kind": "choice"}, {"kind": "classification"}, [": kind", "a.npz"]),
    ],
)
def test_runs_over_other_examples_or_of_other_shapes_are_refused(write, mine, others, said):
    paths = [write("a", **others), write("b", **mine)]
    with pytest.raises(UserError, match=says("b.npz", *said)) as error:
        st.read_runs(paths)
    # Nothing to say of rows that have names.
    assert ("--set id=NAME" in str(error.value)) == ("--set id=NAME" in said)


def test_files_that_name_their_examples_are_compared_though_the_first_does_not(write):
    paths = [write("a"), write("b", examples="f0"), write("c", examples="f1")]
    with pytest.raises(UserError, match=says("c.npz: examples", "b.npz")):
        st.read_runs(paths)


def test_one_path_is_a_folder_and_no_path_or_one_file_is_refused(write):
    path = write("a")
    with pytest.raises(UserError, match=says("a.npz", "single run", "two")):
        st.read_runs(str(path))
    with pytest.raises(UserError, match="no run"):
        st.read_runs([])
    write("b", 1)
    assert st.read_runs(path.parent).seeds == ("a", "b")


def test_labels_of_true_and_false_are_classes_1_and_0(write):
    truth = np.arange(EXAMPLES) % 2
    logits = np.eye(2)[truth]
    cohort = st.read_runs([write(name, logits=logits, labels=truth == 1) for name in "ab"])
    assert cohort.labels.tolist() == truth.tolist()
    assert cohort.scores.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ids": np.arange(EXAMPLES + 1)}, ["12 rows", "logits", "13 ids"]),
        ({"token_logits": np.full((3, 2), np.nan)}, ["token_logits", "NaN", "token 0", "axis 0"]),
        ({"token_counts": [1, 1, 1]}, ["2 generations", "3 token_counts"]),
        ({"token_counts": [1.5, 1.5]}, [": token_counts", "(examples,)"]),
        ({"token_counts": [1, 1]}, ["token_logits", "token_counts", "(3, 2)"]),
        ({"token_counts": None}, ["token_logits", "token_counts", "(examples,)"]),
    ],
)
def test_a_file_that_does_not_fit_itself_is_named(write, changes, said):
    texts = {"logits": None, "labels": None, "generations": ["a", "b"]}
    texts |= {"token_logits": np.zeros((3, 2)), "token_counts": [1, 2]}
    fields = {} if "ids" in changes else texts
    with pytest.raises(UserError, match=says("b.npz", *said)):
        st.read_runs([write("a", **fields), write("b", **{**fields, **changes})])


def test_tokens_without_texts_have_no_score_though_there_are_references(write):
    fields = {"logits": None, "labels": None, "references": ["a", "b"], "token_counts": [1, 2]}
    paths = [write(name, **fields, token_logits=np.full((3, 2), seed)) for seed, name in enumerate("ab")]
    assert not st.read_runs(paths).scored
    with pytest.raises(UserError, match=says("a.npz", "'chrf'", "texts")):
        st.read_runs(paths, "chrf")


def test_a_score_is_shown_in_its_own_unit(write):
    paths = [write(name, seed, labels=None, **{"scores.meteor": 31.5 + seed}) for seed, name in enumerate("abc")]
    cohort = st.read_runs(paths)
    assert (cohort.scale.unit, cohort.scale.higher_is_better, cohort.failed) == ("", True, None)
    said = describe(st.profile(cohort))
    assert names(said, "meteor", "32.5", "SD 1 [")
    assert "points" not in said


def test_a_run_with_one_answer_is_named_though_nobody_knows_what_it_scores(write):
    logits = [np.eye(CLASSES)[np.arange(EXAMPLES) % CLASSES], np.eye(CLASSES)[[2] * EXAMPLES]]
    paths = [write(name, labels=None, logits=one) for name, one in zip("ab", logits, strict=True)]
    cohort = st.read_runs(paths)
    assert cohort.failed is None
    assert names(describe(st.profile(cohort)), "run b", "one class")


def test_the_positive_class_of_named_classes_is_in_the_name_of_the_metric(write):
    names = ["hate", "none"]
    labels = np.array([0, 1] * 6)
    right = np.eye(2)[labels]
    wrong = np.eye(2)[np.where(np.arange(12) < 2, 1 - labels, labels)]
    paths = [
        write(name, labels=labels, logits=one, label_names=names)
        for name, one in zip("ab", (right, wrong), strict=True)
    ]
    # One of 6 missed, one of 6 found wrongly.
    assert st.read_runs(paths, "f1").scores.tolist() == pytest.approx([1, 10 / 12])
    assert st.read_runs(paths, "f1").metric_name == "f1 of 'hate'"
    assert st.read_runs(paths, "f1", positive="none").metric_name == "f1 of 'none'"
    assert any("--positive" in note for note in st.profile(st.read_runs(paths, "f1")).notes)
