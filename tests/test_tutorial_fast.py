"""The numbers that page 9 of the tutorials quotes are those of the table of speed."""

import ast
import re

from helpers import ROOT

PAGE = (ROOT / "tutorials/09_fast.md").read_text()
TABLE = (ROOT / "docs/speed.md").read_text()


def quoted():
    """The figure's numbers for each processor, as the page's code has them."""
    (literal,) = re.findall(r"^ratios = (\{.*?^\})", PAGE, re.DOTALL | re.MULTILINE)
    return ast.literal_eval(literal)


def in_table():
    """The medians at batch 20 for each processor."""
    rows = [line.strip("| ").split(" | ") for line in TABLE.splitlines() if line.startswith("|")]
    (header,) = (row for row in rows if row[0] == "batch")
    first = next(i for i, row in enumerate(rows) if row[0] == "20")
    cells = [rows[first][1:], *rows[first + 1 : first + 4]]
    return {
        processor: [float(row[column].split()[0]) for row in cells]
        for column, processor in enumerate(header[2:], 1)
    }


def test_the_figure_of_speed_shows_the_numbers_of_the_table():
    medians = in_table()
    assert quoted()
    for processor, numbers in quoted().items():
        assert numbers == medians[processor]
        for number in numbers:
            assert f"{number:.2f}".lstrip("0") in PAGE.split("alt: ")[1].splitlines()[0]
