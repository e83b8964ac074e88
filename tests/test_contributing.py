"""CONTRIBUTING.md followed to the letter: its worked examples, as a package of its own in an interpreter of its own."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pandas as pd
import pytest

pytestmark = pytest.mark.slow

TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
_BLOCK = re.compile(r"^( *)```(python|toml)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# your_package/(\w+\.py)\n")
ADDED = {
    "stabilizers": "shrink",
    "kinds": "ordinal",
    "executors": "shuffled",
    "measures": "confidence",
    "metrics": "brier",
    "tasks": "parity",
}
SCRIPT = """
import json, sys
import numpy as np
import steadytune as st
from steadytune.kinds import KINDS
from steadytune.measures import MEASURES
from steadytune.metrics import METRICS
from steadytune.stabilizers import STABILIZERS
from steadytune.sweep.executors import EXECUTORS
from steadytune.tasks import TASKS
from steadytune.testing import check_kind, check_measure, check_metric, check_stabilizer

registries = {one.group: one for one in (STABILIZERS, KINDS, EXECUTORS, MEASURES, METRICS, TASKS)}
for group, name in json.loads(sys.argv[1]).items():
    assert list(registries[f"steadytune.{group}"])[-1] == name
    registries[f"steadytune.{group}"][name]

Shrink = STABILIZERS["shrink"]
check_stabilizer(Shrink(alpha=0.1), off=Shrink(alpha=0), differentiable=Shrink(alpha=0.1))
check_kind(KINDS["ordinal"])
check_measure(MEASURES["confidence"])
check_metric(METRICS["brier"])

logits = np.random.default_rng(0).normal(size=(4, 30, 3))
assert st.Cohort(logits=logits, labels=np.arange(30) % 3, kind="ordinal").metric == "accuracy"
found = st.profile(st.Cohort(logits=logits, labels=np.arange(30) % 3, metric="brier"), resamples=200)
print(json.dumps([found.mean.interval, found.last("confidence").interval]))
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A folder with the package, as an installer would leave it, and the environment that knows it."""
    folder = tmp_path_factory.mktemp("site")
    home, about = folder / "your_package", folder / "your_package-1.0.dist-info"
    home.mkdir()
    about.mkdir()
    (home / "__init__.py").write_text("")
    points = []
    for _, language, block in _BLOCK.findall(TEXT):
        code = dedent(block)
        if language == "toml":
            # What an installer writes of it.
            points.append(re.sub(r'\[project\.entry-points\."(.+)"\]', r"[\1]", code).replace('"', ""))
        elif match := _FILE.match(code):
            (home / match[1]).write_text(code)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: your_package\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("\n".join(points))
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}


def _run(package, *words):
    done = subprocess.run([sys.executable, *map(str, words)], env=package, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_each_example_is_found_and_passes_the_checks_for_its_like(package):
    mean, gap = json.loads(_run(package, "-c", SCRIPT, json.dumps(ADDED)).splitlines()[-1])
    assert mean[1] < mean[0] < mean[2]
    assert 0 < gap[1] < gap[0] < gap[2] < 1


def test_a_study_of_their_task_with_all_of_them_is_trained_measured_and_reported(package, tiny_model, tmp_path):
    out = tmp_path / "out"
    words = ["--model", tiny_model, "--task", "parity", "--recipe", "standard", "--recipe", "shrink", "--seeds", 3]
    words += ["--set", "task.metric=brier", "--set", "task.train_examples=32", "--set", "task.validation_examples=24"]
    _run(package, "-m", "steadytune", "run", *words, "--executor", "shuffled", "--out", out)
    measures = pd.read_csv(out / "measures.csv")
    gaps = measures[measures["measure"] == "confidence"]
    assert list(gaps["recipe"]) == ["standard", "shrink"]
    assert (gaps["low"] < gaps["value"]).all()
    assert (gaps["value"] < gaps["high"]).all()
    runs = pd.read_csv(out / "runs.csv")
    assert len(runs) == 6
    assert set(runs["metric"]) == {"brier"}
    assert "confidence" in set(pd.read_csv(out / "differences.csv")["measure"])
    assert "Confidence gap" in (out / "report.html").read_text(encoding="utf-8")
