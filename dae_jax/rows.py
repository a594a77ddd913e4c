"""Rows of numbers that are read or computed when they are needed, and the blocks of an epoch.

Data that do not fit into memory are trained on in blocks of consecutive rows: an epoch takes the
blocks in a new order, and each of them as if it were all the data. They are read by position and
not mapped into memory, so that no more than two blocks are resident, and a file that is cut short
meanwhile is an error message and not the end of the process (SIGBUS).
"""

import hashlib
import math
import os
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property, lru_cache, reduce
from operator import xor
from pathlib import Path
from typing import Any

import numpy as np

from dae_jax import memory
from dae_jax.errors import InputError

__all__ = [
    "AnyRows",
    "Between",
    "Computed",
    "Joined",
    "Reader",
    "Rows",
    "Selected",
    "Stored",
    "Without",
    "blocks",
    "bounds",
    "crc32",
    "flat",
    "in_memory",
    "joined_crc32",
    "missing",
    "parts",
    "sha256",
]

PART_BYTES = 1 << 25
"""Bytes of the parts in which whole data sets are looked through."""
_GAP = 32  # rows that are read and left out rather than read around


class Rows(ABC):
    """Rows that are had in parts: ``rows[10:20]`` or ``rows[[3, 1]]`` is an array in memory.

    Like an array they have a shape, a type and a length. They are no array, and never become one as
    a whole by accident.

    Args:
        shape: (n, d), or (members, n, d): then `axis` is 1.
        dtype: The type of the values.
        axis: The axis of the rows.
    """

    def __init__(self, shape: tuple[int, ...], dtype: Any, axis: int = 0):
        self.shape, self.dtype, self.axis = tuple(shape), np.dtype(dtype), axis
        self._checksums: dict[tuple[int, int], int] = {}

    @abstractmethod
    def read_into(self, out: np.ndarray, start: int) -> None:
        """Read rows, from `start` on, as many as fit into an array of their type."""

    def read(self, start: int, stop: int) -> np.ndarray:
        """The rows from `start` up to `stop`, which are within their number."""
        out = np.empty(self.shape_of(stop - start), self.dtype)
        self.read_into(out, start)
        return out

    def shape_of(self, n: int) -> tuple[int, ...]:
        """The shape of so many rows."""
        return (*self.shape[: self.axis], n, *self.shape[self.axis + 1 :])

    @property
    @abstractmethod
    def stored(self) -> bool:
        """Whether they are read from files, which may change, and not computed."""

    @cached_property
    def bounds(self) -> tuple[float, float]:
        """See the function `bounds`."""
        return _bounds(self)

    @cached_property
    def missing(self) -> int:
        """See the function `missing`."""
        return _missing(self)

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of values."""
        return math.prod(self.shape)

    @property
    def itemsize(self) -> int:
        """The bytes of a value."""
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """The bytes that they would take in memory."""
        return self.size * self.itemsize

    def __len__(self) -> int:
        return self.shape[self.axis]

    def __getitem__(self, which: Any) -> np.ndarray:
        if isinstance(which, slice):
            start, stop, step = which.indices(len(self))
            if step == 1:
                return self.read(start, max(start, stop))
            which = np.arange(start, stop, step)
        indices = np.asarray(which)
        indices = np.flatnonzero(indices) if indices.dtype == bool else indices.astype(np.intp)
        if indices.size and not -len(self) <= indices.min() <= indices.max() < len(self):
            raise IndexError(f"{indices.min()} to {indices.max()} of {len(self)} rows")
        indices = np.where(indices < 0, indices + len(self), indices)
        if indices.ndim == 0:
            return self._take(indices[None]).take(0, axis=self.axis)
        return self._take(indices)

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise TypeError(f"{len(self):,} rows that are not in memory: take parts of them")

    def _take(self, indices: np.ndarray) -> np.ndarray:
        """Rows in any order; those that are close together are read at once."""
        order = np.argsort(indices, kind="stable")
        ordered = indices[order]
        if not len(ordered):
            return self.read(0, 0)
        cuts = np.flatnonzero(np.diff(ordered) > _GAP) + 1
        found = [
            self.read(int(run[0]), int(run[-1]) + 1).take(run - run[0], axis=self.axis)
            for run in np.split(ordered, cuts)
        ]
        back = np.empty(len(order), int)
        back[order] = np.arange(len(order))
        return np.concatenate(found, axis=self.axis).take(back, axis=self.axis)

    def block(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
        """Read a block of an epoch, and check that it is what it was when it was read before.

        Args:
            start: Its first row.
            stop: The row after its last one.
            out: Memory for it; see `Reader`.

        Raises:
            InputError: It has changed, or cannot be read.
        """
        out = np.empty(self.shape_of(stop - start), self.dtype) if out is None else out
        self.read_into(out, start)
        if self.stored:
            self.check(start, stop, crc32(out))
        return out

    def check(self, start: int, stop: int, checksum: int) -> None:
        """Check that a block is what it was when it was read before.

        Args:
            start: See `block`, as for `stop`.
            checksum: Its CRC-32 now.

        Raises:
            InputError: It has changed.
        """
        if self._checksums.setdefault((start, stop), checksum) != checksum:
            raise InputError(
                f"rows {start:,} to {stop:,} of {self}",
                expected="the numbers that were there before",
                got="others",
                do="put the file back, and resume",
            )

    def checksums(self, blocks: Sequence[tuple[int, int]]) -> np.ndarray:
        """The CRC-32 of each block, uint32; 0 for those that were not read yet."""
        return np.array([self._checksums.get(block, 0) for block in blocks], np.uint32)

    def expect(self, blocks: Sequence[tuple[int, int]], checksums: np.ndarray) -> None:
        """Check blocks that are read from now on against the `checksums` of an earlier run."""
        pairs = zip(blocks, checksums.tolist(), strict=True)
        self._checksums |= {block: crc for block, crc in pairs if crc}


class Stored(Rows):
    """The rows of an uncompressed array in a file.

    Args:
        path: The file.
        offset: The position of the first value, in bytes.
        shape: (n, ...).
        stored_as: The type of the values in the file, with their byte order.
        dtype: The type of those that are read; the same in this machine's order if None.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        offset: int,
        shape: tuple[int, ...],
        stored_as: np.dtype,
        dtype: Any = None,
    ):
        super().__init__(shape, stored_as.newbyteorder("=") if dtype is None else dtype)
        self.path, self._offset, self._stored_as = Path(path), offset, stored_as
        self._version = self._state()

    @property
    def stored(self) -> bool:
        """They are."""
        return True

    def __str__(self) -> str:
        return str(self.path)

    def flat(self, dtype: Any) -> "Stored":
        """The same rows as vectors, (n, d), of another type."""
        shape = len(self), math.prod(self.shape[1:])
        return Stored(self.path, self._offset, shape, self._stored_as, dtype)

    def read_into(self, out: np.ndarray, start: int) -> None:
        """Read rows from `start` on.

        Raises:
            InputError: The file has changed or vanished, or cannot be read.
        """
        if self._state() != self._version:
            raise self._changed("another size or time")
        as_it_is = self._stored_as == out.dtype and out.flags.c_contiguous
        array = out if as_it_is else np.empty(out.shape, self._stored_as)
        view: Any = array.reshape(-1).view(np.uint8)
        done = 0
        try:
            with open(self.path, "rb", buffering=0) as file:
                file.seek(self._offset + start * array[:1].nbytes)
                while done < len(view):
                    if not (n := file.readinto(view[done:])):
                        raise self._changed(f"{len(view) - done:,} bytes fewer")
                    done += n
        except OSError as error:
            raise InputError(f"cannot read {self.path}: {error.strerror}") from error
        if not as_it_is:
            with np.errstate(over="ignore"):  # see `datasets.loading`, which refuses infinity
                out[...] = array

    def _state(self) -> tuple[int, int]:
        try:
            now = os.stat(self.path)
        except OSError as error:
            do = "put the file back, and resume"
            raise InputError(f"cannot read {self.path}: {error.strerror}", do=do) from error
        return now.st_size, now.st_mtime_ns

    def _changed(self, got: str) -> InputError:
        expected = "the file as it was when it was opened"
        return InputError(self.path, expected=expected, got=got, do="put it back, and resume")


class Joined(Rows):
    """The rows of several arrays, one after another.

    Args:
        each: Arrays or rows of one width and type.
        name: Their name, for errors.
    """

    def __init__(self, each: "Sequence[AnyRows]", name: str = ""):
        super().__init__((sum(map(len, each)), *each[0].shape[1:]), each[0].dtype)
        self.each, self._name = each, name
        self._ends = np.cumsum([len(one) for one in each])

    @property
    def stored(self) -> bool:
        """Whether any are."""
        return any(isinstance(one, Rows) and one.stored for one in self.each)

    def __str__(self) -> str:
        return self._name or ", ".join(str(one) for one in self.each if isinstance(one, Rows))

    def flat(self, dtype: Any) -> "Joined":
        """The same rows as vectors, (n, d), of another type."""
        each = [
            one.flat(dtype)
            if isinstance(one, Stored)
            else np.asarray(one).reshape(len(one), -1).astype(dtype, copy=False)
            for one in self.each
        ]
        return Joined(each, self._name)

    def read_into(self, out: np.ndarray, start: int) -> None:
        """Read rows from `start` on, from those that have them."""
        done, i = 0, int(np.searchsorted(self._ends, start, side="right"))
        while done < len(out):
            one, before = self.each[i], int(self._ends[i]) - len(self.each[i])
            first = start + done - before
            own = out[done : done + len(one) - first]
            if isinstance(one, Rows):
                one.read_into(own, first)
            else:
                own[...] = one[first : first + len(own)]
            done, i = done + len(own), i + 1


class Selected(Rows):
    """Some of the rows of others.

    Args:
        rows: The others.
        indices: Which of them, in ascending order.
    """

    def __init__(self, rows: Rows, indices: np.ndarray):
        super().__init__((len(indices), *rows.shape[1:]), rows.dtype)
        self._rows, self._indices = rows, indices

    @property
    def stored(self) -> bool:
        """Whether the others are."""
        return self._rows.stored

    def __str__(self) -> str:
        return str(self._rows)

    def read_into(self, out: np.ndarray, start: int) -> None:
        """Read rows from `start` on."""
        out[...] = self._rows[self._indices[start : start + len(out)]]


class Between(Selected):
    """Consecutive rows of others.

    Args:
        rows: The others.
        start: The first of them.
        stop: The one after the last.
    """

    def __init__(self, rows: Rows, start: int, stop: int):
        super().__init__(rows, np.zeros(0, int))
        self.shape = (stop - start, *rows.shape[1:])
        self._start = start

    def flat(self, dtype: Any) -> "Between":
        """The same rows as vectors, (n, d), of another type."""
        assert isinstance(self._rows, Stored)
        return Between(self._rows.flat(dtype), self._start, self._start + len(self))

    def read_into(self, out: np.ndarray, start: int) -> None:
        """Read rows from `start` on."""
        self._rows.read_into(out, self._start + start)


class Without(Selected):
    """The rows of others but for some, of which there are few.

    Args:
        rows: The others.
        left_out: Which of them are left out, in ascending order.
    """

    def __init__(self, rows: Rows, left_out: np.ndarray):
        super().__init__(rows, left_out)
        self.shape = (len(rows) - len(left_out), *rows.shape[1:])
        self._before = left_out - np.arange(len(left_out))
        self._memory = np.empty(0, rows.dtype)

    def read_into(self, out: np.ndarray, start: int) -> None:
        """Read rows from `start` on, with those between them, which are left out then."""
        if not len(out):
            return
        which = np.arange(start, start + len(out))
        which += np.searchsorted(self._before, which, side="right")
        first, n = int(which[0]), int(which[-1] - which[0] + 1)
        size = n * out[:1].size
        if len(self._memory) < size:  # kept, since new memory costs more time than reading
            self._memory = np.empty(size, self.dtype)
        whole = self._memory[:size].reshape(n, *self.shape[1:])
        self._rows.read_into(whole, first)
        np.take(whole, which - first, axis=0, out=out, mode="clip")


class Computed(Rows):
    """Rows that a function makes of the rows of others.

    Args:
        rows: The others.
        function: Of some of them, (n, d), to as many, (n, ...) or (members, n, ...).
        shape: The shape of the whole result.
        dtype: Its type.
    """

    def __init__(
        self,
        rows: "AnyRows",
        function: Callable[[np.ndarray], np.ndarray],
        shape: tuple[int, ...],
        dtype: Any = np.float32,
    ):
        super().__init__(shape, dtype, axis=len(shape) - 2)
        self._rows, self._function = rows, function

    @property
    def stored(self) -> bool:
        """They are not."""
        return False

    def __str__(self) -> str:
        return f"what is computed from {self._rows}"

    def read_into(self, out: np.ndarray, start: int) -> None:
        """Compute rows from `start` on."""
        out[...] = self._function(self._rows[start : start + out.shape[self.axis]])


AnyRows = np.ndarray | Rows
"""An array, or rows that are had in parts."""


def crc32(array: np.ndarray) -> int:
    """The CRC-32 of the bytes of an array."""
    return zlib.crc32(np.ascontiguousarray(array).data)


def joined_crc32(parts: Iterable[tuple[int, int]]) -> int:
    """The CRC-32 of bytes of which some, and then the next, and so on, have been looked at apart.

    A CRC is linear: that of a and b is that of b alone, changed by what the CRC of a becomes
    behind as many zeros.

    Args:
        parts: The CRC-32 and the number of bytes of each.

    >>> joined_crc32([(zlib.crc32(b"de"), 2), (zlib.crc32(b"noise"), 5)]) == zlib.crc32(b"denoise")
    True
    """
    whole = 0
    for part, n_bytes in parts:
        whole = _sum_of(_behind_zeros(n_bytes), whole) ^ part
    return whole


@lru_cache
def _behind_zeros(n_bytes: int) -> list[int]:
    """The bits of a CRC as they are behind so many zeros, found by halving the number of these."""
    if n_bytes == 0:
        return [1 << i for i in range(32)]
    half = _behind_zeros(n_bytes // 2)
    found = [_sum_of(half, bit) for bit in half]
    if n_bytes % 2:
        one = [zlib.crc32(b"\0", 1 << i) ^ zlib.crc32(b"\0") for i in range(32)]
        found = [_sum_of(one, bit) for bit in found]
    return found


def _sum_of(bits: Sequence[int], crc: int) -> int:
    """The sum, without carries, of what the bits of a CRC become."""
    return reduce(xor, (bit for i, bit in enumerate(bits) if crc >> i & 1), 0)


def blocks(n: int, batch_size: int, size: int | None) -> list[tuple[int, int]]:
    """The blocks of an epoch, as (first row, row after the last).

    They are of nearly equal sizes, multiples of the batch but for the last one's.

    Args:
        n: Number of rows, at least one batch.
        batch_size: Rows per minibatch.
        size: Largest number of rows of a block, at least one batch; None for all.

    >>> blocks(1_000, 20, 300), blocks(1_000, 20, None)
    ([(0, 260), (260, 520), (520, 780), (780, 1000)], [(0, 1000)])
    """
    if size is None or size >= n:
        return [(0, n)]
    size = size // batch_size * batch_size
    count = -(-n // size)
    even = -(-n // count // batch_size) * batch_size
    found = [(start, min(start + even, n)) for start in range(0, n, even)]
    if len(found) > 1 and n - found[-1][0] < batch_size:  # dropped, as the remainder of an epoch is
        found.pop()
    return found


def flat(images: AnyRows, dtype: Any) -> AnyRows:
    """Images as vectors, (n, d), of another type."""
    if isinstance(images, np.ndarray):
        return images.reshape(len(images), -1).astype(dtype, copy=False)
    assert isinstance(images, Stored | Joined | Between)
    return images.flat(dtype)


class Reader:
    """Reads blocks of data, in turn into two pieces of memory.

    The memory of a block is used again for the one after the next, which must not be read before
    the first is out of use: new memory would cost more time than reading, and arrays on a CPU may
    share it, since it is aligned as JAX wants it.

    Args:
        data: A pytree of arrays and `Rows`, flattened.
        blocks: Those of `blocks`.
        axis: The axis of the rows.
    """

    def __init__(self, data: Sequence[Any], blocks: Sequence[tuple[int, int]], axis: int = 0):
        self._data, self._blocks, self._axis, self._turn = data, blocks, axis, 0
        most = max(stop - start for start, stop in blocks)
        several = min(2, len(blocks))
        self._memory = [
            [_aligned(rows.shape_of(most), rows.dtype) for _ in range(several)]
            for rows in self._rows
        ]

    @property
    def _rows(self) -> list[Rows]:
        return [array for array in self._data if isinstance(array, Rows)]

    def read(self, block: int) -> list[Any]:
        """The arrays of a block."""
        (start, stop), self._turn = self._blocks[block], self._turn + 1
        memory = iter(self._memory)
        cut = (slice(None),) * self._axis
        return [
            array.block(
                start, stop, _beginning(next(memory), self._turn, array.shape_of(stop - start))
            )
            if isinstance(array, Rows)
            else array[(*cut, slice(start, stop))]
            for array in self._data
        ]


def _aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Memory that begins at a multiple of 64 bytes."""
    n_bytes = math.prod(shape) * dtype.itemsize
    memory = np.empty(n_bytes + 64, np.uint8)
    first = -memory.ctypes.data % 64
    return memory[first : first + n_bytes].view(dtype).reshape(shape)


def _beginning(each: Sequence[np.ndarray], turn: int, shape: tuple[int, ...]) -> np.ndarray:
    """The first values of the memory whose turn it is, as an array of another shape."""
    return each[turn % len(each)].reshape(-1)[: math.prod(shape)].reshape(shape)


def parts(images: AnyRows) -> Iterator[np.ndarray]:
    """All rows in parts of bounded size, in their order."""
    size = max(1, PART_BYTES // max(1, images.itemsize * math.prod(images.shape[1:])))
    for start in range(0, len(images), size):
        yield images[start : start + size]


def bounds(images: AnyRows) -> tuple[float, float]:
    """The smallest and the largest value, without those that are missing (NaN)."""
    return images.bounds if isinstance(images, Rows) else _bounds(images)


def _bounds(images: AnyRows) -> tuple[float, float]:
    found = [
        (np.nanmin(x).item(), np.nanmax(x).item())
        for x in parts(images)
        if x.dtype.kind != "f" or not np.isnan(x).all()
    ]
    return min(low for low, _ in found), max(high for _, high in found)


def missing(images: AnyRows) -> int:
    """The number of missing values, which are NaN; integers have none."""
    return images.missing if isinstance(images, Rows) else _missing(images)


def _missing(images: AnyRows) -> int:
    if images.dtype.kind != "f":
        return 0
    return sum(int(np.isnan(x).sum()) for x in parts(images))


def sha256(*each: AnyRows) -> str:
    """The SHA-256 of the bytes of all values, in turn."""
    digest = hashlib.sha256()
    for images in each:
        for x in parts(images):
            digest.update(np.ascontiguousarray(x).data)
    return digest.hexdigest()


def in_memory(images: AnyRows, what: object = "images") -> np.ndarray:
    """All rows as an array, for what cannot take them in parts.

    Raises:
        InputError: They do not fit into memory.
    """
    if not isinstance(images, Rows):
        return images
    memory.check(what, images.nbytes, "give a part of them")
    return images[:]
