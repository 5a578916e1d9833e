"""The block cache: what iterative fits read, decoded once and kept as plain arrays on local disk.

A pass over a cached view reads arrays in place of Parquet. The cache belongs to the machine: its
worker processes share it. It is bounded, forgets what was used longest ago, and may be deleted at
any moment. Where the disk is full it stays out of the way. Nothing but time depends on it: the
arrays of a hit and of a miss are the same to the last bit.

``PARQUETRY_CACHE_DIR`` names its folder (default: one of this user below the system's folder for
temporary files), ``PARQUETRY_CACHE_SIZE`` its size, as ``"20GiB"`` (default: half of the free disk;
``0`` turns it off). Both are read by the workers.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import cloudpickle
import numpy as np

if TYPE_CHECKING:
    from parquetry.dataset import Block
    from parquetry.reading import Reader
    from parquetry.view import Batch, View

Arrays = dict[str, Any]
"""Arrays by name. A C- or Fortran-contiguous array comes back in the order that it had.

A list of columns is written without being put together, and comes back as their matrix."""
Prepare = Callable[["Batch"], Arrays]
"""What a cached view keeps of a batch. It must be picklable; its pickle is part of the key."""

_FORMAT = 2
_MAGIC = b"PQYBLOCK"
_PAGE = mmap.ALLOCATIONGRANULARITY
_OFF_SECONDS = 60.0  # after a failed write the disk is left alone for so long
_FREE_SHARE = 0.05  # of the disk stays free for others
_TOUCH_SECONDS = 60.0
_ABANDONED_SECONDS = 3600.0
_BUFFER_UNIT = 2**20
_KEPT_BYTES = 64 * 2**20  # of buffers, between reads, for all threads of a process
_UNSHARED = 3  # references to a buffer that nobody looks at: the reader's, the call's, and getrefcount's own


def float_arrays(batch: Batch) -> Arrays:
    """X as a float matrix or in CSR form, the targets as rows of ``y``, and the weights ``w``.

    A CSR form is float64 with sorted columns, and 32 bits for their numbers wherever that is enough.
    """
    matrix = batch.matrix
    arrays: Arrays = {}
    if hasattr(matrix, "tocsr"):
        csr = matrix.tocsr()
        # Sorted here, since what is read from the cache cannot be sorted in place.
        csr = csr if csr.has_sorted_indices else csr.sorted_indices()
        kind = np.int32 if max(csr.nnz, *csr.shape) <= np.iinfo(np.int32).max else np.int64
        arrays |= {"X.data": csr.data.astype(np.float64, copy=False)}
        arrays |= {"X.indices": csr.indices.astype(kind, copy=False), "X.indptr": csr.indptr.astype(kind, copy=False)}
        arrays["X.shape"] = np.array(csr.shape, dtype=np.int64)
    else:
        arrays["X"] = matrix
    if batch.view.target:
        arrays["y"] = np.stack(batch.y_floats)
    if batch.weights is not None:
        arrays["w"] = batch.weights
    return arrays


def column_arrays(batch: Batch) -> Arrays:
    """The same as :func:`float_arrays`, but stored columns stay apart until they are read back.

    It saves the first pass a copy of X. For reductions that ask for ``floats``, or for ``matrix``
    in later passes only.
    """
    if batch.view.steps:
        return float_arrays(batch)
    arrays: Arrays = {"X": batch.floats}
    if batch.view.target:
        arrays["y"] = np.stack(batch.y_floats)
    if batch.weights is not None:
        arrays["w"] = batch.weights
    return arrays


class CachedBatch:
    """Some rows of a block as arrays; it answers like a Batch what a Reduction of numbers asks.

    Its arrays are read-only.

    Attributes
    ----------
    arrays : dict of str to ndarray
        What the view's ``prepare`` made.
    rows : ndarray of shape (n_rows,)
        Every row's position in the row group.
    """

    def __init__(self, arrays: Arrays, rows: Any, block: Block, view: View) -> None:
        self.arrays, self.rows, self.block, self.view = arrays, rows, block, view
        self._matrix: Any = None

    @property
    def num_rows(self) -> int:
        """Rows in the batch; at least one."""
        return len(self.rows)

    @property
    def matrix(self) -> Any:
        """X as a float64 array or a CSR matrix, shape ``(n_rows, n_features)``."""
        if self._matrix is None:
            if isinstance(self.arrays.get("X"), list):
                self._matrix = np.stack(self.arrays["X"]).T
            elif "X" in self.arrays:
                self._matrix = self.arrays["X"]
            else:
                from scipy import sparse

                parts = (self.arrays["X.data"], self.arrays["X.indices"], self.arrays["X.indptr"])
                self._matrix = sparse.csr_matrix(parts, shape=tuple(self.arrays["X.shape"].tolist()))
        return self._matrix

    @property
    def X(self) -> Any:  # noqa: N802 (scikit-learn's name)
        """The same as ``matrix``."""
        return self.matrix

    @property
    def floats(self) -> list[Any]:
        """X as one float64 array a column."""
        if isinstance(self.arrays.get("X"), list):
            return list(self.arrays["X"])
        matrix = self.matrix
        return list((matrix.toarray() if hasattr(matrix, "toarray") else matrix).T)

    @property
    def y_floats(self) -> list[Any]:
        """The target as one float64 array a target column."""
        return list(self.arrays["y"])

    @property
    def y(self) -> Any:
        """The target as floats: shape ``(n_rows,)``, or ``(n_rows, n_targets)``."""
        y = self.arrays["y"]
        return y[0] if len(y) == 1 else y.T

    @property
    def weights(self) -> Any:
        """Sample weights of shape ``(n_rows,)``, or None."""
        return self.arrays.get("w")


@dataclass(frozen=True)
class CacheKey:
    """What tells one cached view from all others, but for the block.

    Parameters
    ----------
    digest : str
        Of the dataset's footers, the columns, the rows chosen, the steps and ``prepare``.
    """

    digest: str

    @classmethod
    def of(cls, view: View) -> CacheKey:
        """The key of a view, made once on the driver and carried to the workers."""
        dataset = view.dataset
        chosen = [[f.salt, f.low, f.high, f.inside] for f in dataset.row_filters]
        digest = hashlib.sha256(dataset.footer.digest)
        digest.update(
            json.dumps(
                [_FORMAT, dataset.uri, view.features, view.target, view.sample_weight, view.group, chosen]
            ).encode()
        )
        # Two pickles of equal steps may differ: that costs a miss, never a wrong hit.
        digest.update(cloudpickle.dumps((view.steps, view.target_step, view.weight_step, view.prepare)))
        return cls(digest.hexdigest()[:24])

    def name(self, reader: Reader, block: Block) -> str:
        """The name of a block's file: it changes when the block's own file does."""
        info = reader.filesystem.get_file_info(block.path)
        facts = [block.path, block.name, block.row_group, info.size, info.mtime_ns, reader.batch_rows]
        own = hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()[:24]
        return f"{self.digest}-{own}.block"


def cached_batches(reader: Reader, block: Block, view: View, key: CacheKey) -> Iterator[CachedBatch]:
    """The batches of a block from the cache; on a miss from Parquet, and then into the cache."""
    prepare = view.prepare
    if prepare is None:
        raise ValueError("The view is not cached.")
    store = machine_store()
    name = "" if store is None else key.name(reader, block)
    found = None if store is None else store.open(name)
    if found is not None:
        with found as file:
            for read in file.batches():
                batch = CachedBatch(*read, block, view)
                del read  # so that the memory is free for the next
                yield batch
                del batch
        return
    from parquetry.view import Batch

    writer = None if store is None else store.create(name)
    with contextlib.closing(writer) if writer is not None else contextlib.nullcontext():
        for table, rows in reader.read(block):
            arrays = prepare(Batch(table, rows, block, view))
            if writer is not None:
                writer.add(arrays, rows)
            yield CachedBatch(arrays, rows, block, view)
        if writer is not None:
            writer.commit()


@cache
def _store(folder: str, size: str) -> Store | None:
    try:
        return Store.at(Path(folder), size)
    except OSError:
        return None  # no folder can be had here: every pass reads Parquet


def machine_store() -> Store | None:
    """The cache of this machine, or None where it is off."""
    user = os.getuid() if hasattr(os, "getuid") else "user"
    folder = os.environ.get("PARQUETRY_CACHE_DIR") or os.path.join(tempfile.gettempdir(), f"parquetry-cache-{user}")
    return _store(folder, os.environ.get("PARQUETRY_CACHE_SIZE", ""))


def is_kept(key: CacheKey) -> bool:
    """Whether blocks of a view are in this machine's cache: it has been read before."""
    store = machine_store()
    return store is not None and store.keeps(f"{key.digest}-")


class Store:
    """A folder of cached blocks, bounded in size.

    Parameters
    ----------
    folder : Path
    size : int
        Most bytes that it may take.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self.folder, self.size = folder, size
        self._off_until = 0.0
        self._lock = threading.Lock()
        self._counted_at = 0.0
        self._used = 0

    @classmethod
    def at(cls, folder: Path, size: str) -> Store | None:
        """The store in a folder of this user alone, or None where it is turned off.

        Raises
        ------
        BadParameter
            ``size`` is not a size.
        OSError
            The folder cannot be made, or belongs to somebody else.
        """
        from parquetry.engine import parse_bytes

        if size.strip() == "0":
            return None
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():
            # What somebody else may write must not become the numbers of a fit.
            raise PermissionError(f"{folder} belongs to another user.")
        bound = parse_bytes(size) if size.strip() else _free(folder) // 2
        return cls(folder, bound)

    def open(self, name: str) -> CachedFile | None:
        """A cached block, or None."""
        path = self.folder / name
        try:
            file = CachedFile(path)
        except (OSError, ValueError):
            return None  # not there, or cut short
        with contextlib.suppress(OSError):
            if time.time() - os.fstat(file.descriptor).st_mtime > _TOUCH_SECONDS:
                os.utime(path)
        return file

    def keeps(self, prefix: str) -> bool:
        """Whether there is a whole block whose name begins so."""
        with contextlib.suppress(OSError), os.scandir(self.folder) as found:
            return any(entry.name.startswith(prefix) and entry.name.endswith(".block") for entry in found)
        return False

    def create(self, name: str) -> CacheWriter | None:
        """A writer of a new block, or None while the disk is left alone."""
        return None if time.monotonic() < self._off_until else CacheWriter(self, name)

    def switch_off(self) -> None:
        """Leave the disk alone for a while."""
        self._off_until = time.monotonic() + _OFF_SECONDS

    def make_room(self, nbytes: int, prefix: str) -> bool:
        """Whether so many more bytes may be written; forgets what was used longest ago.

        Blocks of the same view stay: a pass over more than fits would else throw out each block
        just before it is asked for again.
        """
        with self._lock:
            # Other processes write here too: the folder is counted anew now and then.
            if time.monotonic() - self._counted_at > 1.0 or self._used + nbytes > self.size:
                self._forget(nbytes, prefix)
            if self._used + nbytes > self.size or _free(self.folder) - nbytes < 0:
                return False
            self._used += nbytes
            return True

    def _forget(self, nbytes: int, prefix: str) -> None:
        entries = []
        now = time.time()
        with contextlib.suppress(OSError), os.scandir(self.folder) as found:
            for entry in found:
                with contextlib.suppress(OSError):
                    stat = entry.stat()
                    if entry.name.endswith(".partial") and now - stat.st_mtime > _ABANDONED_SECONDS:
                        os.unlink(entry.path)
                        continue
                    entries.append((stat.st_mtime, stat.st_size, entry.name, entry.path))
        used = sum(size for _, size, _, _ in entries)
        for _, size, name, path in sorted(entries):
            if used + nbytes <= self.size:
                break
            if not name.startswith(prefix) and name.endswith(".block"):
                with contextlib.suppress(OSError):
                    os.unlink(path)
                used -= size
        self._used, self._counted_at = used, time.monotonic()


class CacheWriter:
    """Writes one block: arrays first, their description last; visible only once committed."""

    def __init__(self, store: Store, name: str) -> None:
        self._store, self._name = store, name
        self._path = store.folder / name
        self._partial = store.folder / f"{name}.{os.getpid()}.{threading.get_ident()}.partial"
        self._file: Any = None
        self._failed = False
        self._batches: list[dict[str, Any]] = []

    def add(self, arrays: Arrays, rows: Any) -> None:
        """Write a batch; a failure only means that nothing is kept."""
        if self._failed:
            return
        contiguous = len(rows) > 0 and int(rows[-1]) - int(rows[0]) == len(rows) - 1
        stored = dict(arrays) if contiguous else {**arrays, " rows": rows}
        total = sum(_padded(_nbytes(a), 64) for a in stored.values()) + _PAGE
        try:
            if not self._store.make_room(total, self._name.partition("-")[0]):
                self._failed = True
                return
            if self._file is None:
                self._file = open(self._partial, "wb", buffering=0)  # noqa: SIM115 (closed by close)
            start = self._pad(_PAGE)
            entry: dict[str, Any] = {"start": start, "first": int(rows[0]), "rows": len(rows), "arrays": []}
            for key, array in stored.items():
                if isinstance(array, list):
                    offset = self._pad(64) - start
                    for column in array:
                        self._write(np.ascontiguousarray(column).data.cast("B") if column.size else b"")
                    entry["arrays"].append([key, array[0].dtype.str, (len(rows), len(array)), True, offset])
                    continue
                values = np.asarray(array)
                fortran = values.ndim > 1 and values.flags.f_contiguous and not values.flags.c_contiguous
                flat = values.T if fortran else np.ascontiguousarray(values)
                offset = self._pad(64) - start
                self._write(flat.data.cast("B") if flat.size else b"")
                entry["arrays"].append([key, values.dtype.str, values.shape, fortran, offset])
            entry["length"] = self._file.tell() - start
            self._batches.append(entry)
        except OSError:
            self._give_up()

    def commit(self) -> None:
        """Make the block visible."""
        if self._failed:
            return
        try:
            if self._file is None:
                self._file = open(self._partial, "wb", buffering=0)  # noqa: SIM115
            start = self._file.tell()
            self._write(json.dumps(self._batches).encode())
            self._write(start.to_bytes(8, "little") + _MAGIC)
            self._file.close()
            os.replace(self._partial, self._path)
            self._file = None
        except OSError:
            self._give_up()

    def close(self) -> None:
        """Remove what was not committed."""
        if self._file is not None:
            self._file.close()
            self._file = None
            with contextlib.suppress(OSError):
                os.unlink(self._partial)

    def _give_up(self) -> None:
        self._failed = True
        self._store.switch_off()
        self.close()

    def _pad(self, unit: int) -> int:
        position: int = self._file.tell()
        wanted = _padded(position, unit)
        self._write(b"\0" * (wanted - position))
        return wanted

    def _write(self, content: Any) -> None:
        view = memoryview(content)
        while view.nbytes:
            view = view[self._file.write(view) :]


class CachedFile:
    """A committed block, open for reading; it stays readable when the file is deleted."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY)
        try:
            self._batches = self._described()
        except BaseException:
            os.close(self.descriptor)
            raise

    def _described(self) -> list[dict[str, Any]]:
        size = os.fstat(self.descriptor).st_size
        tail = os.pread(self.descriptor, 16, max(0, size - 16))
        if len(tail) < 16 or tail[8:] != _MAGIC:
            raise ValueError("not a whole block")
        start = int.from_bytes(tail[:8], "little")
        described: list[dict[str, Any]] = json.loads(os.pread(self.descriptor, size - 16 - start, start))
        return described

    def batches(self) -> Iterator[tuple[Arrays, Any]]:
        """Each batch's arrays, read one batch at a time, and its rows."""
        for entry in self._batches:
            if entry["length"] == 0:
                continue
            buffer = _buffers.take(entry["length"])
            self._fill(buffer, entry)
            yield _arrays(buffer, entry)
            _buffers.give(buffer)

    def _fill(self, buffer: Any, entry: dict[str, Any]) -> None:
        target, position = memoryview(buffer)[: entry["length"]], entry["start"]
        while target.nbytes:
            read = os.preadv(self.descriptor, [target], position)
            if read == 0:
                raise OSError("a cached block was cut short while it was read")
            target, position = target[read:], position + read

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)


class _Buffers:
    """Memory that blocks are read into, used again once nobody looks at it.

    New pages, and those of a mapping, take the kernel longer than copying what they hold.
    """

    def __init__(self) -> None:
        self._free: list[Any] = []

    def take(self, nbytes: int) -> Any:
        """At least so many bytes, of any content, at the start of a page."""
        for i, buffer in enumerate(self._free):
            if len(buffer) >= nbytes:
                with contextlib.suppress(IndexError):  # another thread was faster
                    return self._free.pop(i)
        raw = np.empty(_padded(nbytes, _BUFFER_UNIT) + _PAGE, dtype=np.uint8)
        start = -raw.ctypes.data % _PAGE
        return raw[start : len(raw) - _PAGE + start]

    def give(self, buffer: Any) -> None:
        """Take a buffer back, unless arrays over it are still in use somewhere."""
        if sys.getrefcount(buffer) <= _UNSHARED and sum(map(len, self._free)) + len(buffer) <= _KEPT_BYTES:
            self._free.append(buffer)


_buffers = _Buffers()


def _arrays(buffer: Any, entry: dict[str, Any]) -> tuple[Arrays, Any]:
    """The arrays of a batch over the buffer that holds it, read-only, and its rows."""
    content = memoryview(buffer).toreadonly()
    arrays: Arrays = {}
    for key, dtype, shape, fortran, offset in entry["arrays"]:
        count = int(np.prod(shape))
        flat = np.frombuffer(content, dtype=dtype, count=count, offset=offset if count else 0)
        arrays[key] = flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)
    first = entry["first"]
    rows = arrays.pop(" rows", None)
    return arrays, np.arange(first, first + entry["rows"]) if rows is None else rows


def _nbytes(array: Any) -> int:
    return sum(column.nbytes for column in array) if isinstance(array, list) else int(array.nbytes)


def _padded(position: int, unit: int) -> int:
    return -(-position // unit) * unit


def _free(folder: Path) -> int:
    """Bytes that may still be written here, with a share of the disk left to others."""
    stat = os.statvfs(folder)
    return int(stat.f_bavail * stat.f_frsize - _FREE_SHARE * stat.f_blocks * stat.f_frsize)
