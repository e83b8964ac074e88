"""A folder of runs, whoever does them: each appears by one rename, and none is done twice."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from steadytune.errors import FolderWarning, UserError
from steadytune.files import CorruptFile, claimed, read_content, room_on_disk

# Files that file managers leave behind.
_LITTER = {".DS_Store", "Thumbs.db", "desktop.ini"}


@contextmanager
def held(path: Path, plan: str, inside: Sequence[str]) -> Iterator[None]:
    """Make a folder of runs, or find it, and hold it while its plan is written.

    Args:
        path: The folder.
        plan: Name of the file that says what runs it has, such as study.yaml.
        inside: Names of the folders in it.

    Raises:
        UserError: It holds something else, or cannot be made.
    """
    what = plan.partition(".")[0]
    try:
        with room_on_disk(path):
            path.mkdir(parents=True, exist_ok=True)
        # Checked before anything is written: a folder that is not ours stays unchanged.
        strangers = [name for name in os.listdir(path) if not name.startswith(f".{what}.") and name not in _LITTER]
        if strangers and not (path / plan).exists():
            raise UserError(f"{path} is not empty and contains no {what}: choose another --out")
        for name in inside:
            if (path / name).exists() and not (path / name).is_dir():
                raise UserError(f"{path / name} is a file where a folder is needed: remove it")
        with room_on_disk(path), FileLock(path / f".{what}.lock"):
            yield
    except FileExistsError:
        raise UserError(f"{path} is a file: --out must name a folder") from None
    except OSError as error:
        raise UserError(f"cannot write into the folder {path}: {error.strerror}") from error


class RunFolder:
    """A folder with one finished run in each folder of runs/, and in claims/ a lock per run while it is being done.

    Attributes:
        path: The folder.
    """

    path: Path

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._skipped: dict[str, str] = {}

    @property
    def skipped(self) -> tuple[str, ...]:
        """Entries of runs/ that were skipped when reading: damaged runs, and entries that are not runs."""
        return tuple(self._skipped.values())

    def __contains__(self, run_id: str) -> bool:
        return self._folder(run_id).is_dir()

    def _folder(self, run_id: str) -> Path:
        return self.path / "runs" / run_id

    def _skip(self, name: str, why: str) -> None:
        """Skip an entry of runs/, with a single warning."""
        if name not in self._skipped:
            self._skipped[name] = why
            warnings.warn(f"left out: {why}", FolderWarning, stacklevel=2)

    def names(self) -> list[str]:
        """Return the names of the folders in runs/."""
        folder = self.path / "runs"
        if not folder.is_dir():
            return []
        # A file is not a run, whoever put it there.
        return sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")

    @contextmanager
    def claim(self, run_id: str) -> Iterator[bool]:
        """Hold a run for this process; yields False if another process holds it or has finished it.

        The operating system releases the claim when the process dies, however it dies.
        """
        with self._lock(run_id) as mine:
            yield mine and run_id not in self

    @contextmanager
    def _lock(self, run_id: str) -> Iterator[bool]:
        with room_on_disk(self.path):
            (self.path / "claims").mkdir(exist_ok=True)
        with claimed(self.path / "claims" / f"{run_id}.lock") as mine:
            yield mine

    def forget_failed(self, run_ids: Iterable[str]) -> None:
        """Remove those of the given runs that failed or are damaged, so that they are missing again.

        A complete run that was written by another version stays.
        """
        for run_id in run_ids:
            if run_id in self and self._redone(run_id):
                with self._lock(run_id) as mine:
                    if mine:
                        # By one rename: leftovers of a killed process are removed with the next write.
                        remains = self.path / "runs" / f".{run_id}-forgotten"
                        shutil.rmtree(remains, ignore_errors=True)
                        self._folder(run_id).rename(remains)
                        shutil.rmtree(remains, ignore_errors=True)
                        self._skipped.pop(run_id, None)

    def _redone(self, run_id: str) -> bool:
        """Return whether a run is done again where failed ones are."""
        raise NotImplementedError

    @contextmanager
    def made(self, run_id: str) -> Iterator[Path]:
        """Yield an empty folder that becomes the run's as the block ends, by one rename; an error leaves none.

        The caller must hold the claim.
        """
        parent = self.path / "runs"
        with room_on_disk(parent):
            parent.mkdir(exist_ok=True)
            remains = re.compile(rf"\.{re.escape(run_id)}-[a-z0-9_]+")
            for left_by_killed_process in filter(remains.fullmatch, os.listdir(parent)):
                shutil.rmtree(parent / left_by_killed_process, ignore_errors=True)
            folder = Path(tempfile.mkdtemp(dir=parent, prefix=f".{run_id}-"))
            try:
                yield folder
                folder.chmod(0o755)
                folder.rename(self._folder(run_id))
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise

    def _content(self, run_id: str) -> bytes:
        """Return the content of a run's run.json.

        Raises:
            CorruptFile: It cannot be read.
        """
        try:
            return read_content(self._folder(run_id) / "run.json")
        except UserError:
            absent = not (self._folder(run_id) / "run.json").exists()
            stray = f", as there is none. {self._remove(run_id)} if it does not belong to this study" if absent else ""
            raise CorruptFile(f"run.json cannot be read{stray}") from None

    def _remove(self, run_id: str) -> str:
        return f"Remove the folder {self._folder(run_id)}"
