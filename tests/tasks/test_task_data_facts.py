"""What is said of data before anything is trained on it."""

import numpy as np
import pytest
from saying import names

from steadytune.study import TaskSpec, Training
from steadytune.tasks import load_task
from steadytune.tasks.base import Examples, Reading, Task
from steadytune.tasks.data_facts import cut_sentence, data_facts
from steadytune.tasks.splits import split


def examples(texts, labels, groups=None):
    groups = None if groups is None else np.array(groups)
    return Examples(tuple(((text, None),) for text in texts), np.array(labels), groups=groups)


def facts(
    train, validation, *, kind="classification", names=("no", "yes"), metric="accuracy", reading=None, **training
):
    task = Task("t", kind, names, metric, train, validation, reading=reading or Reading())
    return data_facts(task, split(task, Training(**training)))


def rules(found):
    return {rule: (severity, text) for rule, severity, _, text in found.problems()}


TRAIN = examples([f"text {n}" for n in range(40)], [n % 2 for n in range(40)])
MEASURE = examples([f"new {n}" for n in range(20)], [n % 2 for n in range(20)])


def test_of_plain_data_nothing_is_wrong_and_what_was_read_is_said():
    reading = Reading(columns=("body",), label="gold", left_aside=("id", "label_text"), notes=("dev.csv: utf-16",))
    found = facts(TRAIN, MEASURE, reading=reading)
    assert found.problems() == ()
    first, aside, note = found.lines()
    for word in ("body", "'gold'", "'no', 'yes'", "40", "20", "accuracy"):
        assert word in first
    assert "id, label_text" in aside
    assert "utf-16" in note


def test_measured_examples_that_are_trained_on_are_counted():
    measure = examples([" text  3", "text 4", "Text 5", "new too"], [1, 0, 0, 1])
    severity, text = rules(facts(TRAIN, measure))["trained-on-measured"]
    assert severity == "high"
    assert names(text, "2 of", "4", "50 %")


def test_only_the_examples_that_are_drawn_count_as_trained_on():
    found = facts(TRAIN, examples([f"text {n}" for n in range(40)], [n % 2 for n in range(40)]), train_size=10)
    assert found.also_trained == 10


def test_texts_with_two_labels_and_repeated_ones_are_counted():
    train = examples(["a", "a", "b", "b", "c", "d"], [0, 1, 1, 1, 0, 1])
    measure = examples(["c", "e", "e", "f"], [1, 0, 0, 1])
    found = facts(train, measure)
    assert (found.two_labels, found.repeated, found.repeated_measured) == (2, 2, 1)
    assert {"two-labels", "duplicates", "trained-on-measured"} == set(rules(found))


def test_two_scores_of_one_text_are_no_contradiction():
    found = facts(
        examples(["a", "a"], [0.5, 1.5]), examples(["b"], [1.0]), kind="regression", names=(), metric="pearson"
    )
    assert found.two_labels == 0
    assert (found.trained, found.measured) == ((2,), (1,))


def test_a_one_class_validation_set_is_named_with_its_class():
    severity, text = rules(facts(TRAIN, examples([f"n {n}" for n in range(9)], [1] * 9)))["one-class"]
    assert severity == "high"
    assert names(text, "9", "'yes'")


@pytest.mark.parametrize(("metric", "severity"), [("accuracy", "medium"), ("matthews", "low")])
def test_imbalance_is_said_with_the_share(metric, severity):
    measure = examples([f"n {n}" for n in range(20)], [0] * 18 + [1] * 2)
    found = rules(facts(TRAIN, measure, metric=metric))["imbalance"]
    assert found[0] == severity
    assert names(found[1], "90 %", "'no'")
    assert "imbalance" not in rules(facts(TRAIN, examples([f"n {n}" for n in range(20)], [0] * 15 + [1] * 5)))


def test_a_class_that_is_never_trained_on_is_named():
    train = examples(["a", "b", "c"], [0, 1, 1])
    found = rules(facts(train, examples(["d", "e"], [0, 1]), names=("no", "yes", "maybe")))
    assert "maybe" in found["untrained-class"][1]


def test_groups_of_a_user_that_are_trained_on_and_measured_are_counted():
    train = examples(["a", "b", "c", "d"], [0, 1, 0, 1], [0, 0, 1, 2])
    measure = examples(["e", "f", "g"], [0, 1, 0], [1, 3, 3])
    found = facts(train, measure, reading=Reading(group="doc"))
    assert (found.groups, found.shared_groups) == (2, 1)
    assert "1 of 2" in rules(found)["shared-groups"][1]
    assert "2 groups" in found.lines()[0]
    assert facts(train, measure).shared_groups == 0


def test_cut_inputs_are_said_from_a_tenth_on():
    assert cut_sentence("classification", 128, 0.05, 0.09) == ""
    assert cut_sentence("classification", 128, None, None) == ""
    assert names(cut_sentence("classification", 128, 1.0, 0.5), "100 %", "50 %", "128")
    found = facts(TRAIN, MEASURE).cut(16, 0.2, 0.1)
    assert rules(found)["cut-inputs"][0] == "medium"
    assert rules(found.cut(16, 0.6, 0.1))["cut-inputs"][0] == "high"


def test_the_generated_task_has_nothing_wrong():
    task = load_task(TaskSpec(name="acceptability"))
    assert data_facts(task, split(task, Training())).problems() == ()
