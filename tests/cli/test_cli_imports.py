"""What a command imports, which is most of what a small one takes. Seconds depend on the machine; names do not."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
from made_runs import made_store, made_study

HEAVY = ("torch", "transformers", "datasets", "pandas", "pyarrow", "plotly.graph_objs", "plotly.io", "scipy.stats")
HEAVY += ("scipy.optimize", "sklearn", "matplotlib")


def imported(*words):
    """Return the modules that a command has imported at its end."""
    code = (
        "import json, sys\nfrom steadytune.cli.main import main\nsys.argv = ['steadytune', *sys.argv[1:]]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    code = end.code\n"
        "print(json.dumps([code, sorted(sys.modules)]))"
    )
    done = subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=True)
    code, modules = json.loads(done.stdout.splitlines()[-1])
    assert code == 0, done.stderr
    return set(modules)


def made_files(folder, runs=5, examples=40):
    folder.mkdir()
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, examples)
    for run in range(runs):
        margins = 2 * labels - 1 + rng.normal(size=examples)
        with (folder / f"seed{run}.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["label", "logit_0", "logit_1"])
            rows.writerows([label, -margin, margin] for label, margin in zip(labels, margins, strict=True))
    return folder


@pytest.mark.slow
def test_a_list_of_runs_takes_no_measure(tmp_path):
    store = made_store(tmp_path / "out")
    loaded = imported("ls", store.path)
    assert "steadytune.records.store" in loaded
    assert not {"scipy", "jinja2", "rich", "steadytune.measures", "steadytune.records.cohort", *HEAVY} & loaded


@pytest.mark.slow
def test_runs_in_files_are_measured_and_reported_without_large_libraries(tmp_path):
    loaded = imported("measure", made_files(tmp_path / "runs"), "--out", tmp_path / "page")
    assert (tmp_path / "page" / "report.html").is_file()
    assert "scipy.special" in loaded
    assert not set(HEAVY) & loaded


@pytest.mark.slow
def test_a_study_is_compared_validated_and_reported_without_large_libraries(tmp_path):
    recipes = {"standard": {}, "mmr": {"stabilizers": ["mmr"]}, "surt": {"stabilizers": ["surt"]}}
    store = made_store(tmp_path / "out", made_study(seeds=5, recipes=recipes))
    assert not set(HEAVY) & imported("report", store.path)
    assert not set(HEAVY) & imported("compare", store.path)
