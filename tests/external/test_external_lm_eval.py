"""What the samples of lm-evaluation-harness say of answers; all values by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st_
from lm_eval_samples import ACCURACIES, GOLDS, LIKELIHOODS, RIGHT, choice, line, quiz, save, written
from saying import names, says
from scipy.spatial.distance import jensenshannon
from scipy.special import softmax

import steadytune as st
from steadytune.errors import UserError


def test_a_multiple_choice_has_its_accuracies_disagreement_and_probabilities(tmp_path):
    save(tmp_path, [quiz(run) for run in range(3)])
    cohort = st.read_runs(tmp_path)
    assert (cohort.kind, cohort.task, cohort.metric, cohort.seeds) == (
        "choice", "quiz", "accuracy", ("seed0", "seed1", "seed2"),
    )  # fmt: skip
    np.testing.assert_allclose(cohort.scores, ACCURACIES)
    np.testing.assert_allclose(cohort.probabilities, np.exp(LIKELIHOODS))
    assert cohort.labels.tolist() == GOLDS
    # Document 0: one run of three apart, 2 pairs of 3 differ; so does document 2.
    assert st.profile(cohort).last("disagreement").value == pytest.approx((2 / 3 + 0 + 2 / 3 + 0) / 4)


def test_documents_are_matched_by_their_number(tmp_path):
    in_order = st.read_runs([str(file) for file in save(tmp_path / "a", [quiz(run) for run in range(3)])])
    orders = [[0, 1, 2, 3], [3, 1, 0, 2], [2, 3, 1, 0]]
    shuffled = [[quiz(run)[doc] for doc in orders[run]] for run in range(3)]
    save(tmp_path / "b", shuffled)
    np.testing.assert_array_equal(st.read_runs(tmp_path / "b").logits, in_order.logits)


def test_choices_that_all_documents_share_are_classes(tmp_path):
    save(tmp_path, [quiz(run, choices=["no", "yes", "maybe"]) for run in range(3)])
    cohort = st.read_runs(tmp_path)
    assert (cohort.kind, cohort.label_names) == ("classification", ("no", "yes", "maybe"))
    np.testing.assert_allclose(cohort.scores, ACCURACIES)
    save(tmp_path / "letters", [quiz(run, choices=["A", "B", "C"]) for run in range(3)])
    assert st.read_runs(tmp_path / "letters").kind == "choice"


def test_targets_may_be_the_text_of_a_choice(tmp_path):
    def rows(run):
        texts = [[f"answer {doc} {at}" for at in range(3)] for doc in range(4)]
        return [
            choice(doc, LIKELIHOODS[run, doc], texts[doc][GOLDS[doc]], RIGHT[run, doc], texts[doc]) for doc in range(4)
        ]

    save(tmp_path, [rows(run) for run in range(3)])
    assert st.read_runs(tmp_path).labels.tolist() == GOLDS


def test_choices_that_are_numbers_are_read_as_the_accuracy_says(tmp_path):
    """The target 1 is either the choice "1", the first, or the second choice."""
    likelihoods = [[-1.0, -2.0], [-2.0, -1.0]]
    for name, right in (("text", [1.0, 0.0]), ("number", [0.0, 1.0])):
        rows = [[choice(0, own, "1", score, ["1", "2"])] for own, score in zip(likelihoods, right, strict=True)]
        save(tmp_path / name, rows)
        cohort = st.read_runs(tmp_path / name)
        np.testing.assert_allclose(cohort.scores, right)
        assert cohort.labels.tolist() == [0 if name == "text" else 1]


def test_choices_in_the_context_have_a_label_by_their_score(tmp_path):
    """WinoGrande: two contexts, one continuation, which is the target."""

    def rows(likelihoods, right):
        return [
            line(
                doc,
                [(f"Ann {doc}", " left."), (f"Eve {doc}", " left.")],
                [[str(one), "False"] for one in own],
                "left.",
                {"acc": score},
            )
            for doc, (own, score) in enumerate(zip(likelihoods, right, strict=True))
        ]

    save(tmp_path, [rows([(-1, -2), (-1, -2)], [1.0, 0.0]), rows([(-2, -1), (-2, -1)], [0.0, 1.0])])
    cohort = st.read_runs(tmp_path)
    assert cohort.labels.tolist() == [0, 1]
    np.testing.assert_allclose(cohort.scores, [0.5, 0.5])


def test_a_score_that_is_no_comparison_with_the_target_is_shown_as_recorded(tmp_path):
    """TruthfulQA's second score is the probability of all true answers, while the target is always 0."""
    rows = [[choice(doc, LIKELIHOODS[run, doc], 0, 0.25 + run / 4) for doc in range(4)] for run in range(3)]
    save(tmp_path, rows)
    cohort = st.read_runs(tmp_path, metric="acc")
    np.testing.assert_allclose(cohort.scores, [0.25, 0.5, 0.75])
    wrong = [[choice(doc, LIKELIHOODS[run, doc], 0, 1.0) for doc in range(4)] for run in range(3)]
    save(tmp_path / "wrong", wrong)
    cohort = st.read_runs(tmp_path / "wrong")
    assert cohort.labels is None
    np.testing.assert_allclose(cohort.scores, [1, 1, 1])
    assert names(" ".join(cohort.notes), "labels", "acc")


def test_documents_may_have_different_numbers_of_choices(tmp_path):
    def rows(run):
        return [choice(0, LIKELIHOODS[run, 0], 0, RIGHT[run, 0]), choice(1, [-1.0, -1.0 - run], 0, 1.0)]

    save(tmp_path, [rows(run) for run in range(3)])
    cohort = st.read_runs(tmp_path)
    expected = [[*softmax([-1.0, -1.0 - run]), 0] for run in range(3)]
    np.testing.assert_allclose(cohort.probabilities[:, 1], expected, atol=1e-9)
    np.testing.assert_allclose(cohort.scores, [1, 1, 0.5])
    assert names(" ".join(cohort.notes), "2 to 3 choices")
    pairs = [(0, 1), (0, 2), (1, 2)]
    apart = [
        jensenshannon(cohort.probabilities[i, doc], cohort.probabilities[j, doc]) ** 2
        for i, j in pairs
        for doc in (0, 1)
    ]
    assert st.profile(cohort).last("jensen_shannon").value == pytest.approx(np.mean(apart))


@given(st_.data())
def test_any_choices_have_the_accuracy_and_disagreement_of_their_highest_outputs(tmp_path_factory, data):
    """Up to four choices each, in another order in every run; log-likelihoods are distinct."""
    sizes = data.draw(st_.lists(st_.integers(2, 4), min_size=1, max_size=5))
    golds = [data.draw(st_.integers(0, size - 1)) for size in sizes]
    outputs = [
        [data.draw(st_.lists(st_.integers(-60, -1), min_size=size, max_size=size, unique=True)) for size in sizes]
        for _ in range(2)
    ]
    chosen = [[own.index(max(own)) for own in run] for run in outputs]
    right = [[float(one == gold) for one, gold in zip(run, golds, strict=True)] for run in chosen]
    orders = [data.draw(st_.permutations(range(len(sizes)))) for _ in range(2)]
    folder = tmp_path_factory.mktemp("runs")
    save(
        folder, [[choice(doc, outputs[run][doc], golds[doc], right[run][doc]) for doc in orders[run]] for run in (0, 1)]
    )
    cohort = st.read_runs(folder, metric="accuracy")
    np.testing.assert_allclose(cohort.scores, np.mean(right, axis=1))
    np.testing.assert_array_equal(cohort.predictions, np.array(chosen)[:, orders[0]])
    assert cohort.labels.tolist() == [golds[doc] for doc in orders[0]]


def test_what_is_chosen_by_length_can_be_measured_instead(tmp_path):
    """Of "ab" and "abcd": -2 and -3.6 in all is -1 and -0.9 per character; -1 and -3 is -1/2 and -3/4."""

    def rows(*likelihoods):
        return [
            choice(doc, own, 0, float(own[0] > own[1]), ["ab", "abcd"], acc_norm=float(own[0] / 2 > own[1] / 4))
            for doc, own in enumerate(likelihoods)
        ]

    save(tmp_path, [rows((-2.0, -3.6), (-1.0, -3.0)), rows((-1.0, -3.0), (-1.0, -3.0))])
    cohort = st.read_runs(tmp_path)
    np.testing.assert_allclose(cohort.scores, [1, 1])
    assert names(" ".join(cohort.notes), "'acc'", "'acc_norm'", "--set filter=NAME")
    np.testing.assert_allclose(st.read_runs(tmp_path, metric="acc_norm").scores, [1 / 2, 1])
    cohort = st.read_runs(tmp_path, columns={"filter": "acc_norm"})
    assert (cohort.metric, cohort.predictions.tolist()) == ("accuracy", [[1, 0], [0, 0]])
    np.testing.assert_allclose(cohort.scores, [1 / 2, 1])
    assert st.profile(cohort).last("disagreement").value == pytest.approx(1 / 2)


def test_a_score_by_length_that_is_not_reproduced_is_a_score_alone(tmp_path):
    save(tmp_path, [quiz(run, acc_norm=0.0) for run in range(3)])
    cohort = st.read_runs(tmp_path)
    np.testing.assert_allclose(cohort.scores, ACCURACIES)
    assert names(" ".join(cohort.notes), "acc_norm", "--metric")
    np.testing.assert_allclose(st.read_runs(tmp_path, metric="acc_norm").scores, 0)
    with pytest.raises(UserError, match=says("'acc_norm'", "none")):
        st.read_runs(tmp_path, columns={"filter": "acc_norm"})


def test_pairs_of_mutual_information_are_halved(tmp_path):
    def rows(run):
        plain = quiz(run)
        for row in plain:
            arguments = list(row["arguments"].values())
            unconditional = [{"arg_0": "", "arg_1": one["arg_1"]} for one in arguments]
            row["arguments"] = {f"gen_args_{at}": one for at, one in enumerate([*arguments, *unconditional])}
            row["filtered_resps"] = [*row["filtered_resps"], *([["-1.0", "False"]] * 3)]
            row["acc_mutual_info"] = 0.0
            row["metrics"] = ["acc", "acc_mutual_info"]
        return plain

    save(tmp_path, [rows(run) for run in range(3)])
    np.testing.assert_allclose(st.read_runs(tmp_path).logits, LIKELIHOODS)


def test_numbers_and_lists_of_older_versions_are_read(tmp_path):
    def older(row):
        row = {name: value for name, value in row.items() if name not in ("filter", "metrics", "doc_hash")}
        row["arguments"] = [list(one.values()) for one in row["arguments"].values()]
        row["filtered_resps"] = [[float(value), False] for value, _ in row["filtered_resps"]]
        return row

    save(tmp_path, [list(map(older, quiz(run))) for run in range(3)])
    cohort = st.read_runs(tmp_path)
    np.testing.assert_allclose(cohort.scores, ACCURACIES)
    np.testing.assert_allclose(cohort.logits, LIKELIHOODS)


def test_generated_texts_are_right_where_the_harness_says_so(tmp_path):
    """The target is a derivation that ends in the number; comparison with it alone would give 0."""
    texts = [["4", "9", "7"], ["4", "8", "7"], ["5", "9", "7"]]
    right = [[1.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    rows = [
        [written(doc, text, f"2 + 2 = 4 #### {doc}", score) for doc, (text, score) in enumerate(zip(*own, strict=True))]
        for own in zip(texts, right, strict=True)
    ]
    save(tmp_path, rows)
    cohort = st.read_runs(tmp_path)
    assert (cohort.kind, cohort.metric) == ("generation", "exact_match")
    np.testing.assert_allclose(cohort.scores, [2 / 3, 1 / 3, 1 / 3])
    assert cohort.generations == tuple(map(tuple, texts))
    profile = st.profile(cohort)
    assert profile.last("disagreement").value == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    # Known example by example: an interval over examples too.
    assert np.isfinite(profile.last("disagreement").interval.low)
    assert names(" ".join(cohort.notes), "lm-evaluation-harness", "exact_match")


def test_plain_equality_needs_no_word(tmp_path):
    save(tmp_path, [[written(0, "a", "a", 1.0), written(1, "b", "c", 0.0)] for _ in range(2)])
    cohort = st.read_runs(tmp_path)
    assert cohort.references == ("a", "c")
    assert not any("counted" in note for note in cohort.notes)


def test_a_text_that_was_counted_both_ways_leaves_the_score_as_recorded(tmp_path):
    save(tmp_path, [[written(0, "same", "other", 1.0)], [written(0, "same", "other", 0.0)]])
    cohort = st.read_runs(tmp_path)
    np.testing.assert_allclose(cohort.scores, [1, 0])
    assert cohort.references is None
    assert names(" ".join(cohort.notes), "exact_match", "recorded")


def test_of_several_filters_one_is_measured_and_named(tmp_path):
    rows = [
        [
            *(written(doc, "[invalid]", str(doc), 0.0, "strict-match") for doc in range(2)),
            *(written(doc, str(doc + run), str(doc), float(not run), "flexible-extract") for doc in range(2)),
        ]
        for run in range(2)
    ]
    save(tmp_path, rows)
    cohort = st.read_runs(tmp_path)
    np.testing.assert_allclose(cohort.scores, [0, 0])
    assert names(" ".join(cohort.notes), "strict-match", "flexible-extract", "--set filter=")
    chosen = st.read_runs(tmp_path, columns={"filter": "flexible-extract"})
    np.testing.assert_allclose(chosen.scores, [1, 0])
    with pytest.raises(UserError, match=says("'flexible'", "flexible-extract", "strict-match")):
        st.read_runs(tmp_path, columns={"filter": "flexible"})
    for own in rows:
        for row in own:
            del row["filter"]
    save(tmp_path / "older", rows)
    np.testing.assert_allclose(st.read_runs(tmp_path / "older").scores, [0, 0])
    np.testing.assert_allclose(st.read_runs(tmp_path / "older", columns={"filter": "2"}).scores, [1, 0])


def test_several_targets_and_several_texts_are_lists(tmp_path):
    rows = [[written(0, "b", ["a", "b"], 1.0), written(1, "x", ["a", "b"], 0.0)] for _ in range(2)]
    save(tmp_path, rows)
    cohort = st.read_runs(tmp_path)
    assert cohort.references == (("a", "b"), ("a", "b"))
    np.testing.assert_allclose(cohort.scores, 1 / 2)
    repeated = [[written(0, ["b", "c"], "b", 0.5), written(1, ["x", "y"], "b", 0.0)] for _ in range(2)]
    save(tmp_path / "repeated", repeated)
    cohort = st.read_runs(tmp_path / "repeated")
    assert cohort.generations[0] == ("b", "x")
    np.testing.assert_allclose(cohort.scores, 0.25)
    assert names(" ".join(cohort.notes), "2 texts", "first")
    for own in rows:
        for row in own:
            row["resps"] = [["b", "x", "b"]]
    save(tmp_path / "voted", rows)
    assert names(" ".join(st.read_runs(tmp_path / "voted").notes), "3 times", "filter")


def test_log_likelihoods_alone_have_scores_and_nothing_else(tmp_path):
    """LAMBADA: perplexity is the exponential of the negative mean; a rolling one is weighted by words."""
    rows = [
        [
            line(
                doc,
                [(f"text {doc}", " word")],
                [[str(-1.0 - run), "True"]],
                "word",
                {"perplexity": -1.0 - run, "acc": 1},
            )
            for doc in range(2)
        ]
        for run in range(2)
    ]
    save(tmp_path, rows)
    cohort = st.read_runs(tmp_path, metric="perplexity")
    np.testing.assert_allclose(cohort.scores, [math.e, math.e**2])
    np.testing.assert_allclose(st.read_runs(tmp_path).scores, [1, 1])
    rolling = [
        [
            {
                **line(doc, [], [str(ll)], "long text", {"word_perplexity": [ll, words]}),
                "arguments": {"gen_args_0": {"arg_0": "long text"}},
            }
            for doc, (ll, words) in enumerate([(-10.0 * (run + 1), 2), (-20.0, 8)])
        ]
        for run in range(2)
    ]
    save(tmp_path / "rolling", rolling)
    np.testing.assert_allclose(st.read_runs(tmp_path / "rolling").scores, [math.exp(30 / 10), math.exp(40 / 10)])


def test_a_run_without_any_number_diverged(tmp_path):
    lost = [choice(doc, [math.nan] * 3, GOLDS[doc], float(GOLDS[doc] == 0)) for doc in range(4)]
    save(tmp_path, [quiz(0), quiz(1), lost])
    cohort = st.read_runs(tmp_path)
    assert [one.status for one in cohort.lost] == ["diverged"]
    np.testing.assert_allclose(cohort.scores, ACCURACIES[:2])


def test_what_is_one_or_zero_without_being_right_defines_no_right_texts(tmp_path):
    def rows(run):
        row = written(0, f"text {run}", "target", 0.0)
        del row["exact_match"]
        return [row | {"metrics": ["toxicity"], "toxicity": float(run)}]

    save(tmp_path, [rows(0), rows(1)])
    np.testing.assert_allclose(st.read_runs(tmp_path, metric="toxicity").scores, [0, 1])
    assert st.read_runs(tmp_path).references == ("target",)


def test_of_no_target_what_was_counted_as_right_is(tmp_path):
    rows = [[written(doc, f"text {run}", None, float(doc and run)) for doc in range(2)] for run in range(2)]
    for row in (row for own in rows for row in own):
        row["target"] = None
    save(tmp_path, rows)
    np.testing.assert_allclose(st.read_runs(tmp_path).scores, [0, 1 / 2])


@pytest.mark.parametrize(("metric", "target"), [("prompt_level_strict_acc", "0"), ("pass@1", None)])
def test_what_a_constant_text_scores_is_unknown_where_the_harness_judges_by_something_else(tmp_path, metric, target):
    """Every target "0" of ifeval, or none of code: no harness would accept what stands there throughout."""
    right = [[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 1.0, 0.0]]
    rows = [[written(doc, f"text {doc} of {run}", "0", 0.0) for doc in range(4)] for run in range(2)]
    for own, judged in zip(rows, right, strict=True):
        for row, score in zip(own, judged, strict=True):
            del row["exact_match"]
            row |= {"target": target, "metrics": [metric], metric: score}
    save(tmp_path, rows)
    cohort = st.read_runs(tmp_path)
    np.testing.assert_allclose(cohort.scores, 1 / 2)
    assert (cohort.majority_score, cohort.failed) == (None, None)
    # Runs that agree with their targets have such a score.
    save(tmp_path / "plain", [[written(doc, text, "0", float(text == "0")) for doc, text in enumerate("0x")]] * 2)
    assert st.read_runs(tmp_path / "plain").majority_score == 1


def test_a_text_that_stands_for_others_is_close_to_no_text(tmp_path):
    rows = [[written(0, "so it is 4", "4", 1.0), written(1, "that was counted", "5", 0.0)] for _ in range(2)]
    save(tmp_path, rows)
    np.testing.assert_allclose(st.read_runs(tmp_path, metric="chrf").scores, 1 / 2)
