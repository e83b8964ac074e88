"""A study folder of the first format, as it was written: it is read, and its tables come out as they did."""

import csv
import math
import shutil
from pathlib import Path

import pytest

import steadytune as st

RECORDED = Path(__file__).parent / "recorded/study"
TABLES = ("measures.csv", "differences.csv", "validity.csv", "flips.csv", "components.csv")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recorded") / "study"
    shutil.copytree(RECORDED, folder, ignore=shutil.ignore_patterns("*.csv"))
    st.report(folder)
    return folder


def _rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def _same(cell, recorded):
    try:
        # Of sixteen digits the last two are the processor's: another one adds in another order.
        return cell == recorded or math.isclose(float(cell), float(recorded), rel_tol=1e-13, abs_tol=1e-15)
    except ValueError:
        return False


@pytest.mark.parametrize("name", TABLES)
def test_a_table_of_a_recorded_study_keeps_its_digits(written, name):
    now, then = _rows(written / name), _rows(RECORDED / name)
    assert len(now) == len(then)
    for row, recorded in zip(now, then, strict=True):
        assert len(row) == len(recorded)
        assert all(map(_same, row, recorded)), (row, recorded)


def test_every_recorded_run_is_read(written):
    store = st.RunStore(written)
    assert len(store.records()) == 36
    assert not store.skipped
    assert sum(record.failed for record in store.records()) == 18
