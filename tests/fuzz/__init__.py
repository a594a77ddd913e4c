"""A campaign against the package: hostile files, bad command lines, kills and faults.

``python -m tests.fuzz --minutes 30`` runs it and writes a table: what was tried, what failed, and
how to repeat each failure. A short run with fixed seeds is part of the tests. Each case is drawn
from a seed, the name of its part and its number, so that

    python -m tests.fuzz --only readers --seed 7 --case 1234

repeats it: the same file, the same command line, the same moment (as a share of the time that the
run takes, so that a kill may hit another line of the program).

What it checks, part by part:

readers
    A mutated IDX, npy, npz, pickle, image, model, record, CSV or Parquet file is read, or refused
    with an `InputError` of one printable line of bounded length; no other exception, at most ten
    seconds, at most 1 GiB of memory, nothing else on stderr. A file with a checksum (a model, a
    checkpoint, the rows of a ``metrics.jsonl``) gives exactly what was written or is refused.
commands
    Any command line ends with status 0, 2, 3, 130 or 141, or 1 for ``reproduce --check``. Status 2
    comes with a single line on stderr that begins with ``error: ``, within ten seconds, and leaves
    no file if it comes before training. No traceback, no escape sequence, no warning of a library;
    device nodes and FIFOs that are named as outputs stay what they are.
kills
    A run that is killed (SIGKILL, SIGINT, SIGTERM) at any moment from the start of its process on,
    once or several times, and then resumed, ends in the same files as one that is not: models to
    the bit, metrics and results but for the seconds, figures to the pixel. A signal that can be
    caught ends it with status 130 or 143 and without a traceback.
faults
    A full disk, a full or read-only cache, a vanished run directory, a reader of the output that
    goes away: one line or none, and the run can be resumed to the same end. A flipped bit in any
    file of a run changes no result: the file is named and refused, or what it held is computed
    again. Of two processes in one run directory one goes on, and the other ends at once, in one
    line that names the first one's process.
"""
