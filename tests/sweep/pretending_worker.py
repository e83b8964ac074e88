"""A worker process that does all that a worker does but train: it starts in a second where torch takes six."""

import sys
import time
import types

from made_runs import made_arrays, made_record

SECONDS = 0.3


def train(specs, cache, progress):
    for step in range(10):
        time.sleep(SECONDS / 10)
        progress((step + 1) / 10)
    return [(made_record(spec), made_arrays(spec)) for spec in specs]


def train_as_the_real_one_does(specs, cache, progress):
    try:
        return train(specs, cache, progress)
    except Exception as error:
        return [(made_record(spec, status="crashed", reason=repr(error)), {}) for spec in specs]


stand_in = types.ModuleType("steadytune.training.run")
stand_in.train = train_as_the_real_one_does  # type: ignore[attr-defined]
sys.modules["steadytune.training.run"] = stand_in

from steadytune.sweep.executors import worker  # noqa: E402

if __name__ == "__main__":
    sys.exit(worker.main())
