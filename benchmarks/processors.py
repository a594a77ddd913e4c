"""The processor that a benchmark runs on, and the name that its report carries."""

import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from dae_jax import console

CPUINFO = Path("/proc/cpuinfo")
WHOLE = "mnist", 50_000  # the data of the reports that the pages quote, and their images


def facts(cpuinfo: Path = CPUINFO) -> dict[str, Any]:
    """The processor's name as the system gives it, the cores, and AVX-512 where that is known.

    A virtual machine may hide the model ("Intel(R) Xeon(R) Processor"): the cores and AVX-512 tell
    such processors apart.

    Args:
        cpuinfo: Linux's file about the processors; not needed elsewhere.
    """
    fields: dict[str, str] = {}
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            name, _, value = line.partition(":")
            fields[name.strip()] = value.strip()
    cpu = fields.get("model name") or _name_on_a_mac() or platform.processor()
    known: dict[str, Any] = {"cpu": cpu or platform.machine(), "cores": console.cores()}
    if "flags" in fields:
        known["avx512"] = "avx512f" in fields["flags"].split()
    return known


def _name_on_a_mac() -> str:
    if sys.platform != "darwin":
        return ""
    words = ["sysctl", "-n", "machdep.cpu.brand_string"]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()


def title(machine: dict[str, Any]) -> str:
    """The processor in words: "AMD EPYC, 2 cores, AVX-512", or the name of the GPU.

    Args:
        machine: The facts in a report. Those from before AVX-512 was recorded say nothing of it.
    """
    if machine["backend"] != "cpu":
        return machine["device"]
    words = [machine["cpu"], f"{machine['cores']} core{'s' if machine['cores'] > 1 else ''}"]
    if "avx512" in machine:
        words.append("AVX-512" if machine["avx512"] else "no AVX-512")
    return ", ".join(words)


def is_whole(machine: dict[str, Any]) -> bool:
    """Whether a report is of all of MNIST's training images."""
    return (machine["data"], machine["images"]) == WHOLE


def file_name(script: str, machine: dict[str, Any]) -> str:
    """The name of a report, without the ending: the script, the processor, and data if not MNIST.

    Args:
        script: Such as "speed".
        machine: The facts in the report.
    """
    words = [script, re.sub(r"\((r|tm|c)\)", " ", title(machine), flags=re.IGNORECASE)]
    if not is_whole(machine):
        words += [machine["data"], str(machine["images"])]
    return re.sub(r"[^a-z0-9]+", "-", " ".join(words).lower()).strip("-")
