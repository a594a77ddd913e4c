"""`python -m dae_jax.reproduce` as a user meets it: one experiment, list, check, table, errors."""

import json
import math

import pytest

from dae_jax import console, reproduce
from dae_jax.experiments import reports
from dae_jax.experiments.catalogue import EXPERIMENTS
from helpers import ROOT, assert_one_line, read_json


@pytest.fixture
def run(call, tmp_path):
    """Call the command with an output folder of its own."""
    return lambda *argv: call(reproduce.main, *argv, "--output-dir", tmp_path / "results")


@pytest.mark.slow
@pytest.mark.usefixtures("standard_promotion")
def test_an_experiment_on_the_sample_says_that_the_published_numbers_do_not_apply(run, tmp_path):
    flags = ("deep-2d", "--data", "mnist-sample", "--epochs", "1", "--seeds", "1", "--check")
    status, out, _ = run(*flags)
    assert status == 0
    assert "the published numbers do not apply" in out
    folder = tmp_path / "results" / "deep-2d-mnist-sample"
    report = read_json(folder / "report.json")
    assert report["published_applies"] is False and report["seeds"] == [1]
    assert report["command"].endswith("deep-2d --data mnist-sample --seeds 1 --epochs 1")
    for figure in report["figures"]:
        assert (folder / figure).stat().st_size > 500
    assert str(tmp_path) not in json.dumps(report)


@pytest.fixture
def write_report(tmp_path):
    """Write a report of deep-2d whose numbers are inside their bands, but for those given."""
    numbers = {}
    for claim in EXPERIMENTS["deep-2d"].claims:
        value = claim.low if math.isfinite(claim.low) else claim.high
        numbers[claim.number] = {"mean": value, "sd": 0.001, "values": [value] * 3}
    claims = [{"number": c.number, "of": c.of} for c in EXPERIMENTS["deep-2d"].claims]
    folder = tmp_path / "results" / "deep-2d"
    folder.mkdir(parents=True)
    report = {"numbers": numbers, "claims": claims, "seconds": 60.0}

    def write(**changed):
        for number, mean in changed.items():
            report["numbers"][number] = {"mean": mean, "sd": 0.001, "values": [mean] * 3}
        (folder / "report.json").write_text(json.dumps(report))

    write()
    return write


def test_check_is_0_inside_the_bands_and_1_outside(run, write_report):
    status, out, _ = run("--check")
    assert status == 0 and "4 of 4 numbers of 1 experiments" in out
    write_report(**{"deep: held-out error per pixel": 0.05})
    status, out, _ = run("--check")
    assert status == 1
    assert "deep-2d: deep: held-out error per pixel is 0.05, not ≤ 0.0407" in out


@pytest.mark.usefixtures("write_report")
def test_the_list_names_all_experiments(run):
    status, out, _ = run()
    assert status == 0
    assert all(name in out for name in EXPERIMENTS)
    assert "not run" in out and ".0407" in out


@pytest.mark.usefixtures("write_report")
def test_the_table_goes_between_its_marks(run, tmp_path):
    path = tmp_path / "page.md"
    begin, end = reports.MARKS
    path.write_text(f"before\n{begin}\nold\n{end}\nafter\n")
    assert run("--table", path).status == 0
    text = path.read_text()
    assert text.startswith(f"before\n{begin}\n") and text.endswith(f"{end}\nafter\n")
    assert "old" not in text and "(results/deep-2d/report.json)" in text and "≤ 0.0407" in text
    path.write_text("no marks")
    assert run("--table", path).status == 2
    assert path.read_text() == "no marks"


BAD = {
    ("deep2d",): ("experiment", "deep2d", "did you mean deep-2d?"),
    ("--check",): ("--check", "reports", "got none", "--all"),
    ("deep-2d", "--seeds", "0"): ("--seeds", "at least 1"),
    ("deep-2d", "--epochs", "0"): ("--epochs", "at least 1"),
    ("--table", "/nowhere/README.md"): ("--table", "cannot read"),
    ("deep-2d", "--data", "/nowhere"): ("/nowhere",),
    ("deep-2d", "--pixel-scale", "256"): ("pixel-scale", "256", "leave it out"),
}


@pytest.mark.parametrize("argv", BAD, ids=" ".join)
def test_mistakes_are_one_line_and_write_nothing(run, tmp_path, argv):
    status, _, err = run(*argv)
    assert status == 2
    assert_one_line(err, *BAD[argv])
    assert not (tmp_path / "results").exists()


@pytest.mark.usefixtures("write_report")
def test_a_broken_report_is_one_line(run, tmp_path):
    (tmp_path / "results" / "deep-2d" / "report.json").write_text("{")
    status, _, err = run("--check")
    assert status == 2
    assert_one_line(err, "make it again")


@pytest.mark.usefixtures("write_report")
def test_a_report_from_before_a_claim_is_one_line_too(run, tmp_path):
    path = tmp_path / "results" / "deep-2d" / "report.json"
    report = read_json(path)
    del report["numbers"]["pca: training error per pixel"]
    path.write_text(json.dumps(report))
    page = tmp_path / "README.md"
    page.write_text("\n".join(reports.MARKS))
    for flags in ("--check",), ("--table", page):
        status, _, err = run(*flags)
        assert status == 2
        assert_one_line(err, "pca: training error per pixel", "make it again")
    assert page.read_text() == "\n".join(reports.MARKS)


def test_the_table_of_the_readme_is_the_one_that_the_command_makes(tmp_path):
    page = tmp_path / "README.md"
    page.write_text((ROOT / "README.md").read_text())
    argv = ["--table", str(page), "--output-dir", str(ROOT / "results")]
    assert console.run(reproduce.main, argv) == 0
    assert page.read_text() == (ROOT / "README.md").read_text()


def test_the_committed_numbers_lie_in_their_bands_as_the_readme_says(capsys):
    argv = ["--check", "--output-dir", str(ROOT / "results")]
    status = console.run(reproduce.main, argv)
    bold = (ROOT / "README.md").read_text().split(reports.MARKS[0])[1].count("| **")
    assert status == (1 if bold else 0)
    out = capsys.readouterr().out
    total = sum(len(experiment.claims) for experiment in EXPERIMENTS.values())
    assert f"{total - bold} of {total} numbers of {len(EXPERIMENTS)} experiments" in out
