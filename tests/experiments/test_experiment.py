"""Declarations, their fingerprints, and the runner: its report, its pictures, and resuming."""

import json
from dataclasses import fields, replace
from functools import partial

import numpy as np
import pytest
from PIL import Image

from dae_jax import console, training
from dae_jax.deep import Architecture
from dae_jax.experiments import experiment, measures, pictures, reports
from dae_jax.experiments.claims import Improved, Reproduced, Shown, in_words
from dae_jax.experiments.data import Images
from dae_jax.experiments.experiment import VERSION, declaration, declared, fingerprint
from dae_jax.experiments.models import (
    PCA,
    Autoencoder,
    Chosen,
    Finetuned,
    Network,
    Recipe,
    Stack,
)
from helpers import SLOW, contents, files, read_json, refused
from toy_experiments import COST, ERROR, ONCE, SHOWN, TOY, TOYS, VALUES, toy_data

# ---- declarations ----------------------------------------------------------------------------


def test_a_declaration_is_shown_as_source_code_with_its_defaults():
    stack = Stack(Recipe(1, 20), (0.1,), level=0.1)
    recipe = (
        "Recipe(epochs=1, batch_size=20, optimizer='adam', learning_rate=0.001, decay='none', "
        "shuffle=True, steps=None)"
    )
    assert declared(stack) == f"Stack(recipe={recipe}, learning_rates=(0.1,), level=0.1)"
    assert (
        declared(partial(in_words, "a", value=1.5)) == "in_words(number='a', value=1.5, digits=4)"
    )


# A declaration of each kind, and another value for each of its fields.
ARCHITECTURE, RECIPE = Architecture((12, 5)), Recipe(1, 20)
KINDS = [
    (
        Images(),
        dict(prepare="standardised", pixel_scale=256.0, with_valid=True, skip=5, batches_of=9),
    ),
    (ARCHITECTURE, dict(sizes=(12, 6), hidden="relu", code="elu", output="linear", tied=True)),
    (
        RECIPE,
        dict(epochs=2, batch_size=21, optimizer="sgd", learning_rate=0.5, decay="cosine")
        | dict(shuffle="blocks", steps=3),
    ),
    (
        Autoencoder(ARCHITECTURE, RECIPE),
        dict(architecture=Architecture((12, 6)), recipe=Recipe(2, 20), objective="squared-error")
        | dict(noise="shared", level=0.1, l1=0.1, kl=(1.0, 0.1), contract=0.1, weight_decay=0.1)
        | dict(gain=4.0, tutorial_weights=True, zero_decoder=True, code_bias=1.0, clipped=True)
        | dict(patience=3, after=Stack(RECIPE, (0.1,), 0.1)),
    ),
    (Stack(RECIPE, (0.1,), 0.1), dict(recipe=Recipe(2, 20), learning_rates=(0.2,), level=0.2)),
    (PCA(2), dict(n_components=3)),
    (Finetuned("a", RECIPE), dict(of="b", recipe=Recipe(2, 20), patience=3)),
    (
        Network(len, RECIPE),
        dict(module=max, recipe=Recipe(2, 20), weight_decay=0.1, choose=False, patience=3, part=5),
    ),
    (
        Chosen((Autoencoder(ARCHITECTURE, RECIPE),), (RECIPE,), 3),
        dict(autoencoders=(), recipes=(RECIPE, RECIPE), patience=4),
    ),
    (Reproduced("a", "1"), dict(number="b", published="2", exact=True, better="neither")),
    (
        Improved("a", "1", "this", "that"),
        dict(number="b", published="2", differs="it", chosen="it", better="higher"),
    ),
    (Shown("a"), dict(number="b", picture="figure 2")),
]  # fmt: skip


def names_of(value):
    """The names of the fields of a declaration."""
    return {part.name for part in fields(value)}


@pytest.mark.parametrize(("value", "others"), KINDS, ids=lambda it: type(it).__name__)
def test_a_declaration_shows_every_field(value, others):
    assert set(others) == names_of(value)
    assert all(f"{name}=" in declared(value) for name in others)
    shown = {declared(value)}
    for name, other in others.items():
        changed = declared(replace(value, **{name: other}))
        assert f"{name}=" in changed
        shown.add(changed)
    assert len(shown) == 1 + len(others)


def test_a_declaration_is_read_back_as_it_was():
    """It is source code: nothing of it is left out."""
    names = {"relu": max} | {type(value).__name__: type(value) for value, _ in KINDS}
    for value, others in KINDS:
        for name, other in others.items():
            changed = replace(value, **{name: other})
            names |= {"len": len, "max": max}
            assert eval(declared(changed), names) == changed


# ---- fingerprints ----------------------------------------------------------------------------

SAME = {
    "what": "another title",
    "source": "elsewhere",
    "note": "another note",
    "pictures": {"other": pictures.sheet("inputs")},
}
OTHER = {
    "images": Images(pixel_scale=256),
    "models": {"net": PCA(3)},
    "measures": (*TOY.measures, measures.pixel_error("net")),
    "claims": (Reproduced(COST, "10"), *TOY.claims[1:]),
    "seeds": (*TOY.seeds[:-1], 11),
}


def print_of(toy):
    return fingerprint(declaration(toy))


def test_every_part_of_an_experiment_is_either_declared_or_not():
    assert {*SAME, *OTHER} == names_of(TOY)


@pytest.mark.parametrize("part", OTHER)
def test_the_fingerprint_changes_with_each_part_of_the_declaration(part):
    changed = replace(TOY, **{part: OTHER[part]})
    assert print_of(changed) != print_of(TOY)
    now, before = declaration(changed), declaration(TOY)
    assert [name for name in now if now[name] != before[name]] == [part]


@pytest.mark.parametrize("part", SAME)
def test_the_fingerprint_changes_with_nothing_else(part):
    assert print_of(replace(TOY, **{part: SAME[part]})) == print_of(TOY)


CLOSE = {
    "the name of a model": {"models": {"another": PCA(2)}},
    "one model more": {"models": {"net": PCA(2), "more": PCA(2)}},
    "the order of the seeds": {"seeds": (2, 1, *TOY.seeds[2:])},
    "the side of a claim": {"claims": (replace(TOY.claims[0], better="neither"), *TOY.claims[1:])},
    "the kind of a claim": {"claims": (Shown(COST), *TOY.claims[1:])},
    "the arguments of a measure": {"measures": (measures.final_cost("net", per=2.0),)},
    "other arguments of it": {"measures": (measures.final_cost("net", per=3.0),)},
    "its default": {"measures": (measures.final_cost("net"),)},
}


def test_the_smallest_changes_have_fingerprints_of_their_own():
    prints = {print_of(replace(TOY, **change)) for change in CLOSE.values()}
    assert len(prints | {print_of(TOY)}) == len(CLOSE) + 1


def test_a_fingerprint_does_not_depend_on_objects_and_survives_json():
    """The same declaration, made twice, of other objects."""

    def made():
        return replace(
            TOY,
            models={"net": Autoencoder(Architecture((784, 5)), Recipe(1, 20))},
            measures=(measures.final_cost("net", per=2.0, what="loss"),),
        )

    assert print_of(made()) == print_of(made())
    declares = declaration(made())
    read = json.loads(json.dumps(declares, indent=2))
    assert read == declares and fingerprint(read) == fingerprint(declares)
    backwards = dict(reversed(declares.items()))
    assert fingerprint(backwards) == fingerprint(declares)
    assert len(fingerprint(declares)) == 16 and int(fingerprint(declares), 16)


# ---- a run -----------------------------------------------------------------------------------


def test_a_run_writes_its_report_and_its_pictures(tmp_path):
    report = experiment.run("toy", TOY, toy_data(), tmp_path, "the command")
    assert files(tmp_path) == {"report.json", "square.png"}
    assert json.loads(json.dumps(report)) == read_json(tmp_path / "report.json")
    expected = {
        "version": VERSION,
        "experiment": "toy",
        "what": "a toy",
        "source": "nowhere",
        "note": "a note",
        "command": "the command",
        "data": {"name": "mnist", "train": 60, "test": 20},
        "published_applies": True,
        "declaration": declaration(TOY),
        "fingerprint": fingerprint(declaration(TOY)),
        "figures": ["square.png"],
        "curves": {},
        "chosen": {},
        "processor": console.processor(),
    }
    assert {part: report[part] for part in expected} == expected
    assert {number: row["values"] for number, row in report["numbers"].items()} == VALUES
    assert report["numbers"][COST]["mean"] == pytest.approx(10)
    assert report["numbers"][COST]["sd"] == pytest.approx(1)
    verdicts = [(c["kind"], c["number"], c["published"], c["verdict"]) for c in report["claims"]]
    assert verdicts == [
        ("reproduced", COST, "11", "agrees"),
        ("improved", ERROR, "2.2 %", "better"),
        ("shown", SHOWN, None, None),
    ]
    with Image.open(tmp_path / "square.png") as image:
        about = json.loads(image.text["dae_jax"])
        assert np.asarray(image).tolist() == [[1] * 28] * 28  # of the first seed
    assert (about["experiment"], about["seed"], about["data"]) == ("toy", 1, "mnist")


def test_a_new_report_is_read_and_agrees_with_the_check(tmp_path, capsys):
    for name, toy in TOYS.items():
        experiment.run(name, toy, toy_data(), tmp_path / name, "")
    assert reports.check(TOYS, tmp_path) == 0
    assert capsys.readouterr().out.startswith("2 numbers reproduced: 2 agree.")


def test_a_deviation_needs_two_seeds(tmp_path):
    report = experiment.run("once", ONCE, toy_data(), tmp_path, "")
    (number,) = report["numbers"].values()
    assert number == {"mean": 0.07502, "sd": None, "values": [0.07502]}


@pytest.mark.parametrize("name", ["mnist-sample", "MNIST", "my-images"])
def test_published_numbers_do_not_apply_to_other_data(tmp_path, name):
    report = experiment.run("toy", TOY, toy_data(name), tmp_path, "")
    assert report["published_applies"] is False and report["claims"] == []
    assert report["data"]["name"] == name


def test_published_numbers_do_not_apply_to_another_length(tmp_path):
    report = experiment.run("toy", TOY, toy_data(), tmp_path, "", epochs=1)
    assert report["published_applies"] is False and report["claims"] == []


def test_an_interval_of_one_seed_is_refused_before_anything_is_written(tmp_path):
    alone = replace(TOY, seeds=(3,))
    words = (f"interval of {COST}", "at least 2 seeds", "got 1")
    refused(lambda: experiment.run("toy", alone, toy_data(), tmp_path / "r", ""), *words)
    assert not (tmp_path / "r").exists()
    # nothing is judged on other data
    other = experiment.run("toy", alone, toy_data("own"), tmp_path / "r", "")
    assert other["numbers"][COST]["values"] == [VALUES[COST][2]]


# ---- checkpoints -----------------------------------------------------------------------------


def net(epochs=3, rate=0.1, **how):
    return Autoencoder(
        Architecture((784, 5), tied=True), Recipe(epochs, 20, "sgd", rate), level=0.3, **how
    )


SLOWLY = replace(
    TOY,
    models={"AE": net(), "CAE": net(gain=4.0)},
    measures=(measures.final_cost("AE", "CAE"), measures.pixel_error("AE", "CAE")),
    pictures={"filters": pictures.filters("CAE", (1, 5))},
    claims=(Reproduced("CAE: cost", "300"), Shown("AE: cost")),
    seeds=(1, 2),
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run of two networks and two seeds, never interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    experiment.run("slowly", SLOWLY, toy_data(), folder, "")
    return folder


@pytest.fixture
def trained(monkeypatch):
    """The epochs that are trained from now on; `trained.stop_at(n)` stops after so many."""

    class Epochs(list):
        last = None

        def stop_at(self, n):
            self.clear()
            self.last = n

    epochs, real = Epochs(), training.fit

    def fit(*args, **how):
        for report in real(*args, **how):
            epochs.append(report.epoch)
            if len(epochs) == epochs.last:
                raise KeyboardInterrupt
            yield report

    monkeypatch.setattr(training, "fit", fit)
    return epochs


def run(folder, toy=SLOWLY, **how):
    return experiment.run("slowly", toy, toy_data(), folder, "the command", **how)


def interrupted(folder, trained, n, toy=SLOWLY):
    """Interrupt a run in its n-th epoch, counted over all of its models."""
    trained.stop_at(n)
    with pytest.raises(KeyboardInterrupt):
        run(folder, toy)
    trained.stop_at(None)


def of_training(folder):
    """What a run has learnt: its numbers and curves, and its pictures to the bit."""
    report = read_json(folder / "report.json")
    pictures = {name: data for name, data in contents(folder).items() if name.endswith(".png")}
    assert pictures
    return report["numbers"], report["curves"], report["claims"], pictures


@pytest.mark.parametrize("n", [5, *(pytest.param(n, marks=SLOW) for n in (2, 3, 6))])
def test_a_resumed_experiment_equals_an_uninterrupted_one_to_the_bit(tmp_path, trained, whole, n):
    interrupted(tmp_path, trained, n)
    assert "report.json" not in files(tmp_path)
    run(tmp_path)
    # Epochs pass faster than the second between checkpoints: that of the first is kept. A model
    # that was finished is not trained again.
    assert trained == ([2, 3, 1, 2, 3] if n < 4 else [2, 3])
    assert of_training(tmp_path) == of_training(whole)
    assert files(tmp_path) == files(whole) == {"report.json", "filters.png"}


def test_models_whose_names_are_alike_have_checkpoints_of_their_own(whole):
    curves = read_json(whole / "report.json")["curves"]
    assert curves["AE"]["costs"] != curves["CAE"]["costs"]


OTHER_MODELS = {
    "recipe": replace(SLOWLY, models={"AE": net(rate=0.2), "CAE": net(gain=4.0)}),
    "seeds": replace(SLOWLY, seeds=(1, 3)),
    "images": replace(SLOWLY, images=Images(pixel_scale=256)),
}


@pytest.mark.parametrize(
    "what", ["recipe", *(pytest.param(what, marks=SLOW) for what in ("seeds", "images"))]
)
def test_checkpoints_of_another_declaration_are_dropped(tmp_path, trained, capsys, what):
    interrupted(tmp_path / "r", trained, 5)
    run(tmp_path / "r", OTHER_MODELS[what])
    assert trained == [1, 2, 3] * 2
    assert "resuming" not in capsys.readouterr().out
    run(tmp_path / "fresh", OTHER_MODELS[what])
    assert of_training(tmp_path / "r") == of_training(tmp_path / "fresh")


@pytest.mark.slow
def test_checkpoints_of_other_data_or_another_length_are_dropped(tmp_path, trained):
    interrupted(tmp_path, trained, 5)
    run(tmp_path, epochs=2)
    assert trained == [1, 2] * 2
    interrupted(tmp_path, trained, 5)
    experiment.run("slowly", SLOWLY, toy_data("own"), tmp_path, "")
    assert trained == [1, 2, 3] * 2


def test_checkpoints_are_kept_if_only_claims_or_measures_change(tmp_path, trained, whole):
    interrupted(tmp_path, trained, 5)
    toy = replace(SLOWLY, measures=SLOWLY.measures[:1], claims=(Shown("CAE: cost"),))
    report = run(tmp_path, toy)
    assert trained == [2, 3]
    expected = read_json(whole / "report.json")["numbers"]["CAE: cost"]
    assert report["numbers"]["CAE: cost"] == expected


@pytest.mark.slow
def test_a_cut_record_of_the_declaration_drops_the_checkpoints(tmp_path, trained, whole):
    interrupted(tmp_path, trained, 5)
    record = tmp_path / "training" / "declaration.json"
    record.write_text(record.read_text()[:50])
    run(tmp_path)
    assert trained == [1, 2, 3] * 2
    assert of_training(tmp_path) == of_training(whole)


@pytest.mark.slow
def test_a_finished_run_begins_anew(tmp_path, trained):
    for _ in range(2):
        trained.clear()
        run(tmp_path)
        assert trained == [1, 2, 3] * 2


@pytest.mark.slow
def test_sheets_are_written_after_each_epoch_if_asked_for(tmp_path, whole):
    report = run(tmp_path, sheets=True)
    sheets = {f"epochs/{name}_{epoch:03}.png" for name in ("ae", "cae") for epoch in (1, 2, 3)}
    assert files(tmp_path) == files(whole) | sheets
    assert report["numbers"] == read_json(whole / "report.json")["numbers"]
    drawn = [contents(tmp_path)[name] for name in sorted(sheets)]
    assert len(set(drawn)) == 6
    with Image.open(tmp_path / "epochs" / "cae_003.png") as image:
        about = json.loads(image.text["dae_jax"])
    assert (about["model"], about["epoch"], about["seed"]) == ("CAE", 3, 1)
