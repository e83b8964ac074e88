"""Files that are complete or absent: written to a temporary file and renamed, and verified by checksum when read."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import json
import os
import re
import stat
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from steadytune.errors import UserError

Arrays = dict[str, NDArray[Any]]
# What safetensors calls them; NumPy has no bfloat16.
_DTYPES = {"BOOL": "?", "U8": "u1", "U16": "<u2", "U32": "<u4", "U64": "<u8", "I8": "i1", "I16": "<i2", "I32": "<i4"}
_DTYPES |= {"I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8", "BF16": "<u2"}
LARGEST_TEXT = 2**30
"""Size in bytes of the largest text file that is read, once unpacked."""
LARGEST_SETTINGS = 2**24
"""Size in bytes of the largest parameter file that is read, such as a study."""
# Text compresses to a tenth; what compresses to less than a hundredth was not written by a person.
_PACKED, _ALWAYS_UNPACKED = 100, 2**26
_PIECE = 2**20
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class CorruptFile(Exception):
    """A file whose content differs from what was written."""


@contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Hold a lock file for this process; yields False if another process holds it.

    The operating system releases the lock when the process dies, however it dies.
    """
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


@contextmanager
def room_on_disk(path: Path) -> Iterator[None]:
    """Turn "no space left" into an error that says where, and that finished runs are safe."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise UserError(
                f"no space left on the disk while writing {path} ({os.strerror(error.errno or 0)}). "
                "Finished runs are kept: free some space and run the same command again."
            ) from error
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically; after a crash the path holds the old or the new content, never a part.

    Temporary files left by killed processes are removed.
    """
    with room_on_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_remains(path)
        handle, name = _temporary(path)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            Path(name).chmod(0o644)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def _temporary(path: Path) -> tuple[int, str]:
    """Create a temporary file beside `path` and lock it, so that others see that its writer is alive."""
    while True:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        # Another process may have removed it as a leftover before it was locked.
        if _locked(handle) is None or os.fstat(handle).st_nlink:
            return handle, name
        os.close(handle)


def remove_remains(path: Path) -> None:
    """Remove the temporary files of `path` whose writers were killed."""
    remains = re.compile(rf"\.{re.escape(path.name)}-[a-z0-9_]{{8}}")
    with suppress(OSError):
        names = [entry.name for entry in os.scandir(path.parent) if remains.fullmatch(entry.name)]
        for left in (path.parent / name for name in names):
            handle = os.open(left, os.O_RDWR | os.O_NOFOLLOW)
            try:
                if _locked(handle):
                    left.unlink()
            finally:
                os.close(handle)


def _locked(handle: int) -> bool | None:
    """Lock an open file; False if another process holds it, None where locks are not supported."""
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return None
    return True


def write_text(path: Path, content: str) -> None:
    """Write UTF-8 text atomically."""
    write_bytes(path, content.encode())


def check_regular(path: Path) -> None:
    """Reject a pipe, a device or a socket, which could be read forever. A missing file passes.

    Raises:
        UserError: It is one; names the path and what it is.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    kinds = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
    if (kind := kinds.get(stat.S_IFMT(mode))) is not None:
        raise UserError(f"{path} is {kind}: a regular file is needed")


def read_content(path: Path, limit: int = LARGEST_TEXT) -> bytes:
    """Read a file of at most `limit` bytes, unpacked if its name ends in .gz.

    Raises:
        UserError: It cannot be read, is not a file, is not a complete gzip file, or is larger; names the limit.
    """
    check_regular(path)
    packed = path.suffix.lower() == ".gz"
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > limit:
                raise UserError(f"{path} is {_amount(size)}: at most {_amount(limit)} can be read")
            if not packed:
                return _pieces(file, limit, path)
            most = min(limit, max(_ALWAYS_UNPACKED, _PACKED * size))
            with gzip.GzipFile(fileobj=file) as unpacked:
                return _pieces(unpacked, most, path)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path} is not a complete gzip file ({error})") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error})") from error


def _pieces(file: Any, limit: int, path: Path) -> bytes:
    """Read to the end but no further than the limit, whatever size the file claims to have."""
    content = io.BytesIO()
    while piece := file.read(_PIECE):
        if content.tell() + len(piece) > limit:
            raise UserError(f"{path} unpacks to more than {_amount(limit)}, the most that is read")
        content.write(piece)
    return content.getvalue()


def _amount(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"


def parse_json(text: str | bytes) -> Any:
    """Parse JSON without duplicate keys, of which the library would silently keep the last value.

    Raises:
        ValueError: It is not JSON, is nested too deeply, or has a duplicate key.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_json(path: Path, limit: int = LARGEST_TEXT) -> Any:
    """Read a file of JSON, as `read_content` and `parse_json` do.

    Raises:
        UserError: It cannot be read, is not a file, or is larger than `limit`.
        ValueError: It is not JSON, is nested too deeply, or has a duplicate key.
    """
    return parse_json(read_content(path, limit))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"duplicate key {next(name for name in names if names.count(name) > 1)!r:.60}")
    return content


def canonical_json(content: Any) -> bytes:
    """Return the canonical JSON of `content` (sorted keys, no spaces), for hashing. NaN is rejected."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return plain data with its own checksum added under "sha256"."""
    return {**content, "sha256": sha256(canonical_json(content))}


def check_seal(content: Any) -> dict[str, Any]:
    """Verify and remove the checksum of plain data.

    Raises:
        CorruptFile: It has none, or does not match it.
    """
    if not isinstance(content, dict) or "sha256" not in content:
        raise CorruptFile("it contains no checksum of itself")
    inside = {name: value for name, value in content.items() if name != "sha256"}
    try:
        intact = content["sha256"] == sha256(canonical_json(inside))
    except ValueError:
        intact = False
    if not intact:
        raise CorruptFile("it does not match its checksum")
    return inside


def sha256(content: bytes) -> str:
    """Return the hexadecimal SHA-256 of bytes."""
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file, read in chunks.

    Raises:
        UserError: It is a pipe, a device or a socket.
        OSError: It cannot be read.
    """
    check_regular(path)
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def packed_texts(texts: Sequence[str]) -> NDArray[np.uint8]:
    """Return texts as an array of bytes that `write_arrays` can store: their JSON, in UTF-8."""
    return np.frombuffer(json.dumps(list(texts), ensure_ascii=False).encode("utf-8", "surrogatepass"), np.uint8)


def unpacked_texts(array: NDArray[np.uint8]) -> list[str]:
    """Return the texts of `packed_texts`."""
    found: list[str] = json.loads(array.tobytes().decode("utf-8", "surrogatepass"))
    return found


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]], metadata: dict[str, str] | None = None) -> str:
    """Write named arrays, and optionally texts as metadata, as safetensors; return the file's SHA-256."""
    from safetensors.numpy import save

    # np.ascontiguousarray would turn a scalar into an array of one element.
    content = save({name: np.asarray(array, order="C") for name, array in arrays.items()}, metadata)
    write_bytes(path, content)
    return sha256(content)


def read_arrays(path: Path, checksum: str) -> Arrays:
    """Read named arrays, memory-mapped: the file is verified in chunks and loaded on access.

    The file is replaced by rename, never modified in place, so that the mapped data stay those that were verified.

    Raises:
        CorruptFile: The file is missing, or its SHA-256 is not `checksum`.
    """
    try:
        if sha256_file(path) != checksum:
            raise CorruptFile(f"{path.name} does not match its checksum")
    except OSError as error:
        raise CorruptFile(f"{path.name} cannot be read ({error.strerror})") from error
    except UserError as error:
        raise CorruptFile(str(error)) from None
    return map_arrays(path)[0]


def map_arrays(path: Path) -> tuple[Arrays, dict[str, str]]:
    """Return the arrays of a safetensors file, loaded on access, and its metadata texts.

    Writing to an array changes it only in this process. The library itself reads whole tensors into memory; bfloat16
    is read and converted to float32.

    Raises:
        CorruptFile: It cannot be read, is not a complete safetensors file, or has a type that NumPy lacks.
    """
    from safetensors import SafetensorError, safe_open

    try:
        check_regular(path)
        # The library checks the header: that the tensors lie within the file, side by side, in sizes that fit.
        with safe_open(path, framework="numpy") as file:
            metadata: dict[str, str] = file.metadata() or {}
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header: dict[str, Any] = parse_json(stream.read(length))
    except (SafetensorError, OSError, ValueError) as error:
        raise CorruptFile(str(error)) from None
    header.pop("__metadata__", None)
    return {name: _mapped(path, name, tensor, 8 + length) for name, tensor in header.items()}, metadata


def _mapped(path: Path, name: str, tensor: dict[str, Any], start: int) -> NDArray[Any]:
    if tensor["dtype"] not in _DTYPES:
        raise CorruptFile(f"'{name}' has the type {tensor['dtype']}, which NumPy does not have")
    shape, dtype = tuple(tensor["shape"]), np.dtype(_DTYPES[tensor["dtype"]])
    if not np.prod(shape):
        return np.empty(shape, dtype)
    array = np.memmap(path, dtype, "c", start + tensor["data_offsets"][0], shape)
    # The upper half of the bits of a float32.
    return (array.astype(np.uint32) << 16).view(np.float32) if tensor["dtype"] == "BF16" else array
