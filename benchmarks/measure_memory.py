"""Peak memory of measuring 20 mapped runs of 25 layers, 1043 examples and 1024 features, in a process of its own.

Every page of every file is touched first, and one layer measured: other layers use the same memory again. Pages of the
files are counted, though the system takes them back when it needs memory.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile

LIMIT_GB = 2.0
RUNS, LAYERS, EXAMPLES, FEATURES = 20, 25, 1043, 1024

CODE = f"""
import sys
from pathlib import Path
import numpy as np
from steadytune.files import read_arrays, write_arrays

folder = Path(sys.argv[1])
if sys.argv[2] == "write":
    states = np.random.default_rng(0).standard_normal(({LAYERS}, {EXAMPLES}, {FEATURES}), np.float32).astype(np.float16)
    for run in range({RUNS}):
        checksum = write_arrays(folder / str(run), {{"representations": np.roll(states, 7 * run, axis=2)}})
        (folder / f"{{run}}.sha256").write_text(checksum)
else:
    from steadytune.measures import layer_distances
    runs = [
        read_arrays(folder / str(run), (folder / f"{{run}}.sha256").read_text())["representations"]
        for run in range({RUNS})
    ]
    touched = sum(int(np.count_nonzero(run[layer])) for run in runs for layer in range({LAYERS}))
    layer_distances([run[:1] for run in runs])
    status = Path("/proc/self/status").read_text()
    print(*(int(status.split(name)[1].split()[0]) / 1e6 for name in ("VmHWM:", "RssFile:")))
"""


def measure() -> tuple[list[str], bool]:
    """Measure; return the lines of the table, and whether the peak keeps within its limit."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-c", CODE, folder, "write"], check=True)
        done = subprocess.run([sys.executable, "-c", CODE, folder, "read"], check=True, capture_output=True, text=True)
    peak, files = map(float, done.stdout.split())
    return [
        f"{RUNS} runs x {LAYERS} layers x {EXAMPLES} examples x {FEATURES} features in half precision, one thread per "
        "processor",
        f"  peak {peak:.2f} GB, of which pages of the files {files:.2f} GB; claimed at most {LIMIT_GB:.1f} GB",
    ], peak <= LIMIT_GB
