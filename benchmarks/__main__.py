"""Run every benchmark, or those that are named, and print their tables; exit code 1 if a claim does not hold."""

import sys
from importlib import import_module

BENCHMARKS = [
    "measure_speed",
    "measure_memory",
    "analysis_scale",
    "large_cohorts",
    "stabilizer_cost",
    "run_speed",
    "approximate_loo",
    "head_tuning",
    "coverage",
    "decisions",
]

holds = True
for name in sys.argv[1:] or BENCHMARKS:
    lines, fine = import_module(f"benchmarks.{name}").measure()
    print("\n".join([f"# {name}: {'holds' if fine else 'DOES NOT HOLD'}", *lines, ""]), flush=True)
    holds &= fine
sys.exit(0 if holds else 1)
