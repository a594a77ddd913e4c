"""The reports of all experiments: read, checked, counted, listed, and put into Markdown tables."""

import json
from dataclasses import replace

import numpy as np
import pytest

from dae_jax.deep import Architecture
from dae_jax.experiments import pages, reports
from dae_jax.experiments.claims import Improved, Reproduced, Shown
from dae_jax.experiments.data import Images
from dae_jax.experiments.models import PCA, Autoencoder, Recipe
from helpers import contents, refused, refused_file
from toy_experiments import COST, ERROR, EXACT, ONCE, SHOWN, STEPS, TOY, TOYS, VALUES, report, write

AGAIN = "make it again: python -m dae_jax.reproduce toy"


@pytest.fixture
def folder(tmp_path):
    """The folder of the reports of both toys, whose claims all hold."""
    for name in TOYS:
        write(tmp_path, report(name))
    return tmp_path


def around(mean, deviation=1.0):
    """Ten runs with that mean and standard deviation."""
    return (mean + deviation * STEPS).tolist()


# ---- read ------------------------------------------------------------------------------------


def test_reports_are_read_in_the_order_of_the_experiments(folder):
    assert list(reports.read(TOYS, folder)) == ["toy", "once"]
    assert list(reports.read({"once": ONCE, "toy": TOY}, folder)) == ["once", "toy"]
    assert reports.read(TOYS, folder)["toy"] == report("toy")


def test_there_may_be_no_reports_and_no_folder(tmp_path):
    assert reports.read(TOYS, tmp_path) == reports.read(TOYS, tmp_path / "nowhere") == {}


def test_reports_of_other_commands_and_of_other_data_are_left_alone(folder):
    write(folder, {"members": [1, 2]}, "sda-best")
    write(folder, report("toy"), "toy-mnist-sample")
    write(folder, report("toy"), "toy-seeds-2")
    (folder / "sda-cut").mkdir()
    (folder / "sda-cut" / "report.json").write_text("{")
    assert list(reports.read(TOYS, folder)) == ["toy", "once"]


def test_the_report_of_an_experiment_that_does_not_exist_is_named(folder):
    write(folder, report("toy") | {"experiment": "former"})
    words = ("former", "report.json", "an experiment that exists", "got former", "remove its")
    refused(lambda: reports.read(TOYS, folder), *words)
    # even one that has no version yet
    write(folder, {"experiment": "former", "claims": []})
    refused(lambda: reports.read(TOYS, folder), *words)


WHOLE = json.dumps(report("toy"))
BROKEN = {
    "empty": (b"", "expected JSON"),
    "cut in half": (WHOLE[: len(WHOLE) // 2].encode(), "expected JSON"),
    "cut by one character": (WHOLE[:-1].encode(), "expected JSON"),
    "not UTF-8": (WHOLE.replace("a toy", "a to\u00ff").encode("latin-1") + b"\xff", "got 'utf-8'"),
    "UTF-16": (WHOLE.encode("utf-16"), "expected JSON"),
    "an array": (b"[]", "expected object, got array"),
    "a number": (b"3", "expected object, got int"),
    "null": (b"null", "expected object, got null"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_report_is_one_line(folder, how):
    content, words = BROKEN[how]
    path = folder / "toy" / "report.json"
    path.write_bytes(content)
    refused_file(lambda _: reports.read(TOYS, folder), path, words, AGAIN)


CHANGED = {
    "version 1": ({"version": 1}, "a report of version 2, got 1"),
    "version 3": ({"version": 3}, "a report of version 2, got 3"),
    "a version in words": ({"version": "2"}, "a report of version 2, got 2"),
    "a fingerprint of numbers": ({"fingerprint": 7}, "fingerprint in"),
    "a declaration in words": ({"declaration": "PCA"}, "declaration in"),
    "a list of numbers": ({"numbers": []}, "expected object, got array"),
    "seconds in words": ({"seconds": "60"}, "expected float, got str"),
    "an answer in words": ({"published_applies": "yes"}, "expected bool, got str"),
    "data in words": ({"data": "mnist"}, "data in"),
}


@pytest.mark.parametrize("how", CHANGED)
def test_a_report_of_another_version_or_with_parts_of_another_type_is_one_line(folder, how):
    change, words = CHANGED[how]
    path = write(folder, report("toy") | change)
    refused_file(lambda _: reports.read(TOYS, folder), path, words, AGAIN)


@pytest.mark.parametrize("part", [key for key in report("toy") if key != "experiment"])
def test_a_report_without_one_of_its_parts_is_one_line(folder, part):
    content = report("toy")
    del content[part]
    path = write(folder, content)
    words = "version 2, got 1" if part == "version" else f"expected a field {part}, got none"
    refused_file(lambda _: reports.read(TOYS, folder), path, words, AGAIN)


@pytest.mark.parametrize(
    "measured",
    [
        {"values": []},
        {"values": None},
        {"values": "10"},
        {"values": 10.0},
        {"values": {"1": 10.0}},
        {"values": ["10", "11"]},
        {"values": [10.0, None]},
        {"values": [10.0, True]},
        {"values": [[10.0]]},
        {"mean": 10.0},
        [10.0, 11.0],
        10.0,
        None,
    ],
    ids=str,
)
def test_numbers_of_other_types_are_one_line(folder, measured):
    content = report("toy")
    content["numbers"][COST] = measured
    path = write(folder, content)
    words = (f"'{COST}'", "expected ", AGAIN)
    refused_file(lambda _: reports.read(TOYS, folder), path, *words)


# ---- rows ------------------------------------------------------------------------------------


def test_there_is_a_row_for_every_claim_with_its_verdict(folder):
    rows = reports.rows(TOYS, reports.read(TOYS, folder))
    assert [(row.experiment, row.claim.number, row.verdict) for row in rows] == [
        ("toy", COST, "agrees"),
        ("toy", ERROR, "better"),
        ("toy", SHOWN, None),
        ("once", EXACT, "agrees"),
    ]
    assert rows[0].claim is TOY.claims[0] and rows[0].values == VALUES[COST]


def test_verdicts_are_todays_and_not_those_that_a_report_says(folder):
    told = [{"number": COST, "verdict": "agrees"}]
    write(folder, report("toy", {COST: around(20)}) | {"claims": told})
    assert reports.rows(TOYS, reports.read(TOYS, folder))[0].verdict == "worse"


def test_a_missing_report_and_one_of_another_declaration_have_no_values(folder):
    (folder / "once" / "report.json").unlink()
    other = {"toy": replace(TOY, seeds=(1, 2)), "once": ONCE}
    for row in reports.rows(other, reports.read(other, folder)):
        assert (list(row.values), row.verdict) == ([], None)


def test_a_report_without_a_claimed_number_is_refused(folder):
    content = report("toy")
    del content["numbers"][ERROR]
    write(folder, content)
    existing = reports.read(TOYS, folder)
    refused(lambda: reports.rows(TOYS, existing), "report of toy", f"the number '{ERROR}'", AGAIN)


@pytest.mark.parametrize("number", [COST, ERROR, SHOWN])
@pytest.mark.parametrize("n", [1, 2, 9, 11])
def test_a_report_of_more_or_fewer_runs_than_declared_is_refused(folder, number, n):
    """Of two runs far apart, the interval would be so wide that anything agrees."""
    write(folder, report("toy", {number: [20.0, 30.0, *[25.0] * 9][:n]}))
    words = (f"report of toy, '{number}'", "expected 10 values, one per seed", f"got {n}", AGAIN)
    for use in (reports.check, reports.show):
        refused(lambda use=use: use(TOYS, folder), *words)


def test_an_interval_of_a_single_seed_is_refused(tmp_path):
    alone = {"toy": replace(TOY, seeds=(1,))}
    declares = reports.declaration(alone["toy"])
    single = {number: [values[0]] for number, values in VALUES.items()}
    content = report("toy", single) | {"declaration": declares}
    write(tmp_path, content | {"fingerprint": reports.fingerprint(declares)})
    words = (f"interval of {COST}", "at least 2 seeds", "got 1", "all of its seeds")
    for use in (reports.check, reports.show):
        refused(lambda use=use: use(alone, tmp_path), *words)


# ---- declarations of other days --------------------------------------------------------------

OTHER = {
    "images": {"images": Images("standardised")},
    "seeds": {"seeds": (*TOY.seeds, 11)},
    "models": {"models": {"net": PCA(3)}},
    "measures": {"measures": (*TOY.measures, *ONCE.measures)},
    "claims": {"claims": (Reproduced(COST, "10.5"), *TOY.claims[1:])},
}


@pytest.mark.parametrize("part", OTHER)
def test_check_fails_for_another_declaration_and_names_the_part(folder, capsys, part):
    today = TOYS | {"toy": replace(TOY, **OTHER[part])}
    assert reports.stale(today["toy"], report("toy")) == [part]
    assert reports.check(today, folder) == 1
    out = capsys.readouterr().out.splitlines()
    assert out[0] == (
        f"toy: the report is of other {part} than declared today; "
        "run python -m dae_jax.reproduce toy"
    )
    assert "1 not measured" in out[1] and len(out) == 2


def test_all_parts_that_differ_are_named(folder, capsys):
    today = TOYS | {"toy": replace(TOY, **OTHER["seeds"], **OTHER["claims"])}
    assert reports.check(today, folder) == 1
    assert "of other seeds and claims than" in capsys.readouterr().out


def test_what_declares_nothing_makes_no_report_older(folder):
    changed = {"what": "it", "source": "there", "note": "", "pictures": {}}
    today = TOYS | {"toy": replace(TOY, **changed)}
    assert reports.stale(today["toy"], report("toy")) == []
    assert reports.check(today, folder) == 0


def test_a_report_to_which_published_numbers_do_not_apply_is_of_other_data(folder, capsys):
    write(folder, report("toy") | {"published_applies": False})
    assert reports.check(TOYS, folder) == 1
    assert "toy: the report is of other data than declared" in capsys.readouterr().out


def test_a_fingerprint_that_is_not_that_of_today_counts(folder):
    write(folder, report("toy") | {"fingerprint": "0" * 16})
    assert reports.check(TOYS, folder) == 1


# ---- check -----------------------------------------------------------------------------------


def test_check_is_green_when_everything_is_there_and_agrees(folder, capsys):
    before = contents(folder)
    assert reports.check(TOYS, folder) == 0
    assert capsys.readouterr().out == (
        "2 numbers reproduced: 2 agree. 1 number improved: 1 better. 1 shown, without a verdict.\n"
    )
    assert contents(folder) == before


def test_check_fails_for_a_missing_report_and_says_how_to_make_it(folder, capsys):
    (folder / "once" / "report.json").unlink()
    assert reports.check(TOYS, folder) == 1
    out = capsys.readouterr().out.splitlines()
    assert out == [
        "once: no report; run python -m dae_jax.reproduce once",
        "2 numbers reproduced: 1 agrees, 1 not measured. 1 number improved: 1 better. "
        "1 shown, without a verdict.",
    ]


def test_check_fails_if_the_report_in_a_folder_is_of_something_else(folder, capsys):
    write(folder, report("once"), "toy")
    assert reports.check(TOYS, folder) == 1
    assert "toy: the report is of other seeds and" in capsys.readouterr().out


def test_check_without_any_report_is_refused(tmp_path):
    words = ("--check", f"reports in {tmp_path}", "got none", "--all")
    refused(lambda: reports.check(TOYS, tmp_path), *words)


@pytest.mark.parametrize(
    ("values", "status", "words"),
    [
        # published: 11, lower is better; the interval is the mean ± 2.37
        ({COST: around(13.3)}, 0, "2 agree."),
        ({COST: around(13.5)}, 0, "2 agree."),  # 11 is printed for up to 11.5
        (
            {COST: around(14)},
            1,
            f"toy: {COST} is 14 ± 1, worse than the published 11 (11.63 to 16.37)",
        ),
        ({COST: around(8)}, 0, "1 agrees, 1 better."),
        ({COST: [*around(10)[:9], float("nan")]}, 1, f"toy: {COST} is nan"),
        # published: 2.2 %; the interval is the mean ± .07 %
        ({ERROR: around(0.0212, 0.001)}, 0, "improved: 1 better."),
        (
            {ERROR: around(0.0214, 0.001)},
            1,
            f"toy: {ERROR} is 2.14 ± 0.10 %, not better than the published 2.2 % (2.07 to 2.21 %)",
        ),
        ({ERROR: around(0.05, 0.001)}, 1, "5.00 ± 0.10 %, not better than the published 2.2 %"),
        ({SHOWN: around(1e6)}, 0, "1 shown, without a verdict."),
        ({SHOWN: [float("nan")] * 10}, 0, "1 shown, without a verdict."),
    ],
)
def test_check_fails_for_what_is_worse_or_not_better(folder, capsys, values, status, words):
    write(folder, report("toy", values))
    assert reports.check(TOYS, folder) == status
    assert words in capsys.readouterr().out


@pytest.mark.parametrize(
    ("value", "status", "words"),
    [
        (0.07504, 0, "2 agree."),
        (0.07494, 0, "1 better."),
        (0.07506, 1, f"once: {EXACT} is 0.07506, worse than the published 7.50 % (exact)"),
    ],
)
def test_exact_numbers_are_compared_in_all_printed_digits(folder, capsys, value, status, words):
    write(folder, report("once", {EXACT: [value]}))
    assert reports.check(TOYS, folder) == status
    out = capsys.readouterr().out
    assert words in out


def test_all_faults_are_listed_before_the_counts(folder, capsys):
    values = {COST: around(20), ERROR: around(0.5)}
    write(folder, report("toy", values))
    write(folder, report("once", {EXACT: [0.08]}))
    assert reports.check(TOYS, folder) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" is ")[0] for line in lines[:-1]] == [
        f"toy: {COST}",
        f"toy: {ERROR}",
        f"once: {EXACT}",
    ]
    assert lines[-1] == (
        "2 numbers reproduced: 2 worse. 1 number improved: 1 not better. "
        "1 shown, without a verdict."
    )


def test_the_kinds_are_never_added_up():
    table = [
        *[reports.Row("a", Reproduced("n", "1"), [1], verdict) for verdict in ("agrees",) * 3],
        reports.Row("a", Reproduced("n", "1"), [1], "worse"),
        reports.Row("a", Reproduced("n", "1"), [1], "better"),
        reports.Row("a", Reproduced("n", "1"), [], None),
        *[reports.Row("a", Improved("n", "1", "", ""), [1], "not better") for _ in range(2)],
        *[reports.Row("a", Shown("n"), values, None) for values in ([1], [])],
    ]
    assert reports.counted(table) == (
        "6 numbers reproduced: 3 agree, 1 better, 1 worse, 1 not measured. "
        "2 numbers improved: 2 not better. 2 shown, without a verdict."
    )


# ---- list ------------------------------------------------------------------------------------


def test_the_list_has_a_line_for_every_claim(folder, capsys):
    (folder / "once" / "report.json").unlink()
    assert reports.show(TOYS, folder) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[1:] == [
        ["toy", "a", "toy"],
        [*COST.split(), "reproduced", "11", "10", "±", "1", "agrees", "60"],
        [*ERROR.split(), "improved", "2.2", "%", "2.00", "±", "0.10", "%", "better"],
        [*SHOWN.split(), "shown", "figure", "1", "5"],
        ["once", "a", "toy", "without", "chance"],
        [*EXACT.split(), "reproduced", "7.50", "%", "not", "measured"],
    ]


# ---- tables ----------------------------------------------------------------------------------


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def tables(text):
    """The tables of a text, by the word in bold above them, as lists of cells."""
    found, kind = {}, ""
    for line in text.splitlines():
        if line.startswith("**"):
            kind = line.split("**")[1]
        elif line.startswith("|"):
            found.setdefault(kind, []).append(cells(line))
    return found


def test_there_is_a_table_for_each_kind_below_the_counts(folder):
    table = reports.rows(TOYS, reports.read(TOYS, folder))
    text = reports.in_markdown(table)
    assert text.strip().splitlines()[0] == reports.counted(table)
    found = tables(text)
    assert list(found) == ["Reproduced", "Improved", "Shown"]
    for kind in found.values():
        assert len({len(row) for row in kind}) == 1 and set(kind[1]) == {"---"}
    toy = "[`toy`](../results/toy/report.json)"
    once = "[`once`](../results/once/report.json)"
    assert found["Reproduced"][2:] == [
        [toy, COST, "11", "10 ± 1", "10", "7.627 to 12.37", "agrees"],
        [once, EXACT, "7.50 %", "0.07502", "1", "exact", "agrees"],
    ]
    measured = ("2.00 ± 0.10 %", "10", "1.93 to 2.07 %", "better")
    assert found["Improved"][2:] == [[toy, ERROR, "2.2 %", *measured, "everything", "nobody"]]
    assert found["Shown"][2:] == [[toy, SHOWN, "figure 1", "5", "10"]]


def test_what_is_worse_or_not_better_is_bold(folder):
    write(folder, report("toy", {COST: around(20), ERROR: around(0.5)}))
    found = tables(reports.in_markdown(reports.rows(TOYS, reports.read(TOYS, folder))))
    assert found["Reproduced"][2][-1] == "**worse**"
    assert found["Improved"][2][-3] == "**not better**"
    assert found["Reproduced"][3][-1] == "agrees"


def test_in_short_all_that_agrees_is_a_sentence_and_the_rest_a_table(folder):
    write(folder, report("toy", {COST: around(20)}))
    text = reports.in_short(reports.rows(TOYS, reports.read(TOYS, folder)))
    assert "All numbers of these agree: [`once`](results/once/report.json). Those that" in text
    (row,) = tables(text)[""][2:]
    assert row[:4] == ["[`toy`](results/toy/report.json)", COST, "11", "20 ± 1"]
    assert row[-1] == "**worse**"


def test_what_is_missing_says_that_it_is_not_measured_and_has_no_link(folder):
    (folder / "once" / "report.json").unlink()
    (folder / "toy" / "report.json").unlink()
    found = tables(reports.in_markdown(reports.rows(TOYS, reports.read(TOYS, folder))))
    assert found["Reproduced"][2:] == [
        ["`toy`", COST, "11", "not measured", "", "", ""],
        ["`once`", EXACT, "7.50 %", "not measured", "", "", ""],
    ]
    assert found["Shown"][2:] == [["`toy`", SHOWN, "figure 1", "not measured", ""]]


def test_the_name_of_an_experiment_stands_beside_its_first_row_of_each_table(folder):
    more = replace(TOY, claims=(*TOY.claims, Reproduced(SHOWN, "5"), Shown(COST)))
    found = tables(reports.in_markdown(reports.rows({"toy": more}, {})))
    assert [row[0] for row in found["Reproduced"][2:]] == ["`toy`", ""]
    assert [row[0] for row in found["Shown"][2:]] == ["`toy`", ""]


BEGIN, END = reports.MARKS


def put_tables(page, folder):
    pages.put_tables(page, reports.tables(TOYS, folder))


def test_the_tables_go_between_the_marks_and_nothing_else_changes(folder):
    page = folder / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter ä\n", encoding="utf-8")
    put_tables(page, folder)
    text = page.read_text(encoding="utf-8")
    table = reports.in_markdown(reports.rows(TOYS, reports.read(TOYS, folder)))
    assert text == f"before\n{BEGIN}\n\n{table}\n\n{END}\nafter ä\n"
    put_tables(page, folder)
    assert page.read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no marks", "expected the lines"),
        (BEGIN.encode(), "expected the lines"),
        (f"{BEGIN}\n{END}\n{BEGIN}\n{END}\n".encode(), "expected the lines"),
        (f"Gr\u00fc\u00dfe\n{BEGIN}\n{END}\n".encode("latin-1"), "a text file in UTF-8"),
        (f"{BEGIN}\n{END}\n".encode("utf-16"), "a text file in UTF-8"),
    ],
    ids=["no marks", "half of them", "twice", "Latin-1", "UTF-16"],
)
def test_a_page_without_its_marks_or_in_another_encoding_is_left_alone(folder, content, words):
    page = folder / "page.md"
    page.write_bytes(content)
    refused_file(lambda path: put_tables(path, folder), page, "--table", words)
    assert page.read_bytes() == content


def test_marks_of_one_table_do_not_hide_that_those_of_another_are_broken(folder):
    page = folder / "page.md"
    page.write_text(f"{BEGIN}\n{END}\n{reports.SHORT_MARKS[0]}\n")
    words = "expected the lines '<!-- short"
    refused_file(lambda path: put_tables(path, folder), page, "--table", words)
    assert page.read_text() == f"{BEGIN}\n{END}\n{reports.SHORT_MARKS[0]}\n"


def test_a_page_that_is_not_there_is_one_line(folder):
    refused(lambda: put_tables(folder / "page.md", folder), "--table", "cannot read")


def test_a_broken_report_leaves_the_page_alone(folder):
    page = folder / "page.md"
    page.write_text(f"{BEGIN}\nold\n{END}\n")
    for content in ({"version": 1}, {"numbers": {COST: {"values": [10.0]}}}, {"numbers": {}}):
        write(folder, report("toy") | content)
        refused(lambda: put_tables(page, folder))
        assert page.read_text() == f"{BEGIN}\nold\n{END}\n"


# ---- a new report ----------------------------------------------------------------------------


def new_report(verdict, **changed):
    claims = [{"number": COST, "verdict": verdict}, {"number": SHOWN, "verdict": None}]
    numbers = {
        COST: {"mean": 10.0, "sd": 1.0, "values": VALUES[COST]},
        SHOWN: {"mean": 5.0, "sd": None, "values": [5.0]},
    }
    made = {"numbers": numbers, "claims": claims, "command": "it", "data": {"name": "mnist"}}
    return report("toy") | made | changed


def test_a_new_report_is_summarised_with_its_verdicts(tmp_path, capsys):
    reports.summarise(new_report("agrees"), TOY, tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"{COST}   10 ± 1  published 11: agrees (7.627 to 12.37)",
        f"{SHOWN}  5",
        f"10 seeds, 60 s; {tmp_path}/report.json",
        "",
    ]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("it", "*** trained on digits: the published numbers do not apply ***"),
        (
            "it --epochs 1",
            "*** trained on digits for another length: the published numbers do not apply ***",
        ),
    ],
)
def test_a_report_of_other_data_or_of_another_length_says_so(tmp_path, capsys, command, words):
    other = {"published_applies": False, "claims": [], "data": {"name": "digits"}}
    reports.summarise(new_report("agrees", command=command, **other), TOY, tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == words
    assert "published 11" not in "".join(lines)


def test_a_report_of_a_declared_network_is_refused_when_its_recipe_has_changed(tmp_path):
    """As after a change of the catalogue: one number of a recipe is enough."""
    net = Autoencoder(Architecture((784, 5)), Recipe(2, 20))
    before = replace(TOY, models={"net": net})
    after = replace(TOY, models={"net": replace(net, recipe=Recipe(2, 21))})
    declares = reports.declaration(before)
    old = report("toy") | {"declaration": declares, "fingerprint": reports.fingerprint(declares)}
    assert reports.stale(before, old) == [] and reports.stale(after, old) == ["models"]


def test_the_deviation_of_the_tables_is_that_of_numpy(folder):
    values = np.random.default_rng(0).normal(50, 7, 10)
    write(folder, report("toy", {COST: values.tolist()}))
    row = reports.rows(TOYS, reports.read(TOYS, folder))[0]
    found = tables(reports.in_markdown([row]))["Reproduced"][2][3]
    assert found == f"{values.mean():.4g} ± {values.std(ddof=1):.1g}"
