from dataclasses import replace

import numpy as np
import pytest

from steadytune.tasks.base import Examples, Reading, Task

EXAMPLES = Examples(((("a", None),), (("b", None),), (("c", None),)), np.array([0, 1, 1]), np.array([0, 0, 1]))
TASK = Task("name", "classification", ("no", "yes"), "accuracy", EXAMPLES, EXAMPLES)


def test_examples_are_selected_in_the_given_order():
    chosen = EXAMPLES.select(np.array([2, 0]))
    assert chosen.candidates == ((("c", None),), (("a", None),))
    assert chosen.labels.tolist() == [1, 0]
    assert chosen.questions.tolist() == [1, 0]
    assert chosen.credit is None


def test_a_fingerprint_depends_on_the_content_and_not_on_the_name():
    assert replace(TASK, name="other").fingerprint == TASK.fingerprint


@pytest.mark.parametrize(
    "change",
    [
        {"metric": "f1"},
        {"label_names": ("yes", "no")},
        {"extra_metrics": ("f1",)},
        {"train": EXAMPLES.select(np.array([0, 1]))},
        {"validation": replace(EXAMPLES, labels=np.array([0, 1, 0]))},
        {"validation": replace(EXAMPLES, questions=None)},
        {"validation": replace(EXAMPLES, credit=np.array([0.0, 1.0, 0.5]))},
        {"train": replace(EXAMPLES, candidates=((("a", None),), (("b", None),), (("c", ""),)))},
    ],
)
def test_any_change_of_content_changes_the_fingerprint(change):
    assert replace(TASK, **change).fingerprint != TASK.fingerprint


def test_groups_change_the_fingerprint_if_a_user_named_them():
    grouped = replace(TASK, validation=replace(EXAMPLES, groups=np.array([0, 0, 1])))
    assert grouped.fingerprint == TASK.fingerprint
    named, other = (
        replace(task, reading=Reading(group="passage"))
        for task in (grouped, replace(TASK, validation=replace(EXAMPLES, groups=np.array([0, 1, 1]))))
    )
    assert len({TASK.fingerprint, named.fingerprint, other.fingerprint}) == 3


def test_an_output_per_class_or_one():
    assert TASK.num_outputs == 2
    assert replace(TASK, kind="choice").num_outputs == 1
    assert replace(TASK, kind="regression", label_names=()).num_outputs == 1
