"""Kinds of task: that all are whole, that nobody else asks for their names, and that one file elsewhere adds one."""

import ast
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from saying import says

import steadytune as st
from steadytune import registry
from steadytune.errors import UserError
from steadytune.kinds import KINDS, Kind, find_kind
from steadytune.kinds.classification import Classification
from steadytune.metrics import Answers, Metric
from steadytune.metrics.base import mean_of
from steadytune.testing import check_kind

SOURCES = Path(st.__file__).parent
NAMES = {"classification", "regression", "choice", "generation", "tokens", "multilabel"}


def _words(node):
    return {one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str)}


def _asks_for_a_kind(node):
    """Whether code compares a kind with a name, is typed by names, or has a table keyed by names."""
    if isinstance(node, ast.Compare):
        return "kind" in ast.unparse(node).lower() and bool(_words(node) & NAMES)
    if isinstance(node, ast.Subscript):
        return "Literal" in ast.unparse(node.value) and bool(_words(node.slice) & NAMES)
    if isinstance(node, ast.Match):
        return any(_words(case.pattern) & NAMES for case in node.cases)
    if isinstance(node, ast.Dict):
        return len({key.value for key in node.keys if isinstance(key, ast.Constant)} & NAMES) > 1
    return False


@pytest.mark.parametrize("code", ['a.kind == "choice"', 'kind in ("choice", "x")', 'Literal["regression"]'])
def test_what_asks_for_a_kind_is_seen(code):
    assert any(map(_asks_for_a_kind, ast.walk(ast.parse(code))))


def test_nobody_but_the_kinds_asks_for_the_name_of_one():
    found = [
        f"{file.relative_to(SOURCES)}:{node.lineno}"
        for file in sorted(SOURCES.rglob("*.py"))
        if file.parent.name != "kinds"
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if _asks_for_a_kind(node)
    ]

    assert found == []


def test_the_registry_has_the_kinds_in_their_order():
    assert list(KINDS) == ["classification", "regression", "choice", "generation", "tokens", "multilabel"]
    assert [kind.name for kind in KINDS.values()] == list(KINDS)


@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_a_kind_is_a_noun_in_a_sentence(kind):
    assert kind.noun.startswith("a ")
    # "a tokens" is none.
    assert not kind.noun.removeprefix("a ").partition(" ")[0].endswith("s")


def test_nothing_is_known_of_a_kind_that_nobody_said():
    unknown = find_kind(None)

    assert not any((unknown.has_classes, unknown.has_numbers, unknown.has_texts, unknown.shared_classes))
    with pytest.raises(UserError, match=says("'choise'", "'choice'")):
        find_kind("choise")


def test_a_kind_that_is_measured_alone_says_so_when_it_is_to_be_trained():
    class Alone(Kind):
        name = "alone"

    with pytest.raises(UserError, match=says("alone", "trained")):
        Alone().criterion()


@pytest.mark.parametrize("name", sorted(set(KINDS) & NAMES))
def test_it_keeps_what_every_kind_promises(name):
    check_kind(KINDS[name])


class Ordinal(Classification):
    """Classes in an order: a kind of another package."""

    name: ClassVar[str] = "ordinal"
    metrics: ClassVar[tuple[str, ...]] = ("accuracy",)
    answer: ClassVar[str] = "step"
    pair_measures: ClassVar[tuple[str, ...]] = ("disagreement", "jensen_shannon")

    def check_outputs(self, name, outputs):
        """Refuse fewer than three steps."""
        super().check_outputs(name, outputs)
        if outputs.shape[1] < 3:
            raise ValueError(f"{name} must have three steps or more")


ORDINAL = Ordinal()
NO_KIND = object()


@pytest.fixture
def installed(monkeypatch):
    """Pretend that an installed package has entry points of kinds."""

    def install(**points):
        made = [EntryPoint(name, value, KINDS.group) for name, value in points.items()]
        monkeypatch.setattr(registry, "entry_points", lambda group: made if group == KINDS.group else [])
        KINDS.forget()

    yield install
    monkeypatch.undo()
    KINDS.forget()


def _arrays(runs=3, examples=40, classes=3):
    rng = np.random.default_rng(0)
    labels = rng.integers(classes, size=examples)
    return 3 * np.eye(classes)[labels] + rng.normal(size=(runs, examples, classes)), labels


def test_a_kind_of_another_package_is_measured_as_its_class_says(installed):
    installed(ordinal="test_kinds:ORDINAL")
    logits, labels = _arrays()

    cohort = st.Cohort(logits=logits, labels=labels, kind="ordinal")
    plain = st.Cohort(logits=logits, labels=labels)

    assert cohort.metric == "accuracy"
    assert np.array_equal(cohort.scores, plain.scores)
    assert np.array_equal(cohort.predictions, plain.predictions)
    assert np.array_equal(cohort.probabilities, plain.probabilities)
    found = st.profile(cohort, resamples=200)
    expected = st.profile(plain, resamples=200)
    assert found.last("disagreement") == expected.last("disagreement")
    assert "kappa" not in {value.measure for value in found.values}
    with pytest.raises(UserError, match="run 0: logits must have three steps or more"):
        st.Cohort(logits=logits[..., :2], labels=np.minimum(labels, 1), kind="ordinal")


def test_files_of_runs_say_that_they_are_of_a_kind_of_another_package(installed, tmp_path):
    installed(ordinal="test_kinds:ORDINAL")
    logits, labels = _arrays()
    for seed, run in enumerate(logits):
        st.record_run(tmp_path / f"run-{seed}.safetensors", logits=run, labels=labels, kind="ordinal")
        np.savez(tmp_path / f"run-{seed}.npz", logits=run, labels=labels)

    recorded = st.read_runs(sorted(tmp_path.glob("*.safetensors")))
    said = st.read_runs(sorted(tmp_path.glob("*.npz")), columns={"kind": "ordinal"})

    assert recorded.kind == said.kind == "ordinal"
    assert np.array_equal(recorded.scores, said.scores)
    assert recorded.read["kind"] == "ordinal"


def test_a_metric_that_names_a_kind_of_another_package_scores_it(installed):
    installed(ordinal="test_kinds:ORDINAL")
    logits, labels = _arrays()
    far = Metric(
        "far",
        function=lambda answers: mean_of(np.abs(answers.predictions - answers.labels) > 1),
        kinds=("ordinal",),
        needs=("predictions", "labels"),
    )

    assert far.missing(Answers("classification", logits, labels=labels)) is not None
    scores = far.plain(Answers("ordinal", logits, labels=labels), len(labels))
    assert scores == pytest.approx((np.abs(logits.argmax(-1) - labels) > 1).mean(axis=1))


def test_what_is_no_kind_is_refused_and_one_that_is_not_installed_is_named(installed):
    installed(ordinal="test_kinds:NO_KIND")
    with pytest.raises(UserError, match=says("'ordinal'", "test_kinds:NO_KIND", "Kind")):
        KINDS["ordinal"]
    installed()
    with pytest.raises(
        UserError, match=says("kind 'ordinal'", "choice, classification, generation, multilabel, regression")
    ):
        st.Cohort(scores=[0.5, 0.6], kind="ordinal")


def test_the_kind_of_another_package_keeps_what_every_kind_promises():
    check_kind(ORDINAL)


class _Broken(Ordinal):
    """A kind that breaks what it is told to."""

    def __init__(self, fault):
        self.fault = fault

    def predictions(self, outputs):
        return outputs.argmin(axis=-1) if self.fault == "predictions" else super().predictions(outputs)

    def check_batch_labels(self, labels, examples="training set"):
        return None if self.fault == "labels" else super().check_batch_labels(labels, examples)

    def criterion(self, label_smoothing=0.0):
        loss = super().criterion(label_smoothing)
        return (lambda logits, labels: 2 * loss(logits, labels)) if self.fault == "criterion" else loss


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("predictions", ["probable", "predictions"]),
        ("criterion", ["criterion", "losses"]),
        ("labels", ["labels", "rejected"]),
    ],
)
def test_a_kind_that_breaks_a_promise_is_told_which(fault, said):
    with pytest.raises(AssertionError, match=says("'ordinal'", *said)):
        check_kind(_Broken(fault))


def test_a_kind_can_be_tried_before_it_is_a_packages():
    with KINDS.added(ORDINAL):
        assert KINDS["ordinal"] is ORDINAL
    with pytest.raises(UserError, match=says("kind ''", "Kind")), KINDS.added(Kind):
        pass
