import numpy as np
import pytest
from external_runs import CLASSES, EXAMPLES, arrays
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
    with pytest.raises(UserError, match=r"a\.npz: metric 'accuracy' needs labels"):
        st.read_runs(unknown, "accuracy")
    scored = [write(name, seed, labels=None, scores=0.5 + seed) for seed, name in enumerate("cd")]
    assert st.read_runs(scored).scores.tolist() == [0.5, 1.5]


def test_one_column_of_logits_is_a_regression_only_if_that_is_said(write):
    outputs = np.arange(EXAMPLES)[:, None] * 1.0
    classes = [write(name, logits=outputs, labels=np.arange(EXAMPLES) % 2) for name in "ef"]
    with pytest.raises(UserError, match=r"not \(12, 1\); for two classes put a column of zeros before them"):
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
    with pytest.raises(UserError, match="unknown metric 'bleu': valid: chrf, exact_match"):
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
        ({"labels": None}, {}, "b.npz has no labels, but "),
        ({}, {"representations": np.zeros((2, EXAMPLES, 4))}, "b.npz has no representations, but "),
        (
            {"logits": np.zeros((EXAMPLES, 4))},
            {},
            r"b.npz: logits or probabilities of shape \(12, 4\), but .* \(12, 3\)",
        ),
        (
            {"representations": np.zeros((3, EXAMPLES, 4))},
            {"representations": np.zeros((2, EXAMPLES, 4))},
            "b.npz: layers of representations: 3, but .*a.npz has 2",
        ),
        (
            {"logits": None, "representations": np.zeros((1, EXAMPLES, 4))},
            {"representations": np.zeros((1, EXAMPLES, 4))},
            "b.npz has no logits or probabilities, but ",
        ),
        (
            {"logits": None, "labels": None, "representations": np.zeros((2, 59, 4))},
            {"logits": None, "labels": None, "representations": np.zeros((2, 60, 4))},
            "b.npz: rows of representations: 59, but .*a.npz has 60",
        ),
        (
            {"labels": (np.arange(EXAMPLES) + 1) % 3},
            {},
            r"b.npz: labels differ .*first in row 0 \(1, not 0\): the runs",
        ),
        (
            {"examples": "f0"},
            {"examples": "f1"},
            "b.npz: examples differ from those of .*a.npz: the runs measured other",
        ),
        (
            {"ids": np.arange(EXAMPLES)},
            {"ids": np.where(np.arange(EXAMPLES) == 5, 99, np.arange(EXAMPLES))},
            r"b.npz: ids differ from those of .*a.npz, first in row 5 \(5, not 99\): the runs measured other examples",
        ),
        # Matched by their names, the examples have other labels.
        ({"ids": SHUFFLED}, {"ids": np.arange(EXAMPLES)}, "labels differ .* the runs measured other examples"),
        (
            {"label_names": ["a", "b", "c"]},
            {"label_names": ["a", "c", "b"]},
            "label_names name the classes in another order .* while the labels are the same numbers",
        ),
        ({"kind": "choice"}, {"kind": "classification"}, "kind differ"),
    ],
)
def test_runs_over_other_examples_or_of_other_shapes_are_refused(write, mine, others, said):
    paths = [write("a", **others), write("b", **mine)]
    with pytest.raises(UserError, match=said):
        st.read_runs(paths)


def test_files_that_name_their_examples_are_compared_though_the_first_does_not(write):
    paths = [write("a"), write("b", examples="f0"), write("c", examples="f1")]
    with pytest.raises(UserError, match=r"c\.npz: examples differ from those of .*b\.npz"):
        st.read_runs(paths)


def test_one_path_is_a_folder_and_no_path_or_one_file_is_refused(write):
    path = write("a")
    with pytest.raises(UserError, match=r"a\.npz is one run: instability needs at least two"):
        st.read_runs(str(path))
    with pytest.raises(UserError, match="no run is given"):
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
        ({"ids": np.arange(EXAMPLES + 1)}, "12 rows of logits but 13 ids: one per example is needed"),
        ({"token_logits": np.full((3, 2), np.nan)}, r"token_logits hold NaN or infinity, first at token 0 \(axis 0\)"),
        ({"token_counts": [1, 1, 1]}, "2 generations but 3 token_counts: one per example is needed"),
        ({"token_counts": [1.5, 1.5]}, r"token_counts must be \(examples,\), how many tokens"),
        ({"token_counts": [1, 1]}, r"token_logits must be .*as many as token_counts sum to, not \(3, 2\)"),
        ({"token_counts": None}, r"token_logits need token_counts \(examples,\)"),
    ],
)
def test_a_file_that_does_not_fit_itself_is_named(write, changes, said):
    texts = {"logits": None, "labels": None, "generations": ["a", "b"]}
    texts |= {"token_logits": np.zeros((3, 2)), "token_counts": [1, 2]}
    fields = {} if "ids" in changes else texts
    with pytest.raises(UserError, match=rf"b\.npz: {said}"):
        st.read_runs([write("a", **fields), write("b", **{**fields, **changes})])


def test_tokens_without_texts_have_no_score_though_there_are_references(write):
    fields = {"logits": None, "labels": None, "references": ["a", "b"], "token_counts": [1, 2]}
    paths = [write(name, **fields, token_logits=np.full((3, 2), seed)) for seed, name in enumerate("ab")]
    assert not st.read_runs(paths).scored
    with pytest.raises(UserError, match=r"a\.npz: metric 'chrf' needs texts"):
        st.read_runs(paths, "chrf")


def test_a_score_is_shown_in_its_own_unit(write):
    paths = [write(name, seed, labels=None, **{"scores.bleu": 31.5 + seed}) for seed, name in enumerate("abc")]
    cohort = st.read_runs(paths)
    assert (cohort.scale.unit, cohort.scale.higher_is_better, cohort.failed) == ("", True, None)
    said = describe(st.profile(cohort))
    assert "bleu 32.5 on average, score SD 1 [" in said
    assert "points" not in said


def test_a_run_with_one_answer_is_named_though_nobody_knows_what_it_scores(write):
    logits = [np.eye(CLASSES)[np.arange(EXAMPLES) % CLASSES], np.eye(CLASSES)[[2] * EXAMPLES]]
    paths = [write(name, labels=None, logits=one) for name, one in zip("ab", logits, strict=True)]
    cohort = st.read_runs(paths)
    assert cohort.failed is None
    assert "run b collapsed to one class" in describe(st.profile(cohort))


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
