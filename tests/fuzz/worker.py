"""A process that works off cases: ``python -m tests.fuzz.worker FOLDER``, one line for each.

A line on stdin is ``PART SEED CASE``; its answer on stdout is a `Result` as JSON. A case that hangs
or crashes takes this process with it, and not the campaign.
"""

import importlib
import json
import logging
import os
import sys
import traceback
from pathlib import Path

from tests.fuzz.cases import Result

__all__ = ["main"]


def main() -> None:
    """Answer until stdin ends."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what the package prints is not an answer
    # Orbax leaves futures behind when a checkpoint is damaged; the commands silence all logs.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    for line in sys.stdin:
        part, seed, case = line.split()
        try:
            module = importlib.import_module(f"tests.fuzz.{part}")
            result = module.run(int(seed), int(case), folder)
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(last.filename).name}:{last.lineno}"
            result = Result("the campaign itself", (f"{type(error).__name__} {where}: {error}",))
        answers.write(json.dumps(result._asdict()) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
