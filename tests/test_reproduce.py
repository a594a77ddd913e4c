"""`python -m dae_jax.reproduce` as a user meets it: experiments, list, check, table, errors."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from dae_jax import console, reproduce, training
from dae_jax.deep import Architecture
from dae_jax.experiments import catalogue, reports
from dae_jax.experiments.catalogue import EXPERIMENTS
from dae_jax.experiments.claims import Reproduced, Shown
from dae_jax.experiments.experiment import VERSION
from dae_jax.experiments.models import Autoencoder, Recipe
from dae_jax.runs import run as runs
from helpers import ROOT, assert_one_line, contents, files, read_json
from toy_experiments import COST, ERROR, EXACT, TOY, TOYS, VALUES, report, toy_data, write

RESULTS = ROOT / "results"


@pytest.fixture
def toys(monkeypatch):
    """The toys instead of the experiments of the catalogue, and toy data by any name."""
    toys = dict(TOYS)
    monkeypatch.setattr(catalogue, "EXPERIMENTS", toys)

    def load_data(data):
        return toy_data(data.data or "mnist"), False

    monkeypatch.setattr(runs, "load_data", load_data)
    return toys


@pytest.fixture
def run(call, tmp_path):
    """Call the command with an output folder of its own."""
    return lambda *argv: call(reproduce.main, *argv, "--output-dir", tmp_path / "results")


@pytest.fixture
def made(toys, tmp_path):
    """Reports of both toys, whose claims all hold."""
    for name in TOYS:
        write(tmp_path / "results", report(name))
    return tmp_path / "results"


# ---- run an experiment -----------------------------------------------------------------------


@pytest.mark.usefixtures("toys")
def test_an_experiment_writes_its_report_and_its_pictures_and_says_its_numbers(run, tmp_path):
    status, out, err = run("toy")
    assert (status, err) == (0, "")
    folder = tmp_path / "results" / "toy"
    assert files(tmp_path) == {"results/toy/report.json", "results/toy/square.png"}
    made = read_json(folder / "report.json")
    assert made["published_applies"] and made["command"] == "python -m dae_jax.reproduce toy"
    assert made["numbers"][COST]["values"] == VALUES[COST]
    assert str(tmp_path) not in json.dumps(made)
    lines = out.splitlines()
    assert lines[0] == "toy: a toy" and "published 11: agrees (7.627 to 12.37)" in out
    assert f"10 seeds, {made['seconds']:.0f} s; {folder}/report.json" in lines
    assert "***" not in out


@pytest.mark.usefixtures("toys")
def test_experiments_can_be_run_by_name_or_all_of_them_each_once(run, tmp_path):
    status, out, _ = run("once", "toy", "once")
    assert status == 0 and [out.count(f"\n{name}: a toy") for name in ("toy", "once")] == [1, 0]
    assert out.startswith("once: a toy without chance\n") and out.count("once: ") == 1
    before = set(files(tmp_path))
    assert run("--all").status == 0 and files(tmp_path) == before


@pytest.mark.usefixtures("toys")
def test_a_run_that_agrees_passes_its_check(run):
    status, out, err = run("--all", "--check")
    assert (status, err) == (0, "") and "nothing was checked" not in out


WORSE = replace(TOY, claims=(Reproduced(COST, "5"), *TOY.claims[1:]))
NOT_BETTER = replace(TOY, claims=(TOY.claims[0], replace(TOY.claims[1], published="2 %")))
BETTER = replace(TOY, claims=(Reproduced(COST, "50"),))


@pytest.mark.parametrize(
    ("toy", "status", "words"),
    [
        (WORSE, 1, "published 5: worse (7.627 to 12.37)"),
        (NOT_BETTER, 1, "published 2 %: not better (1.93 to 2.07 %)"),
        (BETTER, 0, "published 50: better"),
    ],
)
def test_the_check_of_a_run_fails_for_what_is_worse_or_not_better(run, toys, toy, status, words):
    toys["toy"] = toy
    assert run("toy").status == 0  # without --check
    checked = run("toy", "once", "--check")
    assert checked.status == status and words in checked.out


@pytest.mark.usefixtures("toys")
@pytest.mark.parametrize(
    ("flags", "folder", "said"),
    [
        ("--data mnist-sample", "toy-mnist-sample", "*** trained on mnist-sample: the published"),
        ("--data own", "toy-own", "*** trained on own: the published numbers do not apply ***"),
        ("--epochs 1", "toy-epochs-1", "*** trained on mnist for another length: the published"),
        (
            "--data own --epochs 2 --seeds 3",
            "toy-own-seeds-3-epochs-2",
            "*** trained on own for another length: the published numbers do not apply ***",
        ),
        ("--data own --seeds 1", "toy-own-seeds-1", "*** trained on own: the published"),
        ("--seeds 3", "toy-seeds-3", "published 11: better"),
    ],
)
def test_where_published_numbers_do_not_apply_nothing_is_checked(
    run, tmp_path, flags, folder, said
):
    words = "nothing was checked for 1 of 1 experiments: published numbers apply to mnist"
    status, out, err = run("toy", *flags.split())
    assert (status, err) == (0, "") and words not in out and said in out
    status, out, _ = run("toy", *flags.split(), "--check")
    assert status == 3 and words in out
    assert set(files(tmp_path)) == {
        f"results/{folder}/{name}" for name in ("report.json", "square.png")
    }
    made = read_json(tmp_path / "results" / folder / "report.json")
    assert made["command"].split("reproduce ")[1].split()[0] == "toy"
    for flag in ("--data", "--seeds", "--epochs"):
        assert (flag in made["command"]) == (flag in flags)
    if "--seeds" in flags:
        n = int(flags.split("--seeds ")[1].split()[0])
        assert made["declaration"]["seeds"] == list(range(1, n + 1))


def test_what_is_worse_on_other_data_is_no_fault(run, toys):
    toys["toy"] = WORSE
    status, out, _ = run("toy", "--data", "own", "--check")
    assert status == 3 and "published" not in out.replace("published numbers", "")
    # with other seeds there is a verdict, but the declared ones decide
    status, out, _ = run("toy", "--seeds", "4", "--check")
    assert status == 3 and "published 5: worse" in out


@pytest.mark.usefixtures("toys")
def test_the_declared_number_of_seeds_is_that_of_the_experiment(run, tmp_path):
    status, _, _ = run("toy", "--seeds", "10", "--check")
    assert status == 0 and (tmp_path / "results" / "toy" / "report.json").exists()


@pytest.mark.usefixtures("toys")
def test_an_interval_of_one_seed_is_one_line_and_writes_nothing(run, tmp_path):
    for flags in ((), ("--check",)):
        status, out, err = run("toy", "--seeds", "1", *flags)
        assert status == 2 and "Traceback" not in out
        assert_one_line(err, f"interval of {COST}", "at least 2 seeds", "got 1")
        assert not files(tmp_path)
    # nothing in the other is random
    assert run("once", "--seeds", "1", "--check").status == 0


@pytest.mark.usefixtures("toys")
def test_reports_of_trials_are_no_reports_of_the_experiment(run, tmp_path):
    run("toy", "--seeds", "3")
    run("toy", "--data", "own")
    run("once")
    status, out, _ = run("--check")
    assert status == 1 and out.splitlines()[0].startswith("toy: no report;")


SLOWLY = replace(
    TOY,
    models={"net": Autoencoder(Architecture((784, 5), tied=True), Recipe(3, 20, "sgd", 0.1))},
    claims=(Shown(COST),),
    seeds=(1, 2),
)


def test_ctrl_c_keeps_what_was_trained_and_the_same_command_goes_on(
    run, toys, tmp_path, monkeypatch
):
    toys["toy"], real = SLOWLY, training.fit

    def fit(*args, **how):
        for each in real(*args, **how):
            if each.epoch == 3:
                raise KeyboardInterrupt
            yield each

    with monkeypatch.context() as patch:
        patch.setattr(training, "fit", fit)
        status, _, err = run("toy")
    assert (status, err) == (130, "interrupted\n")
    assert not (tmp_path / "results" / "toy" / "report.json").exists()
    status, out, err = run("toy")
    assert (status, err) == (0, "") and "net: resuming after epoch 1 of 3" in out
    assert files(tmp_path) == {"results/toy/report.json", "results/toy/square.png"}


@pytest.mark.slow
def test_sheets_of_every_epoch_are_written_if_asked_for(run, toys, tmp_path):
    toys["toy"] = SLOWLY
    assert run("toy", "--epoch-sheets").status == 0
    sheets = {f"results/toy/epochs/net_{epoch:03}.png" for epoch in (1, 2, 3)}
    assert sheets <= files(tmp_path)


@pytest.mark.slow
@pytest.mark.usefixtures("standard_promotion")
def test_an_experiment_of_the_catalogue_runs_on_the_sample(run, tmp_path):
    flags = ("deep-2d", "--data", "mnist-sample", "--epochs", "1", "--seeds", "1", "--check")
    status, out, _ = run(*flags)
    assert status == 3
    assert "the published numbers do not apply" in out and "nothing was checked for 1 of 1" in out
    folder = tmp_path / "results" / "deep-2d-mnist-sample-seeds-1-epochs-1"
    made = read_json(folder / "report.json")
    assert made["published_applies"] is False and made["declaration"]["seeds"] == [1]
    assert made["command"].endswith("deep-2d --data mnist-sample --seeds 1 --epochs 1")
    for figure in made["figures"]:
        assert (folder / figure).stat().st_size > 500
    assert str(tmp_path) not in json.dumps(made)


# ---- check, list and table -------------------------------------------------------------------


def test_check_is_green_if_everything_is_there_and_agrees(run, made):
    before = contents(made)
    status, out, err = run("--check")
    assert (status, err) == (0, "")
    assert out == (
        "2 numbers reproduced: 2 agree. 1 number improved: 1 better. 1 shown, without a verdict.\n"
    )
    assert contents(made) == before


FAULTS = {
    "missing": (lambda made: (made / "once" / "report.json").unlink(), "once: no report;"),
    "worse": (
        lambda made: write(made, report("toy", {COST: [20.0, 20.2] * 5})),
        f"toy: {COST} is 20.1 ± 0.1, worse than the published 11",
    ),
    "not better": (
        lambda made: write(made, report("toy", {ERROR: [0.02, 0.024] * 5})),
        f"toy: {ERROR} is 2.20 ± 0.21 %, not better than the published 2.2 %",
    ),
    "not exact": (
        lambda made: write(made, report("once", {EXACT: [0.0751]})),
        f"once: {EXACT} is 0.0751, worse than the published 7.50 % (exact)",
    ),
    "of other data": (
        lambda made: write(made, report("toy") | {"published_applies": False}),
        "toy: the report is of other data than declared today;",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_check_fails_with_one_line_for_each_fault(run, made, fault):
    spoil, words = FAULTS[fault]
    spoil(made)
    status, out, err = run("--check")
    assert (status, err) == (1, "")
    lines = out.splitlines()
    assert len(lines) == 2 and lines[0].startswith(words)


@pytest.mark.parametrize(
    ("part", "changed"),
    [
        ("images", {"images": replace(TOY.images, pixel_scale=256)}),
        ("models", {"models": SLOWLY.models}),
        ("measures", {"measures": TOY.measures * 2}),
        ("seeds", {"seeds": TOY.seeds[::-1]}),
        ("claims", {"claims": TOY.claims[::-1]}),
    ],
)
@pytest.mark.usefixtures("made")
def test_check_names_the_part_that_is_declared_otherwise_today(run, toys, part, changed):
    toys["toy"] = replace(TOY, **changed)
    status, out, _ = run("--check")
    assert status == 1
    assert out.splitlines()[0] == (
        f"toy: the report is of other {part} than declared today; "
        "run python -m dae_jax.reproduce toy"
    )


@pytest.mark.usefixtures("made")
def test_the_list_has_all_experiments_their_claims_and_verdicts(run):
    status, out, _ = run()
    assert status == 0
    for words in ("a toy without chance", COST, "improved", "figure 1", "7.50 %", "agrees", "60"):
        assert words in out


def test_the_list_of_the_catalogue_needs_no_reports(run):
    status, out, _ = run()
    assert status == 0
    for name, experiment in EXPERIMENTS.items():
        assert f"{name} " in out
        assert all(claim.published in out for claim in experiment.claims)
    of_variations = 5 * 5  # sets and classifiers
    n_claims = sum(len(e.claims) for e in EXPERIMENTS.values())
    assert out.count("not measured") == n_claims + of_variations
    assert "basic, SAA-3: test error, %" in out and "3.46±0.16 [b]" in out


BEGIN, END = reports.MARKS
PAGE = f"before ä\n{BEGIN}\nold\n{END}\nafter\n"


@pytest.mark.usefixtures("made")
def test_the_table_goes_between_its_marks(run, tmp_path):
    path = tmp_path / "page.md"
    path.write_text(PAGE, encoding="utf-8")
    assert run("--table", path).status == 0
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"before ä\n{BEGIN}\n") and text.endswith(f"{END}\nafter\n")
    assert "old" not in text and "| [`toy`](../results/toy/report.json) | net: cost | 11 |" in text
    assert text.count("2 numbers reproduced: 2 agree.") == 1


# ---- mistakes --------------------------------------------------------------------------------

BAD = {
    ("deep2d",): ("experiment", "deep2d", "did you mean deep-2d?"),
    ("deep-2d", "nothing-like-it"): ("experiment", "got nothing-like-it"),
    ("--check",): ("--check", "reports", "got none", "--all"),
    ("deep-2d", "--seeds", "0"): ("--seeds", "at least 1"),
    ("deep-2d", "--seeds", "1"): ("interval of deep: held-out error", "at least 2 seeds", "got 1"),
    ("deep-2d", "--epochs", "0"): ("--epochs", "at least 1"),
    ("--table", "/nowhere/README.md"): ("--table", "cannot read"),
    ("deep-2d", "--data", "/nowhere"): ("/nowhere",),
    ("deep-2d", "--pixel-scale", "256"): ("pixel-scale", "256", "leave it out"),
}


@pytest.mark.parametrize("argv", BAD, ids=" ".join)
def test_mistakes_are_one_line_and_write_nothing(run, tmp_path, monkeypatch, argv):
    if argv == ("deep-2d", "--seeds", "1"):  # which is found when MNIST has been read
        monkeypatch.setattr(runs, "load_data", lambda data: (toy_data(), False))
    status, _, err = run(*argv)
    assert status == 2
    assert_one_line(err, *BAD[argv])
    assert not (tmp_path / "results").exists()


def test_a_folder_of_reports_that_cannot_exist_is_an_empty_one(call):
    status, _, err = call(reproduce.main, "--output-dir", "n" * 300)
    assert (status, err) == (0, "")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_table_that_is_a_pipe_is_refused_and_not_waited_for(run, tmp_path):
    os.mkfifo(tmp_path / "pipe.md")
    status, _, err = run("--table", tmp_path / "pipe.md")
    assert status == 2
    assert_one_line(err, "--table", "pipe.md", "no such file")


WHOLE = json.dumps(report("toy"))
BROKEN = {
    "cut in half": (WHOLE[: len(WHOLE) // 2].encode(), "expected JSON"),
    "not UTF-8": (b'{"what": "\xe4\xf6"}', "expected JSON"),
    "an array": (b"[1, 2]", "expected object, got array"),
    "of version 1": (json.dumps({**report("toy"), "version": 1}).encode(), "of version 2, got 1"),
    "of no version": (b'{"experiment": "toy", "seeds": [1], "claims": []}', "got 1"),
    "of version 9": (json.dumps({**report("toy"), "version": 9}).encode(), "of version 2, got 9"),
    "numbers in words": (
        json.dumps({**report("toy"), "numbers": {COST: {"values": ["ten"]}}}).encode(),
        f"values[0] in '{COST}' in",
    ),
    "no numbers": (json.dumps({**report("toy"), "numbers": 3}).encode(), "numbers in"),
    "one of its numbers missing": (
        json.dumps({**report("toy"), "numbers": {COST: {"values": VALUES[COST]}}}).encode(),
        f"the number '{ERROR}'",
    ),
}


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize("flags", ["--check", "--table", ""])
def test_a_broken_report_is_one_line_and_nothing_is_written(run, made, tmp_path, how, flags):
    content, words = BROKEN[how]
    (made / "toy" / "report.json").write_bytes(content)
    page = tmp_path / "page.md"
    page.write_text(PAGE, encoding="utf-8")
    before = contents(tmp_path)
    status, out, err = run(*flags.split(), *([page] if flags == "--table" else []))
    assert status == 2 and "Traceback" not in out
    assert_one_line(err, words, "toy", "make it again: python -m dae_jax.reproduce toy")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("flags", ["--check", ""])
def test_the_report_of_an_experiment_that_does_not_exist_any_more_is_named(run, made, flags):
    write(made, report("toy") | {"experiment": "former"})
    status, _, err = run(*flags.split())
    assert status == 2
    assert_one_line(err, "former/report.json", "got former", "remove its folder")


@pytest.mark.parametrize("flags", ["--check", "--table", ""])
def test_a_report_with_a_single_value_is_one_line_and_nothing_is_written(
    run, made, tmp_path, flags
):
    write(made, report("toy", {COST: [10.0]}))
    page = tmp_path / "page.md"
    page.write_text(PAGE, encoding="utf-8")
    before = contents(tmp_path)
    status, _, err = run(*flags.split(), *([page] if flags == "--table" else []))
    assert status == 2
    assert_one_line(err, f"'{COST}'", "expected 10 values, one per seed, got 1", "make it again")
    assert contents(tmp_path) == before


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (PAGE.encode("latin-1"), "UTF-8"),
        (PAGE.encode("utf-16"), "UTF-8"),
        (b"no marks", "expected the lines"),
    ],
)
def test_a_page_without_marks_or_in_another_encoding_is_left_alone(run, tmp_path, content, words):
    page = tmp_path / "README.md"
    page.write_bytes(content)
    status, _, err = run("--table", page)
    assert status == 2
    assert_one_line(err, "--table", "README.md", words)
    assert page.read_bytes() == content


# ---- the committed reports -------------------------------------------------------------------


@pytest.fixture
def pages():
    """The pages with tables; skipped while reports of another version are committed."""
    old = [
        path.parent.name
        for path in sorted(RESULTS.glob("*/report.json"))
        if path.parent.name in EXPERIMENTS and read_json(path).get("version", 1) != VERSION
    ]
    if old:
        status = console.run(reproduce.main, ["--check", "--output-dir", str(RESULTS)])
        assert status == 2
        pytest.skip(f"reports of another version: {', '.join(old)}")
    return {
        name: (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/results.md")
    }


@pytest.mark.parametrize("name", ["README.md", "docs/results.md"])
def test_the_tables_of_a_page_are_those_that_the_command_makes(pages, tmp_path, name):
    page = tmp_path / "page.md"
    page.write_text(pages[name], encoding="utf-8")
    argv = ["--table", str(page), "--output-dir", str(RESULTS)]
    assert console.run(reproduce.main, argv) == 0
    assert page.read_text(encoding="utf-8") == pages[name]


def test_the_committed_reports_are_checked_as_the_page_says(pages, capsys):
    status = console.run(reproduce.main, ["--check", "--output-dir", str(RESULTS)])
    table = pages["docs/results.md"].split(BEGIN)[1].split(END)[0]
    faults = [
        line
        for line in table.splitlines()
        if "| **worse** |" in line or "| **not better** |" in line or "| not measured |" in line
    ]
    assert status == (1 if faults else 0)
    *said, counts = capsys.readouterr().out.splitlines()
    assert counts == table.strip().splitlines()[0]
    assert bool(said) == bool(faults)
    for name in EXPERIMENTS:
        if not (RESULTS / name / "report.json").exists():
            assert f"{name}: no report; run python -m dae_jax.reproduce {name}" in said


def test_results_hold_no_traces_of_training():
    for folder in Path(RESULTS).iterdir():
        assert not (folder / "training").exists()
