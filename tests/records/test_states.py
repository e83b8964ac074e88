"""Hidden states of stored runs: mapped when asked for, known by their files."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_runs import made_arrays, made_specs, made_store, made_study

from steadytune.errors import UserError
from steadytune.records.states import StoredStates


def states_of(tmp_path, **study):
    store = made_store(tmp_path / "out", made_study(**study))
    return store, store.cohort("standard")


def test_stored_states_are_what_was_written(tmp_path):
    store, cohort = states_of(tmp_path, seeds=3)
    states = cohort.representations
    assert isinstance(states, StoredStates)
    assert len(states) == 3
    for spec, found in zip(made_specs(store.study), states, strict=True):
        np.testing.assert_array_equal(found, made_arrays(spec)["representations"])
    assert [len(states[:2]), len(states[5:])] == [2, 0]
    np.testing.assert_array_equal(states[-1], list(states)[2])
    assert states.checksums == [record.checksums["arrays.safetensors"] for record in store.records()]


def test_a_cohort_holds_no_state_in_memory_and_no_file_open(tmp_path):
    _, cohort = states_of(tmp_path, seeds=4)
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("no list of mapped files")

    def mapped():
        return maps.read_text().count("arrays.safetensors")

    before = mapped()
    held = cohort.representations[0]
    assert mapped() == before + 1
    del held
    # Labels are held once for all runs.
    assert mapped() == before <= 1


def test_a_change_of_a_cohort_keeps_its_states_and_other_states_are_other_ones(tmp_path):
    _, cohort = states_of(tmp_path)
    assert replace(cohort, recipe="x").representations is cohort.representations
    assert isinstance(replace(cohort, representations=list(cohort.representations)).representations, tuple)


def test_what_is_written_into_a_mapped_state_is_not_seen_by_others(tmp_path):
    _, cohort = states_of(tmp_path)
    cohort.representations[0][:] = 0
    assert cohort.representations[0].any()


@pytest.mark.parametrize("end", ["replaced", "written", "removed"])
def test_a_file_that_changes_is_refused(tmp_path, end):
    store, cohort = states_of(tmp_path)
    file = store.path / "runs" / store.records()[1].spec.id / "arrays.safetensors"
    content = file.read_bytes()
    file.unlink() if end != "written" else None
    if end == "replaced":
        (file.parent / "new").write_bytes(content)
        (file.parent / "new").replace(file)
    elif end == "written":
        file.write_bytes(content[:-1] + b"x")
        os.utime(file, ns=(0, 0))
    assert cohort.representations[0].any()
    with pytest.raises(UserError, match="changed"):
        _ = cohort.representations[1]
