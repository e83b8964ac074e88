"""What is computed of stored states is computed once, and only ever found by what it was computed of."""

from dataclasses import replace

import made_runs
import numpy as np
import pytest
from made_runs import made_store, made_study

import steadytune as st
from steadytune.analysis import kept as kept_module
from steadytune.analysis import profile as profile_module
from steadytune.analysis.validity import subsampling
from steadytune.measures import MEASURES, layer_measures
from steadytune.measures.distances import CKA


@pytest.fixture(autouse=True)
def _enough_examples(monkeypatch):
    """So many that a half of them can be measured."""
    monkeypatch.setattr(made_runs, "EXAMPLES", 12)


@pytest.fixture
def computed(monkeypatch):
    """Count what is computed of states."""
    calls = []
    for module, name in ((profile_module, "layer_distances"), (subsampling, "representation_distances")):
        whole = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *given, f=whole, n=name, **more: calls.append(n) or f(*given, **more))
    return calls


def same(one, other):
    for left, right in zip(one, other, strict=True):
        assert list(left.distances) == list(right.distances)
        for name in left.distances:
            np.testing.assert_array_equal(left.distances[name], right.distances[name])
        np.testing.assert_array_equal(left.to_frame().iloc[:, 2:], right.to_frame().iloc[:, 2:])


def made(folder, seeds=4):
    return made_store(folder, made_study(seeds=seeds, recipes={"standard": {}, "mmr": {"stabilizers": ["mmr"]}}))


def test_distances_and_subsets_are_computed_once_for_every_command(tmp_path, computed):
    store = made(tmp_path / "out")
    first = st.compare(store)
    st.validate(first)
    assert computed.count("layer_distances") == 2
    assert computed.count("representation_distances") > 2
    computed.clear()
    again = st.compare(store.path)
    st.validate(again)
    st.report(store, out=tmp_path / "page")
    assert computed == []
    same(first.profiles, again.profiles)
    # And they are those of arrays in memory, which nothing is kept of.
    plain = [replace(one.cohort, representations=list(one.cohort.representations)) for one in first.profiles]
    same(first.profiles, st.compare(plain).profiles)
    assert computed == ["layer_distances"] * 2


def test_other_runs_groups_measures_and_code_are_other_entries(tmp_path, computed, monkeypatch):
    store = made(tmp_path / "out")
    cohort = store.cohort("mmr")
    st.profile(cohort)
    for other in (
        replace(cohort, groups=np.arange(12) // 2),
        replace(cohort, representations=cohort.representations[:3], **{n: getattr(cohort, n)[:3] for n in PER_RUN}),
    ):
        computed.clear()
        st.profile(other)
        assert computed == ["layer_distances"]
    computed.clear()
    st.profile(replace(cohort, recipe="other"), resamples=100, seed=3)
    assert computed == []
    monkeypatch.setattr(kept_module, "_code", lambda: "other")
    st.profile(cohort)
    assert computed == ["layer_distances"]


PER_RUN = ("scores", "logits", "seeds", "failed", "seconds", "losses")


def test_nothing_is_kept_of_a_measure_of_another_package(tmp_path, computed):
    cohort = made(tmp_path / "out").cohort("mmr")
    foreign = replace(CKA, name="foreign", distance=lambda pair: 0.5)
    with MEASURES.added(foreign):
        assert foreign in layer_measures()
        st.profile(cohort)
        st.profile(cohort)
    assert computed == ["layer_distances"] * 2


def test_a_damaged_entry_is_computed_again(tmp_path, computed):
    store = made(tmp_path / "out")
    first = st.compare(store)
    for file in store.cache.glob("distances-*.safetensors"):
        file.write_bytes(file.read_bytes()[:-8] + bytes(8))
    computed.clear()
    same(first.profiles, st.compare(store).profiles)
    assert len(computed) == 2


def test_a_folder_that_cannot_be_written_keeps_nothing(tmp_path, computed):
    store = made(tmp_path / "out")
    store.cache.write_text("a file in its place, which no process can write into")
    same(st.compare(store).profiles, st.compare(store).profiles)
    assert computed == ["layer_distances"] * 4


def test_states_that_are_not_finite_have_no_distances_either_time(tmp_path):
    store = made_store(tmp_path / "out", made_study(seeds=2))
    for record in store.records():
        arrays = {name: np.array(array) for name, array in store.arrays(record).items()}
        arrays["representations"][0, 0, 0] = np.inf
        (store.path / "runs" / record.spec.id).rename(tmp_path / record.spec.id)
        store.write(record, arrays)
    found = [st.profile(store.cohort("standard")) for _ in range(2)]
    assert not any("cka" in one.distances for one in found)
    assert found[0].notes == found[1].notes
