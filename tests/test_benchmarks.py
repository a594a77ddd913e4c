"""The reports of the benchmarks, their names, and what the pages say of them: no timing."""

import importlib
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest

from dae_jax import console
from helpers import ROOT, assert_one_line, read_json, refused

SPEED = (ROOT / "docs" / "speed.md").read_text()
RESULTS = ROOT / "benchmarks" / "results"
XEON = "Intel(R) Xeon(R) Processor"
CPUINFO = "processor\t: {}\nmodel name\t: {}\nflags\t\t: fpu sse2 {}\n\n"
MACHINE = {
    "date": "2026-01-02",
    "cpu": XEON,
    "cores": 2,
    "avx512": True,
    "data": "mnist",
    "images": 50000,
    "backend": "cpu",
    "device": "cpu",
    "jax": "1.2.3",
    "torch": "4.5.6+cpu",
}


@pytest.fixture
def scripts(monkeypatch):
    """The modules of `benchmarks/`, which are scripts: they find each other beside themselves."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    names = (
        "blocks",
        "checks",
        "estimator",
        "imputation",
        "ladder",
        "layout",
        "networks",
        "pages",
        "processes",
        "processors",
        "rectangles",
        "speed_table",
        "scale",
        "sda",
        "speed",
        "turns",
    )
    return SimpleNamespace(**{name: importlib.import_module(name) for name in names})


@pytest.fixture
def folder(tmp_path):
    """A page with the marks of the table, and an empty folder for reports."""
    (tmp_path / "reports").mkdir()
    return tmp_path


def write(folder, name, times, busy=0.0, **machine):
    """Write a report with three rounds, in which dae_jax takes 2, 4 and 8 seconds.

    The facts in `machine` replace those of MACHINE; None is for one that was not recorded.
    """

    def row(times):
        return {"seconds": [2 * times, 4 * times, 8 * times * 1.5], "others": [busy] * 3}

    rows = {"PyTorch eager": 2.0, "torch.compile": 1.5, "PyTorch in place": times, "floor": 0.5}
    table = {name: row(value) for name, value in rows.items()}
    table["dae_jax"] = {"seconds": [2.0, 4.0, 8.0], "others": [0.0] * 3}
    known = {name: value for name, value in (MACHINE | machine).items() if value is not None}
    numbers = {"machine": known, "batch-20": table, "batch-128": table}
    path = folder / "reports" / f"{name}.json"
    path.write_text(json.dumps(numbers))
    return path


def table_of(scripts, folder, capsys):
    """The exit status, what lies between the marks afterwards, and the errors."""
    page = folder / "page.md"
    page.write_text("before\n" + "\n".join(scripts.speed_table.MARKS) + "\nafter\n")
    argv = ["--table", str(page), "--output-dir", str(folder / "reports")]
    status = console.run(scripts.speed.main, argv)
    begin, end = scripts.speed_table.MARKS
    before, rest = page.read_text().split(begin)
    table, after = rest.split(end)
    assert before == "before\n" and after == "\nafter\n"
    return status, table, capsys.readouterr().err


# The pages and the committed reports.


@pytest.mark.parametrize(("script", "name"), [("speed", "speed.md"), ("imputation", "tables.md")])
def test_a_table_of_a_page_is_the_one_that_the_command_makes(scripts, tmp_path, script, name):
    page, text = tmp_path / name, (ROOT / "docs" / name).read_text()
    page.write_text(text)
    assert console.run(getattr(scripts, script).main, ["--table", str(page)]) == 0
    assert page.read_text() == text


def test_what_users_write_is_slower_on_every_processor(scripts):
    reports = scripts.speed_table.read(RESULTS)
    assert reports
    for report in reports:
        for table in ("batch-20", "batch-128"):
            for row in ("PyTorch eager", "torch.compile"):
                rounds = report.times[table, row]
                assert len(rounds) == 7  # as the page says
                assert sorted(rounds)[3] > 1, (report.name, table, row)


def test_the_committed_reports_carry_the_name_of_their_processor(scripts):
    paths = list(RESULTS.glob("*.json"))
    scripts_run = {path.name.partition("-")[0] for path in paths}
    assert scripts_run == {
        *("blocks", "checks", "estimator", "imputation", "ladder", "layout", "networks"),
        *("pages", "processes", "rectangles", "scale", "sda", "speed", "weights"),
    }
    for path in paths:
        machine, script = read_json(path)["machine"], path.name.partition("-")[0]
        assert path.stem == scripts.processors.file_name(script, machine)
        text = path.with_suffix(".txt").read_text()
        for name in ("cpu", "cores", "date"):
            assert re.search(rf"^\| {name} +\| {re.escape(str(machine[name]))} +\|$", text, re.M)


def test_the_change_of_a_pixel_by_weights_of_few_bits_is_that_of_the_report():
    (path,) = RESULTS.glob("weights-*.json")
    rows = list(read_json(path)["runs"].values())
    assert len(rows) == 4
    assert max(row["10 bits, squares"] for row in rows) < 0.01
    assert round(max(row["8 bits, equal"] for row in rows), 2) == 0.08


def test_each_page_says_how_long_it_runs(scripts):
    (path,) = RESULTS.glob("pages-*.json")
    rows = read_json(path)["pages"]
    pages = sorted((ROOT / "tutorials").glob("[0-9]*.md"))
    assert list(rows) == [page.stem for page in pages]
    for page in pages:
        assert page.read_text() == scripts.pages.with_header(page, rows[page.stem])
    assert sum(row["quick"] for row in rows.values()) < 180  # on two cores


def test_rectangles_whose_sides_differ_by_more_are_easier_as_the_pages_say():
    (path,) = RESULTS.glob("rectangles-*.json")
    errors = read_json(path)["errors"]
    means = [sum(each) / len(each) for each in errors.values()]
    assert means == sorted(means, reverse=True) and all(len(each) == 5 for each in errors.values())
    extremes = {least: f"{min(each):.1f} to {max(each):.1f} %" for least, each in errors.items()}
    text = (ROOT / "docs/results.md").read_text()
    assert f"it has {extremes['3']} on five draws" in text
    assert f"An SVM has {extremes['4']} where" in " ".join(text.split())
    assert f"{extremes['5']} where" in text


@pytest.mark.slow
def test_a_quick_run_on_rectangles_prints_its_table_alone(scripts, capsys):
    before = {path: path.read_bytes() for path in RESULTS.glob("rectangles-*")}
    assert console.run(scripts.rectangles.main, ["--quick"]) == 0
    out = capsys.readouterr().out
    rows = re.findall(r"^\| (\d) +\| (\d+\.\d\d) +\|$", out, re.MULTILINE)
    assert [least for least, _ in rows] == ["3", "4", "5", "6"]
    assert float(rows[0][1]) > float(rows[-1][1])
    assert before == {path: path.read_bytes() for path in RESULTS.glob("rectangles-*")}


def test_the_reports_that_the_pages_name_are_there():
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for path in re.findall(r"`(benchmarks/[\w./-]+)`", page.read_text()):
            assert (ROOT / path).exists(), path


def test_the_other_numbers_of_speed_are_those_of_the_reports(scripts):
    ratio = scripts.turns.ratio

    def row(label, seconds, rows):
        """The rest of a row: seconds of dae_jax, and times of the others."""
        first, *others = rows.values()
        cells = [seconds, *(f"{ratio(other, first):.2f}" for other in others)]
        assert re.search(rf"^\| {label}.* \| {re.escape(' | '.join(cells))} \|$", SPEED, re.M)

    def middle(rows, name="dae_jax"):
        seconds = sorted(rows[name]["seconds"])
        return (seconds[(len(seconds) - 1) // 2] + seconds[len(seconds) // 2]) / 2

    sda = read_json(RESULTS / "sda-amd-epyc-2-cores.json")
    for stage, epochs in scripts.sda.EPOCHS.items():
        label = (
            "fine-tuning" if stage == "fine-tuning" else f"pretraining {stage.replace('-', ' ')}"
        )
        row(rf"{label} \| {epochs}", f"{epochs * middle(sda[stage]):.0f}", sda[stage])
    whole = sda["whole-recipe"]
    row(r"the whole recipe \| 65", f"{middle(whole):.0f}", whole)
    assert f"takes\n{middle(whole) / 60:.1f} minutes" in SPEED

    networks = read_json(RESULTS / "networks-amd-epyc-2-cores.json")
    for label, table in {"deep autoencoder": "deep-autoencoder", "LeNet": "lenet"}.items():
        row(label, f"{middle(networks[table]):.1f}", networks[table])

    speed = read_json(RESULTS / "speed-amd-epyc-2-cores.json")
    one, four = speed["sweep"].values()
    assert f"{ratio(four, one) / 4:.2f} of the time of a single level"[1:] in SPEED
    start = speed["start-up"]
    assert f"first update {middle(start, 'compiled before'):.1f} s after its start" in SPEED
    assert f"({middle(start, 'nothing cached'):.1f} s if nothing is compiled yet)" in SPEED
    assert f"takes\n{speed['memory']['default run']['MB']:.0f} MB" in SPEED


# The table.


def test_there_is_one_column_per_processor(scripts, folder, capsys):
    write(folder, "speed-amd-epyc-2-cores", 1.25, cpu="AMD EPYC", avx512=None)
    write(folder, "speed-intel-xeon-processor-2-cores-avx-512", 0.75)
    status, table, _ = table_of(scripts, folder, capsys)
    assert status == 0
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    lines = [line for line in cells if line]
    assert lines[0][2:] == ["AMD EPYC, 2 cores", f"{XEON}, 2 cores, AVX-512"]
    assert {len(line) for line in lines} == {4}
    (hand_20, hand_128) = [line[2:] for line in lines if line[1] == "PyTorch, by hand"]
    # Medians of the rounds' ratios, and the extremes: the last round is half as slow again.
    assert hand_20 == hand_128 == ["1.25 (1.25 to 1.88)", "0.75 (0.75 to 1.12)"]
    assert ["", "JAX, PyTorch", *["1.2.3, 4.5.6"] * 2] in lines
    assert "- PyTorch by hand on AMD EPYC, 2 cores: slower at batch 20 and 128.\n" in table
    assert f"- PyTorch by hand on {XEON}, 2 cores, AVX-512: faster at batch 20 and 128." in table


def test_a_contestant_that_was_skipped_is_not_measured(scripts, folder, capsys):
    path = write(folder, "speed-intel-xeon-processor-2-cores-avx-512", 1.0)
    numbers = read_json(path)
    numbers["batch-20"]["torch.compile"] = {"skip": "no compiler"}
    path.write_text(json.dumps(numbers))
    _, table, _ = table_of(scripts, folder, capsys)
    assert "| PyTorch, `torch.compile` | 1.50" in table  # at batch 128
    assert "as fast at batch 20 and 128" in table
    write(folder, "speed-amd-epyc-2-cores-avx-512", 1.0, cpu="AMD EPYC")
    _, table, _ = table_of(scripts, folder, capsys)
    assert "| PyTorch, `torch.compile` | 1.50 (1.50 to 2.25) | not measured |" in table


def test_a_ladder_network_is_in_the_column_of_its_processor(scripts, folder, capsys):
    write(folder, "speed-amd-epyc-2-cores", 1.0, cpu="AMD EPYC", avx512=None)
    xeon = write(folder, "speed-intel-xeon-processor-2-cores-avx-512", 1.0)
    assert "ladder" not in table_of(scripts, folder, capsys)[1]
    numbers = read_json(xeon)
    row = numbers["batch-20"]["PyTorch eager"]
    rows = {"dae_jax": numbers["batch-20"]["dae_jax"], "PyTorch eager": row}
    path = xeon.with_name(xeon.name.replace("speed", "ladder"))
    machine = MACHINE | {"date": "2026-01-03"}
    path.write_text(json.dumps({"machine": machine, "ladder": rows}))
    status, table, _ = table_of(scripts, folder, capsys)
    assert status == 0
    times = "not measured | 2.00 (2.00 to 3.00)"
    assert f"| 100, ladder network | PyTorch, autograd | {times} |\n" in table
    assert "| measured | 2026-01-02 | 2026-01-02, 2026-01-03 |" in table
    assert f"| `speed-amd-epyc-2-cores.txt` | `{xeon.stem}.txt`, `{path.stem}.txt` |" in table
    assert "| JAX, PyTorch | 1.2.3, 4.5.6 | 1.2.3, 4.5.6 |" in table
    path.write_text(json.dumps({"machine": machine}))
    assert_one_line(table_of(scripts, folder, capsys)[2], path.name, "benchmarks/ladder.py")


@pytest.mark.parametrize("other", [{"images": 5000}, {"data": "mnist-sample"}])
def test_reports_on_other_data_are_left_out(scripts, folder, capsys, other):
    write(folder, "speed-of-something", 1.0, **other)
    status, _, err = table_of(scripts, folder, capsys)
    assert status == 2
    assert_one_line(err, "speed-*.json", "none", "python benchmarks/speed.py")


def test_a_report_that_is_not_as_it_should_be_is_one_line(scripts, folder, capsys):
    name = "speed-intel-xeon-processor-2-cores-avx-512"
    good = write(folder, name, 1.0).read_text()
    numbers = json.loads(good)
    del numbers["batch-128"]
    for text in (good[: len(good) // 2], "[]", "{}", json.dumps(numbers), '{"machine": 1}'):
        (folder / "reports" / f"{name}.json").write_text(text)
        status, table, err = table_of(scripts, folder, capsys)
        assert (status, table) == (2, "\n")
        assert_one_line(err, f"{name}.json", "make it again")
    write(folder, name, 1.0, busy=0.4)
    assert_one_line(table_of(scripts, folder, capsys)[2], f"{name}.json", "40% busy")
    write(folder, name, 1.0, cores=4)
    assert_one_line(table_of(scripts, folder, capsys)[2], "its processor", "4-cores")


def test_a_page_without_the_marks_is_one_line(scripts, folder, capsys):
    page = folder / "page.md"
    page.write_text("no marks\n")
    for path, word in ((page, "speed: made by"), (folder / "none.md", "cannot read")):
        assert console.run(scripts.speed.main, ["--table", str(path)]) == 2
        assert_one_line(capsys.readouterr().err, path.name, word)
    assert page.read_text() == "no marks\n"


# The processor, and the files of its report.


@pytest.mark.parametrize(
    ("name", "flags", "known", "file_name"),
    [
        (XEON, "avx512f avx2", True, "sda-intel-xeon-processor-2-cores-avx-512"),
        ("AMD EPYC", "avx2", False, "sda-amd-epyc-2-cores-no-avx-512"),
        ("AMD EPYC 7B13 @ 2.4GHz", "", False, "sda-amd-epyc-7b13-2-4ghz-2-cores-no-avx-512"),
    ],
)
def test_the_processor_is_read_from_linux(scripts, tmp_path, name, flags, known, file_name):
    path = tmp_path / "cpuinfo"
    path.write_text("".join(CPUINFO.format(core, name, flags) for core in range(2)))
    facts = scripts.processors.facts(path)
    assert facts == {"cpu": name, "cores": console.cores(), "avx512": known}
    machine = MACHINE | facts | {"cores": 2}
    assert scripts.processors.file_name("sda", machine) == file_name


def test_a_processor_without_a_model_name_has_one_all_the_same(scripts, tmp_path):
    path = tmp_path / "cpuinfo"
    path.write_text("processor\t: 0\nFeatures\t: fp asimd\n")  # as on ARM
    for facts in (scripts.processors.facts(path), scripts.processors.facts(tmp_path / "none")):
        assert facts.keys() == {"cpu", "cores"} and facts["cpu"]


def test_other_data_and_gpus_are_in_the_name_of_the_file(scripts):
    name = scripts.processors.file_name
    one = MACHINE | {"cores": 1, "images": 4000, "data": "mnist-sample"}
    wanted = "speed-intel-xeon-processor-1-core-avx-512-mnist-sample-4000"
    assert name("speed", one) == wanted
    gpu = MACHINE | {"backend": "gpu", "device": "NVIDIA H100 80GB HBM3"}
    assert name("speed", gpu) == "speed-nvidia-h100-80gb-hbm3"


@pytest.mark.parametrize("script", ["speed", "sda", "networks"])
def test_only_a_whole_run_replaces_a_committed_report(scripts, script):
    settings = getattr(scripts, script).Settings
    first = settings().only[:1]
    output = scripts.turns.output_folder
    assert output(settings()) == RESULTS
    assert output(settings(quick=True)) is None
    assert output(settings(only=first)) is None
    assert output(settings(only=first, output_dir=ROOT)) == ROOT


def test_a_quick_ladder_does_not_replace_a_committed_report(scripts):
    settings, output = scripts.ladder.Settings, scripts.turns.output_folder
    assert output(settings()) == RESULTS and output(settings(quick=True)) is None


def test_a_report_is_what_was_printed_and_every_number(scripts, tmp_path, capsys):
    report = scripts.turns.Report("speed", MACHINE, tmp_path)
    report.say(scripts.turns.markdown(["machine", ""], [["cpu", XEON]]))
    report.say("## batch-20")
    report.numbers["batch-20"] = {"dae_jax": {"seconds": [1.0]}}
    printed = capsys.readouterr().out
    report.write()
    path = tmp_path / "speed-intel-xeon-processor-2-cores-avx-512.txt"
    assert path.read_text() + "\n" == printed
    assert read_json(path.with_suffix(".json")) == report.numbers
    assert report.numbers["machine"] == MACHINE
    assert str(path.with_suffix(".json")) in capsys.readouterr().out


# The filling in of missing pixels.


def imputation_report(folder, scripts, **machine):
    """Write a report of two methods, the second with two seeds."""
    known = MACHINE | {"images": 10_000, "numpy": "2.0", "scikit-learn": "1.6"} | machine
    row = {"setting": {}, "errors": [0.25], "seconds": [1.0]}
    other = {"setting": {"components": 40}, "errors": [0.1, 0.12], "seconds": [60.0, 70.0]}
    rows = {"column mean": row, "denoising autoencoder": other}
    path = folder / f"{scripts.processors.file_name('imputation', known)}.json"
    path.write_text(json.dumps({"machine": known, "rows": rows}))
    return path


def test_the_autoencoder_fills_in_better_than_the_others_as_the_readme_says(scripts):
    paths = list(RESULTS.glob("imputation-*.json"))
    assert paths
    for path in paths:
        rows = read_json(path)["rows"]
        assert len(rows["denoising autoencoder"]["errors"]) == 3  # as the page says
        for _, value, _, bound in scripts.imputation.targets(rows):
            assert value < bound


def test_the_errors_of_seeds_are_a_mean_and_a_deviation(scripts, tmp_path, capsys):
    path = imputation_report(tmp_path, scripts)
    page = tmp_path / "page.md"
    page.write_text("before\n" + "\n".join(scripts.imputation.MARKS) + "\nafter\n")
    argv = ["--table", str(page), "--output-dir", str(tmp_path)]
    assert console.run(scripts.imputation.main, argv) == 0
    text = re.sub(" +", " ", page.read_text())
    assert "| components 40 | 0.1100 ± 0.01414, 2 seeds | 0.44 | 65 |" in text
    assert f"{XEON}, 2 cores, AVX-512; 2026-01-02; jax 1.2.3" in text and path.stem in text
    path.write_text(path.read_text().replace("errors", "error"))
    assert console.run(scripts.imputation.main, argv) == 2
    assert_one_line(capsys.readouterr().err, path.name, "make it again")


def test_no_report_of_imputation_is_one_line(scripts, tmp_path, capsys):
    argv = ["--table", str(tmp_path / "page.md"), "--output-dir", str(tmp_path)]
    assert console.run(scripts.imputation.main, argv) == 2
    assert_one_line(capsys.readouterr().err, "imputation-*.json", "benchmarks/imputation.py")


def test_settings_are_chosen_by_held_out_pixels_and_not_by_whole_rows(scripts):
    rng = np.random.default_rng(1)
    rows = np.float32(rng.random((60, 8)))
    train = np.where(rng.random(rows.shape) < 0.2, np.float32(np.nan), rows)
    seen = []

    def fill(train, test, seed, constant):
        seen.append((len(train), len(test), int(np.isnan(test).sum())))
        return np.full_like(test, constant)

    candidates = [{"constant": 0.0}, {"constant": 0.5}, {"constant": 1.0}]
    method = scripts.imputation.Method(fill, candidates)
    setting, tried = scripts.imputation.choose(method, train)
    assert setting == {"constant": 0.5} and len(tried) == 3
    missing = int(np.isnan(train[48:]).sum())
    assert all(row[:2] == (48, 12) and row[2] > missing for row in seen)


def test_iterative_pca_finds_a_plane_that_rows_with_gaps_lie_on(scripts):
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(300, 2)) @ rng.normal(size=(2, 12)) + 3
    gaps = rng.random(rows.shape) < 0.1
    with_gaps = np.where(gaps, np.nan, rows)
    train, test = with_gaps[:250], with_gaps[250:]
    imputation = scripts.imputation
    filled = imputation.by_pca(train, test, 0, components=2)
    mean = imputation.error(imputation.by_mean(train, test, 0), rows[250:], gaps[250:])
    assert imputation.error(filled, rows[250:], gaps[250:]) < 0.05 * mean


@pytest.mark.slow
def test_the_quick_run_of_processes_gives_the_costs_of_one_device(scripts, tmp_path):
    assert console.run(scripts.processes.main, ["--quick", "--output-dir", str(tmp_path)]) == 0
    (path,) = tmp_path.glob("processes-*.json")
    rows = read_json(path)["rows"]
    for kind in (scripts.processes.WAYS, scripts.processes.SEEDS):
        costs = [rows[f"batch 20, {way}"]["cost"] for way in kind]
        assert costs == pytest.approx(costs[:1] * 3, rel=1e-6)


@pytest.mark.slow
@pytest.mark.usefixtures("standard_promotion")
def test_the_quick_imputation_measures_every_method(scripts, tmp_path, capsys):
    argv = ["--quick", "--output-dir", str(tmp_path)]
    assert console.run(scripts.imputation.main, argv) == 0
    (path,) = tmp_path.glob("imputation-*.json")
    rows = read_json(path)["rows"]
    assert list(rows) == list(scripts.imputation.CANDIDATES)
    assert all(0 < error < 1 for row in rows.values() for error in row["errors"])
    assert "mnist-sample-400" in path.name
    assert path.with_suffix(".txt").read_text() in capsys.readouterr().out


# The running times of the tutorials.


def test_a_running_time_is_rounded_to_what_a_reader_needs(scripts):
    of = scripts.pages.in_words
    assert [of(1.2), of(33), of(88), of(91), of(610)] == [
        *("5 seconds", "35 seconds", "90 seconds"),
        *("2 minutes", "10 minutes"),
    ]


@pytest.mark.parametrize("old", ["", " Running time: long.", "\nRunning time: one\nor two."])
def test_the_running_times_stand_on_top_of_a_page(scripts, tmp_path, old):
    page = tmp_path / "page.md"
    page.write_text(f"# Title\n\n*Before this page: [x](x.md).{old}*\n\n*y*\n")
    assert scripts.pages.with_header(page, {"full": 240, "quick": 21}) == (
        "# Title\n\n*Before this page: [x](x.md).\nRunning time: 4 minutes on two cores, "
        "20 seconds with `DAE_JAX_TUTORIAL=quick`.*\n\n*y*\n"
    )
    page.write_text("# Title\n")
    refused(lambda: scripts.pages.with_header(page, {"full": 1, "quick": 1}), "page.md", "begins")


def test_a_figure_is_no_word_and_code_is_no_prose(scripts, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "---\nkernelspec: x\n---\n# One two\n\n```{code-cell} python\n---\nmystnb:\n"
        "  figure:\n    caption: a\n---\nx = 1\n```\n\nthree\n"
    )
    assert scripts.pages.words(page) == {"words": 16, "prose": 4, "figures": 1}
