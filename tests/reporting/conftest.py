from __future__ import annotations

from pathlib import Path

import pytest
from report_samples import Sample, make_store

from steadytune.records import RunStore
from steadytune.reporting import report


@pytest.fixture(scope="session")
def study_folder(tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    """A study with a collapsed and a diverged run, and texts that try to break out of the page; reported."""
    sample = Sample({"standard": 1.0, "mmr": 0.6, "surt+mhloss": 0.4}, seeds=5, diverged={"mmr": (2,)})
    store = make_store(tmp_path_factory.mktemp("report") / "study", sample)
    report(store)
    return store


@pytest.fixture(scope="session")
def study_page(study_folder: RunStore) -> Path:
    return study_folder.path / "report.html"
