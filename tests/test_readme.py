"""The README and the pages it links to are true.

Their Python runs, their commands parse, and their numbers are those of reports.
"""

import re
import shlex
from pathlib import Path

import pytest

from dae_jax import export, predict, reproduce, transform
from dae_jax.experiments.claims import Reproduced, prediction_interval
from dae_jax.runs.arms import ARMS
from dae_jax.settings import ladder, pretrain, shared, train
from helpers import ROOT, read_json

RESULTS = ROOT / "results"
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for path in (
        ROOT / "README.md",
        *(
            ROOT / "docs" / f"{name}.md"
            for name in ("commands", "labels", "library", "stack", "tables")
        ),
    )
}
README, LABELS, STACK = (PAGES[name] for name in ("README.md", "docs/labels.md", "docs/stack.md"))
PATTERN = r"^ {4}(?:.*&& )?python -m dae_jax\.(\w+)(.*?)(?: +#.*)?$"
COMMANDS = list(
    dict.fromkeys(c for text in PAGES.values() for c in re.findall(PATTERN, text, re.MULTILINE))
)


def run_python(name: str) -> dict:
    """The names that the Python of a page leaves."""
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", PAGES[name], re.DOTALL):
        exec(compile(block, name, "exec"), names)
    return names


@pytest.mark.slow
@pytest.mark.usefixtures("standard_promotion")
def test_the_python_in_the_readme_runs():
    costs = run_python("README.md")["costs"]
    assert len(costs) == 15 and costs[-1] < costs[0]


@pytest.mark.slow
@pytest.mark.usefixtures("standard_promotion")
def test_the_python_of_the_page_on_the_library_runs():
    names = run_python("docs/library.md")
    assert names["gradient"].W.shape == (784, 500) and names["codes"].shape == (
        len(names["mnist"].test.images),
        500,
    )
    assert float(names["value"]) > 0


@pytest.mark.slow
@pytest.mark.usefixtures("standard_promotion")
def test_the_python_of_the_page_on_tables_runs():
    names = run_python("docs/tables.md")
    assert names["filled"].shape == (1000, 784) and not names["np"].isnan(names["filled"]).any()


def test_the_readme_is_short():
    assert len(README.split()) < 1_500


def test_there_are_commands_of_every_kind():
    assert len(COMMANDS) > 12
    assert {name for name, _ in COMMANDS} == {
        "train",
        "pretrain",
        "predict",
        "transform",
        "export",
        "reproduce",
    }


@pytest.mark.parametrize(("name", "flags"), COMMANDS)
def test_the_commands_parse(name, flags):
    kinds = {
        "train": train.Settings,
        "pretrain": pretrain.Settings,
        "reproduce": reproduce.Settings,
        "predict": predict.Settings,
        "transform": transform.Settings,
        "export": export.Settings,
    }
    if "--help" in flags:
        return
    kind = ladder.Settings if "few-labels" in flags else kinds[name]
    settings = shared.parse(kind, shlex.split(flags))
    if isinstance(settings, train.Settings | pretrain.Settings | ladder.Settings):
        settings.check()


@pytest.mark.parametrize("name", PAGES)
def test_pictures_and_links_lead_somewhere(name):
    for path in re.findall(r"\]\((?!https?:)([^)#]+)", PAGES[name]):
        assert ((ROOT / name).parent / path).exists(), path


@pytest.mark.parametrize("preset", pretrain.PRESETS)
def test_the_errors_of_the_presets_are_those_of_the_reports(preset):
    report = read_json(RESULTS / f"sda-{preset}" / "report.json")
    (row,) = re.findall(rf"^\| `--preset {preset}`.*$", STACK, re.MULTILINE)
    for name in ("valid_error", "test_error"):
        numbers = report[name]
        assert f"{numbers['mean']:.2%} ± {numbers['sd']:.2%}".replace("%", " %") in row
    assert len(report["members"]) == 3 and report["data"]["name"] == "mnist"
    assert f"`{report['command']}`" in STACK
    assert (
        f"`python -m dae_jax.pretrain --preset {preset} --seeds 3 --run-dir runs/{preset}`" in STACK
    )
    made = {Path(figure).name for member in report["members"] for figure in member["figures"]}
    committed = {path.name for path in (RESULTS / f"sda-{preset}").glob("*.png")}
    assert committed and committed <= made


def test_the_tutorials_errors_and_their_intervals_are_those_of_the_report():
    report = read_json(RESULTS / "sda-tutorial" / "report.json")
    about = " ".join(
        STACK.split("`tutorial` is the tutorial's recipe")[1].split("The others")[0].split()
    )
    for name, published in (("test_error", "1.3 %"), ("valid_error", "1.39 %")):
        values = [member[name] for member in report["members"]]
        low, high = prediction_interval(values)
        assert f"{100 * low:.2f} to {100 * high:.2f} %" in about and published in about
        assert Reproduced(name, published).verdict(values) == "agrees"
    (row,) = re.findall(r"^\| `--preset tutorial`.*$", STACK, re.MULTILINE)
    (epochs,) = {member["epochs"]["finetune"] for member in report["members"]}
    assert f"until the patience is used up: {epochs} |" in row


def with_interval(row: dict) -> str:
    """The test error of a row of a comparison, in per cent, as the tables have it."""
    low, high = row["test_interval"]
    return f"{100 * row['test_mean']:.2f} ({100 * low:.2f} to {100 * high:.2f})"


def with_half(gain: dict) -> str:
    """What pretraining saves, in percentage points, as the tables have it."""
    half = gain["mean"] - gain["interval"][0]
    return f"{100 * gain['mean']:.2f} ± {100 * half:.2f}"


def test_the_numbers_of_the_comparison_are_those_of_its_report():
    report = read_json(RESULTS / "sda-labels" / "compare.json")
    _, below = STACK.split(f"`{report['command']}`")
    gains = {(d["labels"], d["arm"]): d for d in report["differences"]}
    for labels in report["config"]["comparison"]["labels"]:
        row = re.findall(rf"^\| {labels} \|.*$", below, re.MULTILINE)[0]  # of the table below it
        cells = {r["arm"]: r for r in report["rows"] if r["labels"] == labels}
        for arm in ("pretrained", "random", "frozen"):
            assert with_interval(cells[arm]) in row
        assert with_half(gains[labels, "random"]) in row


def test_the_numbers_of_every_classifier_are_those_of_the_comparison():
    report = read_json(RESULTS / "labels" / "compare.json")
    assert len(report["seeds"]) == 10 and report["data"] == "mnist"
    assert f"`{report['command']}`" in STACK
    assert not any(row.get("at_border") for row in report["rows"]) and not report["warnings"]
    for labels in report["config"]["comparison"]["labels"]:
        table = STACK.split(f"| {labels:,} labels |")[1].split("\n\n")[0].splitlines()
        cells = {name.strip(): rest for _, name, *rest in (line.split("|") for line in table[2:])}
        rows = [row for row in report["rows"] if row["labels"] == labels]
        assert list(cells) == list(dict.fromkeys(ARMS[row["arm"]].title for row in rows))
        for row in rows:
            cell = cells[ARMS[row["arm"]].title][row["validation"] == "few"]
            assert cell.strip() == with_interval(row)
        for d in report["differences"]:
            if (d["labels"], d["validation"]) == (labels, "all"):
                words = [with_half(d), f"{d['seeds_for']}, {d['seeds_against']}"]
                assert [cell.strip() for cell in cells[ARMS[d["arm"]].title][2:4]] == words


@pytest.mark.parametrize("name", ["letters", "shapes"])
def test_the_errors_with_few_labels_are_those_of_the_reports(name):
    report = read_json(RESULTS / f"few-labels-{name}" / "report.json")
    link = f"results/few-labels-{name}/report.json"
    (member,), baselines = report["members"], report["baselines"]
    errors = [member["test_error"], *(b["test_error"] for b in baselines[1:])]  # not the majority
    for page in (README, LABELS):
        (row,) = [line for line in page.splitlines() if line.startswith("|") and link in line]
        for cell, error in zip(row.split("|")[2:], errors, strict=False):
            assert cell.strip(" *") == f"{100 * error:.1f}"
    assert member["test_images"] == 5_000 and report["data"]["labelled_images"] == 100
    assert member["test_error"] < 2 / 3 * min(errors[1:])
    files = f"--data {name}/labelled.npz --unlabelled {name}/unlabelled.npz"
    assert report["command"] == f"python -m dae_jax.pretrain {files} --run-dir runs/{name}"


@pytest.mark.parametrize("page", ["README.md", "docs/labels.md"])
def test_the_errors_of_the_ladder_are_those_of_the_reports(page):
    pattern = r"\[([\d.]+) ± ([\d.]+)\]\((?:\.\./)?results/((?:few|ladder)[\w-]+)/report\.json\)"
    found = re.findall(pattern, PAGES[page])
    assert len(found) > 3
    for mean, sd, name in found:
        report = read_json(RESULTS / name / "report.json")
        if "numbers" in report:
            (errors,) = report["numbers"].values()
        else:
            errors = report["test_error"]
        assert float(mean) == pytest.approx(100 * errors["mean"], abs=0.0051)
        assert float(sd) == pytest.approx(100 * errors["sd"], abs=0.0051)


def test_the_errors_of_stacks_on_strangers_images_are_those_of_the_reports():
    best, compared = [], []
    for name in ("letters", "shapes"):
        folder = RESULTS / f"few-labels-{name}"
        (member,) = read_json(folder / "stack_best.json")["members"]
        best.append(f"{100 * member['test_error']:.1f}")
        rows = read_json(folder / "stack_compare.json")["rows"]
        compared.append([f"{100 * row['test_mean']:.1f}" for row in rows])
    about = LABELS.split("`--preset best` has")[1].split("On MNIST")[0]
    said = re.findall(r"\b\d\d\.\d\b", about)
    assert said == [*best, *(error for pair in zip(*compared, strict=True) for error in pair)]
