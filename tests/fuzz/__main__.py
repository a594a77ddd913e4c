"""``python -m tests.fuzz --minutes 30``: the campaign, and its table."""

import argparse
import os
import sys
import time
from pathlib import Path

from tests.fuzz import campaign
from tests.fuzz.cases import PARTS

__all__ = ["main"]


def main() -> int:
    """Run the campaign, or a single case of it; returns 1 if anything failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="default: 30")
    parser.add_argument("--seed", type=int, default=0, help="of all cases; default: 0")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="default: all")
    parser.add_argument("--case", type=int, nargs="+", help="run these cases of one part alone")
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--folder", type=Path, help="keep the files there; default: nowhere")
    parser.add_argument("--out", type=Path, help="also write the table into this file")
    given = parser.parse_args()
    if given.case is not None:
        if len(given.only) != 1:
            parser.error("--case needs --only and one part")
        cases = [(given.only[0], given.seed, case) for case in given.case]
        done = campaign.run_cases(cases, given.folder)
        for part, _, case, result, _ in done:
            held = "; ".join(result.faults) or "held"
            print(f"{part} {case}: {result.kind} ({result.about})\n    {held}")
        return int(any(one.result.faults for one in done))
    start = time.monotonic()
    done = campaign.conducted(given.only, given.seed, 60 * given.minutes, given.cores, given.folder)
    table = campaign.in_markdown(done, (time.monotonic() - start) / 60, given.cores)
    print(table, end="")
    if given.out is not None:
        given.out.write_text(table)
    return int(any(one.result.faults for one in done))


if __name__ == "__main__":
    sys.exit(main())
