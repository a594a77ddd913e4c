"""The numbers that the page on several machines takes from committed benchmarks."""

import re

from helpers import ROOT

PAGE = (ROOT / "tutorials" / "14_beyond_one_machine.md").read_text()
RESULTS = ROOT / "benchmarks" / "results"


def test_the_table_has_the_ratios_of_the_report():
    (path,) = RESULTS.glob("processes-*.txt")
    measured = re.findall(
        r"batch (\d+), two (devices|processes) +\| [\d,]+ +\| ([\d.]+)", path.read_text()
    )
    ratios = {(int(batch), way): ratio.removeprefix("0") for batch, way, ratio in measured}
    for batch in (20, 200, 2000):
        assert f"| {batch:,} | {ratios[batch, 'devices']} | {ratios[batch, 'processes']} |" in PAGE


def test_the_seconds_and_gigabytes_of_blocks_are_those_of_the_report():
    (path,) = RESULTS.glob("blocks-*.txt")
    rows = re.findall(r"^\| in (memory|blocks) +\| ([\d.]+)", path.read_text(), re.MULTILINE)
    (_, in_memory), (_, in_blocks), (_, most), (_, least) = rows
    words = " ".join(PAGE.split())
    assert f"took {float(in_blocks):.1f} seconds an epoch" in words
    assert f"of a file and {float(in_memory):.1f} in memory" in words
    assert f"at most {least.removeprefix('0')} GB instead of {most}" in words


def test_the_billion_images_on_paper_are_those_of_the_report():
    (path,) = RESULTS.glob("scale-*.txt")
    rows = re.findall(r"^\| ([\d,]+) +\| \d+ +\| 122 +\| ([\d.]+)", path.read_text(), re.MULTILINE)
    seconds = dict(rows)
    words = " ".join(PAGE.split())
    assert f"{seconds['20']} seconds with 20 images" in words
    assert f"{seconds['1,000']} seconds with 1,000" in words
