"""Every real task, through the whole way: loaded, trained on a tiny model, recorded, measured, reported."""

import csv
from pathlib import Path

import pytest

import steadytune as st

DATA = Path(__file__).parents[2].parent / "shared" / "data"
SIZES = {
    "rte": 277,
    "mrpc": 408,
    "cola": 1043,
    "cb": 56,
    "copa": 100,
    "wnli": 71,
    "wsc": 104,
    "wic": 638,
    "sst2": 872,
    "stsb": 1500,
}


@pytest.mark.skipif(not DATA.is_dir(), reason="the folder with the real tasks is not beside the project")
@pytest.mark.parametrize("name", SIZES)
def test_a_real_task_goes_the_whole_way(name, tiny_model, tmp_path):
    study = st.Study.parse(
        {
            "model": str(tiny_model),
            "task": str(DATA / name),
            "seeds": 2,
            "training": {"epochs": 1, "train_size": 64, "max_length": 32},
        }
    )

    store = st.run(study, tmp_path / "out")
    page, comparison = st.report(store), st.compare(store)

    (profile,) = comparison.profiles
    assert len(profile.cohort) == 2
    assert profile.cohort.logits.shape[1] == SIZES[name]
    assert page.stat().st_size > 1_000_000
    with (tmp_path / "out" / "runs.csv").open(encoding="utf-8") as stream:
        assert [row["status"] for row in csv.DictReader(stream)] == ["done", "done"]


@pytest.mark.skipif(not DATA.is_dir(), reason="the folder with the real tasks is not beside the project")
def test_the_head_setting_takes_a_whole_training_set(tiny_model, tmp_path):
    study = st.Study.parse(
        {
            "model": str(tiny_model),
            "task": [str(DATA / "copa"), str(DATA / "stsb"), str(DATA / "cb")],
            "seeds": 3,
            "training": {"mode": "head", "epochs": 1},
            "recipes": ["standard", "mhloss"],
        }
    )

    store = st.run(study, tmp_path / "out")

    assert len(store.records()) == 18
    assert all(record.status == "done" for record in store.records())
