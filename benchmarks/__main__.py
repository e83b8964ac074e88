"""Run every benchmark and print its table; exit code 1 if a claim does not hold."""

import sys

from benchmarks import stabilizer_cost

lines, holds = stabilizer_cost.measure()
print("\n".join(lines))
sys.exit(0 if holds else 1)
