import csv
import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_runs import made_store, made_study

from steadytune.external import record_run

pytestmark = pytest.mark.slow

TESTS = Path(__file__).parent
# More of them by FUZZ=10, say: in the everyday they look for what became fragile since.
MUTATIONS = {
    name: count * int(os.environ.get("FUZZ", "1"))
    for name, count in {"study": 75, "task": 65, "run": 60, "folder": 50}.items()
}


def write_run(file, seed):
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(size=(12, 2)).astype(np.float32), np.arange(12) % 2
    states, ids = rng.normal(size=(2, 12, 4)).astype(np.float32), [f"e{n}" for n in range(12)]
    if file.suffix == ".npz":
        np.savez(file, logits=logits, labels=labels, representations=states, ids=np.array(ids))
        return
    if file.suffix == ".safetensors":
        record_run(file, logits=logits, labels=labels, representations=states, ids=ids)
        return
    table = pd.DataFrame({"id": ids, "label": labels, "logit_0": logits[:, 0], "logit_1": logits[:, 1]})
    if file.suffix == ".parquet":
        table.to_parquet(file)
    elif file.suffix == ".csv":
        table.to_csv(file, index=False)
    else:
        table.to_json(file, orient="records", lines=file.suffix == ".jsonl")


@pytest.fixture
def parts(tiny_model, tiny_task, tmp_path):
    """Whole files of every kind, to be mutated."""
    rows = {
        name: [json.loads(line) for line in (tiny_task / f"{name}.jsonl").read_text().splitlines()]
        for name in ("train", "validation")
    }
    for suffix, delimiter in (("csv", ","), ("tsv", "\t")):
        (tmp_path / suffix).mkdir()
        for name, held in rows.items():
            with (tmp_path / suffix / f"{name}.{suffix}").open("w", newline="") as file:
                writer = csv.DictWriter(file, held[0].keys(), delimiter=delimiter)
                writer.writeheader()
                writer.writerows(held)
    (tmp_path / "parquet").mkdir()
    for name, held in rows.items():
        pd.DataFrame(held).to_parquet(tmp_path / "parquet" / f"{name}.parquet")
    (tmp_path / "gz").mkdir()
    for file in tiny_task.iterdir():
        (tmp_path / "gz" / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
    for suffix in ("npz", "safetensors", "csv", "jsonl", "json", "parquet"):
        (tmp_path / "files" / suffix).mkdir(parents=True)
        for seed in range(2):
            write_run(tmp_path / "files" / suffix / f"seed{seed}.{suffix}", seed)
    store = made_store(tmp_path / "store", made_study(recipes=["standard", "mmr"]))
    places = {name: tmp_path / name for name in ("csv", "tsv", "parquet", "gz", "files")}
    return {"model": tiny_model, "task": tiny_task, "store": store.path, **places}


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the limit of memory is set from what Linux tells")
@pytest.mark.parametrize("kind", MUTATIONS)
def test_no_mutated_file_makes_the_command_line_fail_in_another_way_than_by_saying_what_is_wrong(kind, parts, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    paths = json.dumps({name: str(path) for name, path in parts.items()})
    words = [sys.executable, str(TESTS / "fuzzing.py"), kind, "0", str(MUTATIONS[kind]), str(scratch), paths]
    environment = {**os.environ, "PYTHONPATH": f"{TESTS}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == []
