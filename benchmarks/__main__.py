"""Run every benchmark and print its table."""

from benchmarks import stabilizer_cost

for line in stabilizer_cost.table():
    print(line)
