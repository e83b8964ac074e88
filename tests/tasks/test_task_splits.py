import numpy as np
import pytest
from saying import says

from steadytune.errors import UserError
from steadytune.study import Training
from steadytune.tasks.base import Examples, Reading, Task
from steadytune.tasks.splits import split


def _examples(count, groups=None, labels=None):
    labels = np.arange(count) % 2 if labels is None else np.asarray(labels)
    return Examples(tuple(((f"text {n}", None),) for n in range(count)), labels, groups)


def _task(train=None, validation=None):
    return Task("t", "classification", ("a", "b"), "accuracy", train or _examples(30), validation or _examples(21))


def test_everything_is_used_unless_asked_otherwise():
    splits = split(_task(), Training())

    assert (len(splits.train), splits.select, len(splits.measure)) == (30, None, 21)


def test_a_subset_depends_on_the_split_seed_alone():
    first = split(_task(), Training(train_size=10))
    again = split(_task(), Training(train_size=10, learning_rate=1.0, epochs=9))
    other = split(_task(), Training(train_size=10, split_seed=1))

    assert first.train.candidates == again.train.candidates != other.train.candidates
    assert len(set(first.train.candidates)) == 10


def test_a_data_seed_draws_another_subset_and_the_same_halves():
    training = Training(train_size=10, select_checkpoint=True)
    drawn = [split(_task(), training, seed) for seed in range(5)]

    assert len({splits.train.candidates for splits in drawn}) == 5
    assert drawn[0].train.candidates == split(_task(), training).train.candidates
    for part in ("select", "measure"):
        assert len({getattr(splits, part).candidates for splits in drawn}) == 1


def test_the_shared_subset_is_what_it_was_in_every_version():
    # Finished runs were trained on it: if it changes, their ids no longer say what they were trained on.
    texts = [one[0][0] for one in split(_task(), Training(train_size=5, split_seed=3)).train.candidates]
    assert texts == [f"text {n}" for n in np.random.default_rng([3, 0]).permutation(30)[:5]]


def test_the_halves_are_what_they_were_in_every_version():
    # A stream of their own: drawn by that of the training subset they would be tied to which examples are trained on.
    splits = split(_task(), Training(train_size=21, split_seed=3, select_checkpoint=True))
    chosen, measured = np.split(np.random.default_rng([3, 1]).permutation(21), [10])
    for part, order in ((splits.select, chosen), (splits.measure, measured)):
        assert [one[0][0] for one in part.candidates] == [f"text {n}" for n in sorted(order)]


@pytest.mark.parametrize("size", [None, 30])
def test_a_data_seed_needs_examples_to_leave_out(size):
    with pytest.raises(UserError, match=says("30 training examples", "'t'", "training.train_size")):
        split(_task(), Training(train_size=size), 1)


def test_a_subset_that_a_data_seed_draws_badly_is_named_with_it():
    labels = [n % 2 for n in range(29)] + [2]
    task = Task(
        "t", "classification", ("a", "b", "c"), "accuracy", _examples(30, labels=labels), _examples(3, labels=[0, 1, 2])
    )

    with pytest.raises(UserError, match=says("'t'", "data seed 2", "'c'")):
        split(task, Training(train_size=8), 2)


def test_a_larger_subset_contains_the_smaller_one():
    small, large = (split(_task(), Training(train_size=size)).train.candidates for size in (10, 20))

    assert large[:10] == small


def test_halves_partition_the_validation_set():
    splits = split(_task(), Training(select_checkpoint=True))

    assert {len(splits.select), len(splits.measure)} == {10, 11}
    assert not set(splits.select.candidates) & set(splits.measure.candidates)


def test_examples_that_are_scored_together_stay_together():
    groups = np.repeat(np.arange(7), 3)

    splits = split(_task(validation=_examples(21, groups)), Training(select_checkpoint=True))

    assert not set(splits.select.questions) & set(splits.measure.questions)
    assert len(splits.select) + len(splits.measure) == 21


def test_a_subset_larger_than_the_training_set_is_refused():
    with pytest.raises(UserError, match=says("31", "30 training examples")):
        split(_task(), Training(train_size=31))


def test_a_subset_without_a_class_that_is_measured_is_refused():
    labels = [n % 2 for n in range(29)] + [2]
    task = Task(
        "t", "classification", ("a", "b", "c"), "accuracy", _examples(30, labels=labels), _examples(3, labels=[0, 1, 2])
    )

    with pytest.raises(UserError, match=says("'t'", "'c'", "training.split_seed")):
        split(task, Training(train_size=8))


def test_one_validation_example_cannot_be_halved():
    with pytest.raises(UserError, match=says("'t'", "validation", "training.select_checkpoint")):
        split(_task(validation=_examples(1)), Training(select_checkpoint=True))


def test_a_subset_of_one_class_is_refused():
    labels = [0] * 29 + [1]

    with pytest.raises(UserError, match=says("'t'", "data seed 0", "one class")):
        split(_task(train=_examples(30, labels=labels)), Training(train_size=2))


def _rare():
    """Return a task with 5 of 100 examples in one class and 20 in another."""
    labels = [2] * 5 + [1] * 20 + [0] * 75
    validation = _examples(30, labels=[0, 1, 2] * 10)
    return Task("t", "classification", ("a", "b", "c"), "accuracy", _examples(100, labels=labels), validation)


@pytest.mark.parametrize(
    ("size", "counts"), [(3, [1, 1, 1]), (20, [15, 4, 1]), (40, [30, 8, 2]), (100, [75, 20, 5]), (99, [74, 20, 5])]
)
def test_a_stratified_draw_has_every_class_in_proportion(size, counts):
    # By hand: shares of .75, .2 and .05, of 99 for example 74.25, 19.8 and 4.95.
    for seed in range(5):
        splits = split(_rare(), Training(train_size=size, split="stratified"), 0 if size == 100 else seed)
        assert np.bincount(splits.train.labels).tolist() == counts
        assert len(set(splits.train.candidates)) == size


def test_a_stratified_draw_depends_on_the_data_seed_and_is_in_a_random_order():
    training = Training(train_size=20, split="stratified")
    draws = [split(_rare(), training, seed).train for seed in range(4)]
    assert len({draw.candidates for draw in draws}) == 4
    assert draws[0].candidates == split(_rare(), training).train.candidates
    assert all(draw.labels.tolist() != sorted(draw.labels) for draw in draws)


@pytest.mark.parametrize(
    ("training", "said"),
    [
        ({}, ["stratified", "train_size"]),
        ({"train_size": 2}, ["train_size", "2", "'t'", "3 classes"]),
    ],
)
def test_a_stratified_draw_that_means_nothing_is_refused(training, said):
    with pytest.raises(UserError, match=says(*said)):
        split(_rare(), Training(split="stratified", **training))


def test_a_regression_has_no_classes_to_draw_from():
    task = Task("t", "regression", (), "pearson", _examples(9, labels=np.arange(9.0)), _examples(3))
    with pytest.raises(UserError, match=says("'t'", "regression")):
        split(task, Training(train_size=4, split="stratified"))


@pytest.mark.parametrize("seed", [0, 3])
def test_a_draw_without_a_class_is_named_with_its_data_seed_and_the_way_out(seed):
    with pytest.raises(UserError, match=says(f"data seed {seed}", "'c'", "training.split=stratified")):
        split(_rare(), Training(train_size=4, split_seed=1), seed)


def test_groups_that_a_user_named_are_not_halved():
    groups = np.repeat(np.arange(7), 3)
    examples = Examples(_examples(21).candidates, np.arange(21) % 2, groups=groups)
    task = Task("t", "classification", ("a", "b"), "accuracy", _examples(30), examples, reading=Reading(group="doc"))
    splits = split(task, Training(select_checkpoint=True))
    assert not set(splits.select.groups) & set(splits.measure.groups)
    assert len(splits.select) + len(splits.measure) == 21
