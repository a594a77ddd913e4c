"""The reports of all experiments: read, checked, listed, and put into a Markdown table."""

import json
import math

import pytest

from dae_jax.experiments import reports
from dae_jax.experiments.catalogue import EXPERIMENTS
from helpers import refused

ONLY = {"deep-2d": EXPERIMENTS["deep-2d"]}
PCA_ERROR = "pca: training error per pixel"


@pytest.fixture
def write(tmp_path):
    """Write a report of deep-2d whose numbers are inside their bands, but for those given."""
    numbers = {}
    for claim in ONLY["deep-2d"].claims:
        value = claim.low if math.isfinite(claim.low) else claim.high
        numbers[claim.number] = {"mean": value, "sd": 0.001, "values": [value] * 3}
    (tmp_path / "deep-2d").mkdir()

    def write(**changed):
        means = {name: {"mean": v, "sd": 0.001, "values": [v] * 3} for name, v in changed.items()}
        report = {"numbers": numbers | means, "claims": [], "seconds": 60.0}
        (tmp_path / "deep-2d" / "report.json").write_text(json.dumps(report))

    write()
    return write


def without(path, number):
    report = json.loads(path.read_text())
    del report["numbers"][number]
    path.write_text(json.dumps(report))


def test_reports_that_exist_are_read(tmp_path, write):
    assert reports.read({}, tmp_path) == {}
    assert list(reports.read(EXPERIMENTS, tmp_path)) == ["deep-2d"]
    assert reports.read(EXPERIMENTS, tmp_path / "nowhere") == {}


@pytest.mark.parametrize("content", ["{", "[]", '{"claims": []}'])
def test_a_broken_report_is_one_line(tmp_path, write, content):
    (tmp_path / "deep-2d" / "report.json").write_text(content)
    words = ("cannot read", "report.json", "make it again: python -m dae_jax.reproduce deep-2d")
    refused(lambda: reports.read(EXPERIMENTS, tmp_path), *words)


def test_numbers_are_checked_against_their_bands(tmp_path, write, capsys):
    assert reports.check(ONLY, tmp_path) == 0
    assert "4 of 4 numbers of 1 experiments lie in their bands" in capsys.readouterr().out
    write(**{PCA_ERROR: math.nan})
    assert reports.check(ONLY, tmp_path) == 1
    assert f"deep-2d: {PCA_ERROR} is nan, not 0.0555 to 0.0565" in capsys.readouterr().out


def test_a_report_without_a_claimed_number_is_refused_but_listed(tmp_path, write, capsys):
    without(tmp_path / "deep-2d" / "report.json", PCA_ERROR)
    refused(lambda: reports.check(ONLY, tmp_path), "deep-2d", PCA_ERROR, "make it again")
    assert reports.show(ONLY, tmp_path) == 0
    assert "not run" in capsys.readouterr().out


def test_a_number_outside_its_band_is_bold_in_the_table(tmp_path, write):
    lines = reports.in_markdown(ONLY, reports.read(ONLY, tmp_path)).strip().splitlines()
    assert len(lines) == 2 + 4 and "**" not in "".join(lines)
    assert lines[2].startswith("| [`deep-2d`](results/deep-2d/report.json) | pca: training")
    write(**{PCA_ERROR: 0.07})
    lines = reports.in_markdown(ONLY, reports.read(ONLY, tmp_path)).strip().splitlines()
    assert "**0.07 ± 0.001**" in lines[2] and "**" not in "".join(lines[3:])


def test_a_new_report_is_summarised_with_its_claims(tmp_path, capsys):
    claim = {"number": "a: cost", "published": "about 5", "band": "≤ 5", "holds": False}
    report = {
        "published_applies": True,
        "command": "it",
        "data": {"name": "mnist"},
        "numbers": {"a: cost": {"mean": 6.0, "sd": 0.5}, "b": {"mean": 1.0, "sd": None}},
        "claims": [claim],
        "seeds": [1, 2, 3],
        "seconds": 9.0,
    }
    reports.summarise(report, tmp_path)
    out = capsys.readouterr().out
    assert "a: cost  6 ± 0.5  published about 5; within ≤ 5: NO" in out
    assert "3 seeds, 9 s" in out and "***" not in out
    other = {"published_applies": False, "data": {"name": "digits"}, "command": "it --epochs 1"}
    reports.summarise(report | other, tmp_path)
    out = capsys.readouterr().out
    assert "*** trained on digits for another length: the published numbers do not apply" in out
    assert "NO" not in out
