"""Sets of labels: their loss, their numbers, what is measured of them, and what is refused."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from saying import says
from scipy.spatial.distance import jensenshannon
from scipy.special import expit
from transformers import BertConfig, BertForSequenceClassification

from steadytune.analysis.failures import failure_clauses
from steadytune.analysis.flips import flip_rows
from steadytune.analysis.profile import profile
from steadytune.errors import UserError
from steadytune.external import read_runs, record_run
from steadytune.kinds import KINDS
from steadytune.measures.sets import pair_label_disagreements, pair_label_divergences, pair_set_disagreements
from steadytune.records import Cohort

MULTILABEL = KINDS["multilabel"]
NAMES = ("red", "green", "blue")


def made(runs=4, examples=40, labels=3, seed=0):
    rng = np.random.default_rng(seed)
    right = rng.integers(0, 2, (examples, labels))
    return 2.0 * (2 * right - 1) + 2 * rng.normal(size=(runs, examples, labels)), right


def test_the_loss_is_that_of_transformers():
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=11, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, num_labels=3,
        problem_type="multi_label_classification",
    )  # fmt: skip
    labels = torch.tensor([[1.0, 0, 1], [0, 0, 0]])
    outputs = BertForSequenceClassification(config).eval()(input_ids=torch.arange(8).view(2, 4), labels=labels)

    assert MULTILABEL.criterion()(outputs.logits, labels).item() == pytest.approx(outputs.loss.item(), rel=1e-6)
    with pytest.raises(UserError, match="smoothing"):
        MULTILABEL.criterion(0.1)
    with pytest.raises(UserError, match=says("examples, labels", "(2,)")):
        MULTILABEL.check_batch_labels(torch.tensor([0, 1]))


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 130), st.integers(0, 10**6))
def test_equal_sets_have_equal_numbers_and_other_sets_other_ones(labels, seed):
    rng = np.random.default_rng(seed)
    sets = rng.random((2, 12, labels)) < rng.choice([0.05, 0.5])
    coded = MULTILABEL.coded(sets)

    assert coded.shape == (2, 12)
    assert (coded >= 0).all()
    flat, numbers = sets.reshape(24, labels), coded.reshape(24)
    equal = (flat[:, None] == flat[None]).all(axis=-1)
    assert np.array_equal(equal, numbers[:, None] == numbers[None])
    # Whatever is coded with it.
    assert np.array_equal(MULTILABEL.coded(sets[1, 3:5]), coded[1, 3:5])


def test_by_hand_two_runs_differ_by_set_and_by_label():
    sets = [[[1, 0, 1], [0, 0, 0]], [[1, 0, 1], [0, 1, 1]]]

    assert pair_set_disagreements(sets).tolist() == [[False, True]]
    assert pair_label_disagreements(sets).tolist() == [[0, 2 / 3]]


def test_the_divergence_is_the_mean_over_labels_of_that_of_two_classes():
    chances = np.random.default_rng(0).uniform(size=(3, 5, 4))
    found = pair_label_divergences(chances)
    for pair, (one, other) in enumerate([(0, 1), (0, 2), (1, 2)]):
        p, q = (np.stack([chances[run], 1 - chances[run]]) for run in (one, other))
        assert found[pair] == pytest.approx((jensenshannon(p, q, axis=0) ** 2).mean(axis=-1))
    with pytest.raises(ValueError, match="logits"):
        pair_label_divergences(chances + 1)


def test_a_cohort_is_scored_and_measured():
    logits, labels = made()
    cohort = Cohort(logits=logits, labels=labels, kind="multilabel", label_names=NAMES)
    found = profile(cohort, resamples=100)
    sets = logits > 0

    assert cohort.metric == "f1_micro"
    pairs = [(a, b) for a in range(4) for b in range(a + 1, 4)]
    assert found.last("disagreement").value == pytest.approx(
        np.mean([(sets[a] != sets[b]).any(axis=1).mean() for a, b in pairs])
    )
    assert found.last("label_disagreement").value == pytest.approx(
        np.mean([(sets[a] != sets[b]).mean() for a, b in pairs])
    )
    assert np.isfinite(found.last("jensen_shannon").high)
    assert {value.measure for value in found.values} >= {"disagreement", "label_disagreement", "jensen_shannon"}
    assert "kappa" not in {value.measure for value in found.values}
    assert cohort.probabilities == pytest.approx(expit(logits))
    assert np.array_equal(cohort.predictions, MULTILABEL.coded(sets))


def test_flips_name_the_labels_of_a_set_even_of_many():
    for width in (3, 80):
        logits, labels = made(labels=width)
        cohort = Cohort(logits=logits, labels=labels, kind="multilabel")
        names = [f"l{at}" for at in range(width)]
        rows = {row.example: row for row in flip_rows([cohort], {"": {"labels": names}})}
        for example in (0, 7):
            shown = " + ".join(name for name, held in zip(names, labels[example], strict=True) if held) or "none"
            assert rows[example].label == shown


def test_a_run_that_always_gives_the_most_frequent_set_is_said_to_have_collapsed():
    logits, labels = made()
    labels[:25] = [1, 0, 1]
    logits[0] = [3, -3, 3]
    cohort = Cohort(logits=logits, labels=labels, kind="multilabel", metric="subset_accuracy")

    assert cohort.failed.tolist()[0]
    assert any("seed 0" in clause and "collapsed" in clause for clause in failure_clauses(cohort))


def test_recorded_runs_are_read_again(tmp_path):
    logits, labels = made()
    cohort = Cohort(logits=logits, labels=labels, kind="multilabel", label_names=NAMES)
    for seed, run in enumerate(logits):
        record_run(tmp_path / f"{seed}.safetensors", logits=run, labels=labels, kind="multilabel", label_names=NAMES)
    read = read_runs(tmp_path)

    assert (read.kind, read.metric, read.label_names) == ("multilabel", "f1_micro", NAMES)
    assert read.scores.tolist() == cohort.scores.tolist()
    assert "red" in read.read["labels"]


def test_arrays_without_a_kind_in_the_file_are_read_as_asked(tmp_path):
    logits, labels = made()
    for seed, run in enumerate(logits):
        np.savez(tmp_path / f"{seed}.npz", probabilities=expit(run), labels=labels)
    read = read_runs(tmp_path, columns={"kind": "multilabel"})

    assert read.scores.tolist() == pytest.approx(Cohort(logits=logits, labels=labels, kind="multilabel").scores)


def test_probabilities_that_are_called_logits_are_not_cut_at_0():
    logits, labels = made()
    cohort = Cohort(logits=expit(logits), labels=labels, kind="multilabel")

    assert cohort.logits is None
    assert any("sigmoid" in note for note in cohort.notes)
    assert cohort.scores.tolist() == Cohort(logits=logits, labels=labels, kind="multilabel").scores.tolist()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"labels": np.zeros(40)}, ["labels", "(examples, labels)", "(40,)"]),
        ({"labels": np.full((40, 3), 2)}, ["labels", "0 or 1", "row 0", "2"]),
        ({"labels": np.zeros((40, 2))}, ["(40, 3)", "(40, 2)"]),
        ({"logits": None, "probabilities": np.full((4, 40, 3), 1.5)}, ["[0, 1]", "logits"]),
        ({"probabilities": np.full((4, 40, 3), 0.5)}, ["contradict", "row 0"]),
        ({"logits": None, "predictions": np.zeros((4, 40), dtype=int)}, ["predictions", "probabilities"]),
    ],
)
def test_what_does_not_fit_is_refused(change, told):
    logits, labels = made()
    with pytest.raises(UserError, match=says(*told)):
        Cohort(kind="multilabel", **{"logits": logits, "labels": labels, **change})


def test_there_is_a_name_for_each_label(tmp_path):
    logits, labels = made()
    with pytest.raises(UserError, match=says("2 label_names", "3 columns")):
        record_run(
            tmp_path / "0.safetensors", logits=logits[0], labels=labels, kind="multilabel", label_names=["a", "b"]
        )
