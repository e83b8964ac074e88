"""Jobs that need no model, for the nodes of a cluster that a test starts."""

import os
import signal
import time
from pathlib import Path

import ray

from steadytune.errors import UserError
from steadytune.sweep.job import Job


class Tiny(Job):
    """Leaves where it was done.

    Args:
        name: Its id.
        what: "write"; "meet": wait until another job has begun; "wait": wait for a file; "kill": kill the process, each
            time or "kill once"; "short": too little memory unless alone; "raise": a bug; "refuse": a user's mistake.
        threads: See `Job`.
    """

    def __init__(self, name, what="write", threads=1):
        self.name, self.what, self.threads = name, what, threads

    @property
    def ids(self):
        return (self.name,)

    def plain(self):
        return {"name": self.name, "what": self.what, "threads": self.threads}

    def do(self, ids, store, listener):
        listener.started(self.name)
        node = ray.get_runtime_context().get_node_id()
        begun = sorted(store.path.glob("*.begun"))
        (store.path / f"{self.name}-{len(begun)}.begun").write_text(node)
        if self.what == "kill" or (self.what == "kill once" and not self._begun_twice(store)):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.what == "raise":
            raise LookupError("a bug")
        if self.what == "refuse":
            raise UserError("the model is at fault")
        while self.what == "meet" and len({path.name.partition("-")[0] for path in store.path.glob("*.begun")}) < 2:
            time.sleep(0.02)
        while self.what == "wait" and not (store.path / "go").exists():
            time.sleep(0.02)
        if self.what == "short" and not self._begun_twice(store):
            # Beside another job, that is.
            while len({path.name.partition("-")[0] for path in store.path.glob("*.begun")}) < 2:
                time.sleep(0.02)
            store.write(self.name, "short")
            listener.finished(self.name)
            return
        listener.advanced(self.name, 0.5)
        print("what a library prints")
        threads = os.environ["OMP_NUM_THREADS"]
        store.write(self.name, {"node": node, "threads": threads, "nice": os.nice(0), "cwd": str(Path.cwd())})
        listener.finished(self.name)

    def _begun_twice(self, store):
        return len(list(store.path.glob(f"{self.name}-*.begun"))) > 1

    def short_of_memory(self, one, store):
        return store.read(one) == "short"

    def forget(self, one, store):
        (store.path / f"{one}.json").unlink()

    def give_up(self, one, reason, store):
        store.write(one, {"gave up": reason})
