"""Bounds of a case inside a worker: its memory, its time, and what it prints on stderr."""

import contextlib
import os
import resource
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

__all__ = ["GIB", "SECONDS", "Watched", "bounded", "limit_memory", "watched"]

GIB = 1 << 30
SECONDS = 10.0
"""The most that reading a file may take, of the processor's time: the machine may be busy."""
MEMORY = GIB
"""The most memory that it may take, above what the process has already."""


class Watched:
    """What a case has taken and printed, once `watched` is left."""

    seconds = 0.0
    peak = 0
    err = ""

    def faults(self) -> list[str]:
        """The bounds that were exceeded."""
        faults = []
        if self.seconds > SECONDS:
            faults.append(f"{self.seconds:.0f} s")
        if self.peak > MEMORY:
            faults.append(f"{self.peak / GIB:.1f} GiB of memory")
        return faults


@contextlib.contextmanager
def watched() -> Iterator[Watched]:
    """Measure the time and the peak of memory inside, and keep what libraries write to fd 2."""
    seen, kept = Watched(), os.dup(2)
    with tempfile.TemporaryFile() as err, warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        os.dup2(err.fileno(), 2)
        before, start = _memory("VmRSS"), time.process_time()
        _forget_peak()
        try:
            yield seen
        finally:
            seen.seconds = time.process_time() - start
            seen.peak = _memory("VmHWM") - before
            os.dup2(kept, 2)
            os.close(kept)
            err.seek(0)
            lines = [f"{w.category.__name__}: {w.message}" for w in raised if _is_shown(w)]
            seen.err = "\n".join([*lines, err.read().decode(errors="replace")]).strip()


def _is_shown(warning: warnings.WarningMessage) -> bool:
    """Whether Python shows a warning by default."""
    hidden = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)
    return not issubclass(warning.category, hidden)


def limit_memory(more: int) -> None:
    """Let this process take so many bytes more, and no others, so that the machine stays usable."""
    most = _memory("VmSize") + more
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))


@contextlib.contextmanager
def bounded(more: int) -> Iterator[None]:
    """`limit_memory` for a while."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    limit_memory(more)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _memory(name: str) -> int:
    """A number of bytes of /proc/self/status; 0 where there is none."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024
    return 0


def _forget_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
