"""Puts small faults into a copy of the code, one at a time, and counts which of them the tests catch.

    make mutants                    all of mutants.yaml
    make mutants ONLY=lanczos*      those whose name or file matches

A fault that survives is a hole in the tests. Before the faults, the tests that shall catch them must pass on the code
as it is. Every fault is tried in a process that is forked from a server which has imported the libraries, because
importing them takes longer than most of the tests.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

import yaml
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

ROOT = Path(__file__).parents[1]
LIST = ROOT / "tests" / "mutants.yaml"
PACKAGE = Path("src") / "steadytune"
_LIBRARIES = ["pytest", "hypothesis", "torch", "transformers", "scipy.stats", "pandas", "sklearn.metrics", "plotly"]
_PASSED, _FAILED = 0, 1
# pytest's code for tests that cannot be collected: where they passed before, the fault is why.
_BROKEN = 2
_HANGS_AFTER = 900.0


class Fault(NamedTuple):
    """One small change of one file.

    Attributes:
        name: Unlike all others.
        file: Within the package.
        was: What stands there exactly once.
        now: What is put in its place.
        tests: Files within tests/, or tests of them (file::name), one of which must fail.
    """

    name: str
    file: str
    was: str
    now: str
    tests: tuple[str, ...]

    def applied(self, root: Path = ROOT) -> str:
        """Return the file with the fault in it.

        Raises:
            ValueError: The fault does not fit the code, or a test is missing.
        """
        path = root / PACKAGE / self.file
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        if (found := text.count(self.was)) != 1:
            raise ValueError(f"{self.name}: {self.was!r} stands in {self.file} {found} times, not once")
        if missing := [one for one in self.tests if not (root / "tests" / one.partition("::")[0]).is_file()]:
            raise ValueError(f"{self.name}: there is no tests/{missing[0]}")
        faulty = text.replace(self.was, self.now)
        try:
            compile(faulty, self.file, "exec")
        except SyntaxError as error:
            raise ValueError(f"{self.name}: {self.now!r} makes no Python of {self.file}: {error.msg}") from None
        return faulty


def read_faults(path: Path = LIST) -> list[Fault]:
    """Read the list: file -> {tests, faults: name -> [was, now]}."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    faults = []
    for file, about in content.items():
        tests = about["tests"]
        tests = (tests,) if isinstance(tests, str) else tuple(tests)
        faults += [Fault(name, file, was, now, tests) for name, (was, now) in about["faults"].items()]
    names = [fault.name for fault in faults]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"two faults are called {twice[0]}")
    return faults


def _test(tree: Path, tests: Sequence[str], log: Path) -> None:
    """Run tests in a tree of their own; runs in a forked process."""
    stream = log.open("wb", buffering=0)
    os.dup2(stream.fileno(), 1)
    os.dup2(stream.fileno(), 2)
    os.chdir(tree)
    sys.path.insert(0, str(tree / "src"))
    os.environ["PYTHONPATH"] = str(tree / "src")
    sys.dont_write_bytecode = True
    # transformers refuses to mask with a seed in processes of another name.
    multiprocessing.current_process().name = "MainProcess"
    import pytest

    words = ["-x", "-q", "-p", "no:cacheprovider", f"--rootdir={tree}", f"--basetemp={log.with_suffix('.tmp')}"]
    code = pytest.main([*words, *(str(tree / "tests" / one) for one in tests)])
    sys.stdout.flush()
    sys.exit(int(code))


class Trees:
    """Copies of the code, one per worker, and the processes that test them."""

    def __init__(self, folder: Path, workers: int) -> None:
        self._free: SimpleQueue[Path] = SimpleQueue()
        for number in range(workers):
            tree = folder / f"tree-{number}"
            for part in ("src", "tests", "pyproject.toml"):
                source = ROOT / part
                if source.is_dir():
                    shutil.copytree(source, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(source, tree / part)
            self._free.put(tree)
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(_LIBRARIES)

    @contextmanager
    def _tree(self) -> Iterator[Path]:
        tree = self._free.get()
        try:
            yield tree
        finally:
            self._free.put(tree)

    def exit_code(self, tests: Sequence[str], fault: Fault | None = None) -> tuple[int | None, str]:
        """Return pytest's exit code, None if the tests hang, and what it printed."""
        with self._tree() as tree:
            log = tree.parent / f"{tree.name}.log"
            if fault is not None:
                path = tree / PACKAGE / fault.file
                whole = path.read_text(encoding="utf-8")
                path.write_text(fault.applied(), encoding="utf-8")
            try:
                process = self._context.Process(target=_test, args=(tree, tests, log))
                process.start()
                process.join(_HANGS_AFTER)
                if process.exitcode is None:
                    process.kill()
                    process.join()
                    return None, log.read_text(encoding="utf-8", errors="replace")
                return process.exitcode, log.read_text(encoding="utf-8", errors="replace")
            finally:
                if fault is not None:
                    path.write_text(whole, encoding="utf-8")


def _bar() -> Progress:
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    return Progress(TextColumn("{task.description}"), *columns)


def main(words: Sequence[str] | None = None) -> int:
    """Try the faults; return 1 if one survives or does not fit, 2 for a name that none has."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=["*"], metavar="NAME", help="patterns of names or files")
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1), help="processes (default: 2)")
    given = parser.parse_args(words)
    faults = [
        fault
        for fault in read_faults()
        if any(fnmatch(fault.name, one) or fnmatch(fault.file, one) for one in given.only)
    ]
    if not faults:
        print(f"no fault is called {' or '.join(given.only)}: {LIST.name} has the names", file=sys.stderr)
        return 2
    unfit = []
    for fault in faults:
        try:
            fault.applied()
        except ValueError as error:
            unfit.append(str(error))
    if unfit:
        print("These do not fit the code any more; mend the list first.", *unfit, sep="\n", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder, _bar() as bar:
        trees = Trees(Path(folder), given.workers)
        files = sorted({one for fault in faults for one in fault.tests})
        with ThreadPoolExecutor(given.workers) as pool:
            whole = bar.add_task("as it is", total=len(files))
            parts = {pool.submit(trees.exit_code, [one]): one for one in files}
            for future in as_completed(parts):
                code, said = future.result()
                bar.advance(whole)
                if code != _PASSED:
                    bar.console.print(said[-3000:], markup=False, highlight=False)
                    bar.console.print(f"tests/{parts[future]} fails without any fault", markup=False)
                    pool.shutdown(cancel_futures=True)
                    return 1
            task = bar.add_task("faults  ", total=len(faults))
            tried = {pool.submit(trees.exit_code, fault.tests, fault): fault for fault in faults}
            survived, caught = [], 0
            for future in as_completed(tried):
                fault, (code, said) = tried[future], future.result()
                bar.advance(task)
                if code == _PASSED:
                    survived.append(fault)
                    bar.console.print(
                        f"SURVIVED {fault.name} in {fault.file}: {fault.was!r} -> {fault.now!r}", markup=False
                    )
                elif code in (_FAILED, _BROKEN, None):
                    caught += 1
                else:
                    bar.console.print(said[-3000:], markup=False, highlight=False)
                    bar.console.print(f"{fault.name}: pytest ended with {code}", markup=False)
                    survived.append(fault)
    print(f"{caught} of {len(faults)} faults caught, {len(survived)} survived")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
