import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from saying import says

from steadytune.errors import UserError
from steadytune.theory.studies.synthetic import SyntheticSpec, generate

specs = st.builds(
    SyntheticSpec,
    n=st.integers(12, 60),
    d=st.integers(5, 30),
    classes=st.integers(2, 6),
    shift=st.floats(0, 5),
    anisotropy=st.floats(0, 2),
    label_noise=st.floats(0, 0.5),
    margin=st.floats(0, 3),
    seed=st.integers(0, 2**32 - 1),
)


@given(specs)
@settings(max_examples=50, deadline=None)
def test_a_spec_determines_the_data(spec):
    first, second = generate(spec), generate(spec)
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])
    other, _ = generate(dataclasses.replace(spec, seed=spec.seed + 1))
    assert not np.array_equal(first[0], other)
    assert first[0].shape == (spec.n, spec.d)
    assert first[0].dtype == np.float64
    assert first[1].dtype == np.int64
    assert np.isfinite(first[0]).all()


@given(specs)
@settings(max_examples=50, deadline=None)
def test_label_noise_changes_that_many_labels_and_no_feature(spec):
    clean = dataclasses.replace(spec, label_noise=0.0)
    features, labels = generate(clean)
    same, noisy = generate(spec)
    assert np.array_equal(features, same)
    assert (labels != noisy).sum() == round(spec.label_noise * spec.n)
    assert noisy.min() >= 0
    assert noisy.max() < spec.classes
    sizes = np.bincount(labels, minlength=spec.classes)
    assert sizes.max() - sizes.min() <= 1


@given(st.integers(2, 6), st.integers(5, 12), st.floats(0.1, 4), st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_class_centres_lie_a_shift_apart_around_the_origin(classes, d, shift, seed):
    # The same draw with and without a shift: the noise cancels.
    spec = SyntheticSpec(n=2 * classes, d=d, classes=classes, shift=shift, seed=seed)
    features, labels = generate(spec)
    noise, _ = generate(dataclasses.replace(spec, shift=0.0))
    centres = np.stack([(features - noise)[labels == label].mean(0) for label in range(classes)])
    distances = np.linalg.norm(centres[:, None] - centres[None], axis=-1)
    assert distances[~np.eye(classes, dtype=bool)] == pytest.approx(shift)
    assert centres.sum(0) == pytest.approx(np.zeros(d), abs=1e-9)


@given(specs.filter(lambda spec: spec.margin > 0))
@settings(max_examples=50, deadline=None)
def test_every_example_keeps_the_margin_from_every_class_border(spec):
    spec = dataclasses.replace(spec, label_noise=0.0, shift=1.0)
    features, labels = generate(spec)
    noise, _ = generate(dataclasses.replace(spec, shift=0.0, margin=0.0))
    free, _ = generate(dataclasses.replace(spec, margin=0.0))
    centres = np.stack([(free - noise)[labels == label].mean(0) for label in range(spec.classes)])
    for label in range(spec.classes):
        for other in set(range(spec.classes)) - {label}:
            normal = (centres[label] - centres[other]) / np.linalg.norm(centres[label] - centres[other])
            assert (features[labels == label] @ normal).min() >= spec.margin - 1e-9
    moved = np.abs(features - free).max(1) > 1e-12
    normals = centres[labels][:, None] - centres[None]
    distances = np.einsum("nd,ncd->nc", free, normals)
    distances[np.arange(spec.n), labels] = np.inf
    assert np.array_equal(moved, distances.min(1) < spec.margin - 1e-12)


def test_a_reflected_example_lies_as_far_beyond_the_margin_as_it_lacked():
    spec = SyntheticSpec(n=200, d=3, shift=0.5, margin=0.7, seed=4)
    free, labels = generate(dataclasses.replace(spec, margin=0.0))
    kept, _ = generate(spec)
    noise, _ = generate(dataclasses.replace(spec, margin=0.0, shift=0.0))
    normal = (free - noise)[labels == 1][0] * 4
    signs = 2 * labels - 1
    before, after = signs * (free @ normal), signs * (kept @ normal)
    assert np.linalg.norm(normal) == pytest.approx(1)
    assert after == pytest.approx(0.7 + np.abs(before - 0.7))


def test_anisotropy_makes_variances_fall_and_keeps_their_mean():
    spec = SyntheticSpec(n=20000, d=6, shift=0.0, anisotropy=1.5, seed=1)
    variances = generate(spec)[0].var(0)
    expected = np.arange(1, 7) ** -1.5
    assert variances == pytest.approx(expected / expected.mean(), rel=0.06)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"classes": 1}, ("classes", "2", "1")),
        ({"classes": 5, "d": 3}, ("d ", "classes - 1 = 4", "3")),
        ({"n": 3}, ("n ", "2 per class", "4", "3")),
        ({"label_noise": 1.0}, ("label_noise", "0")),
        ({"shift": -1.0}, ("shift", "finite", "negative")),
        ({"margin": float("nan")}, ("margin", "finite", "negative")),
        ({"anisotropy": float("inf")}, ("anisotropy", "finite", "negative")),
    ],
)
def test_a_value_that_means_nothing_is_refused(change, said):
    with pytest.raises(UserError, match=says(*said)):
        SyntheticSpec(**{"n": 20, "d": 10, **change})
