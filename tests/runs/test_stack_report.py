"""The report of a stack: the mean of its seeds, its figures, and runs without test images."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dae_jax.datasets import Dataset, Split
from dae_jax.evaluation import error_interval
from dae_jax.runs import stack_report
from dae_jax.runs.run import Member, Run
from dae_jax.settings import ladder
from dae_jax.settings.pretrain import Finetuning, Settings
from helpers import files, read_json
from small_stack import SEED


@pytest.mark.slow
def test_the_report_of_several_seeds_has_their_mean_and_standard_deviation(sweep):
    report = read_json(sweep.run / "report.json")
    assert [member["seed"] for member in report["members"]] == [SEED, SEED + 1, SEED + 2]
    errors = [member["test_error"] for member in report["members"]]
    mean = sum(errors) / 3
    deviation = (sum((error - mean) ** 2 for error in errors) / 2) ** 0.5
    assert report["test_error"] == pytest.approx({"mean": mean, "sd": deviation})
    words = f"{mean:.3%} mean, {deviation:.3%} standard deviation, 3 seeds"
    ends = " to ".join(f"{end:.2%}" for end in error_interval(round(22 * mean), 22))
    assert f"test error: {words}; 95 % interval of 22 images {ends}" in sweep.out
    assert stack_report.spread(errors) == words


def test_every_error_is_printed_with_its_interval_and_the_report_has_the_warnings(whole):
    results = read_json(whole.run / "results.json")
    for part, words in (("valid", "validation error"), ("test", "test error")):
        error = results[f"{part}_error"]
        ends = " to ".join(f"{end:.2%}" for end in error_interval(round(22 * error), 22))
        assert f"  {words} {error:.2%} of 22 images, 95 % interval {ends}" in whole.out
    assert f", the lowest, of epoch {results['best_epoch']}\n" in whole.out
    warnings = [line for line in whole.out.splitlines() if line.startswith("warning: ")]
    assert [line for line in warnings if "rests on 22 images only" in line] == warnings[:2]
    assert read_json(whole.run / "report.json")["warnings"] == warnings


def test_every_figure_has_the_settings_and_its_own_metadata(whole):
    for path in (whole.run / "figures").glob("*.png"):
        with Image.open(path) as image:
            about = json.loads(image.text["dae_jax"])
        assert (about["dataset"], about["running"]["seed"]) == ("small", SEED), path
        number = path.stem.removeprefix("filters_layer_").removesuffix("_labelled")
        assert about.get("layer") == (int(number) if number != path.stem else None)


def test_the_filters_are_one_tile_per_unit_of_the_images_size(whole):
    with Image.open(whole.run / "figures" / "filters_layer_1.png") as image:
        sheet = np.asarray(image)
    # 10 x 10 tiles of 8 x 8 pixels with gaps of 1; the last of 12 filters is in the second row
    assert sheet.shape == (89, 89)
    assert sheet[:8, :8].any() and sheet[9:17, 9:17].any() and not sheet[9:, 18:].any()


def test_figures_are_saved_under_their_names_arrays_and_diagrams_alike(tmp_path):
    from dae_jax.figures import plots

    matrix = plots.confusion_matrix([[1, 0], [1, 0]], ["a", "b"])
    drawings = [
        stack_report.Drawing("sheet", np.zeros((4, 5), np.uint8), {"layer": 2}),
        stack_report.Drawing("diagram", matrix, {}),
    ]
    paths = stack_report._save(tmp_path, drawings, {"seed": 7})
    assert [path.name for path in paths] == ["sheet.png", "diagram.png"]
    assert files(tmp_path) == {"sheet.png", "diagram.png"}
    for path, about in zip(paths, ({"seed": 7, "layer": 2}, {"seed": 7}), strict=True):
        with Image.open(path) as image:
            assert json.loads(image.text["dae_jax"]) == about


# ---- warnings --------------------------------------------------------------------------------

NONE = Split(np.zeros((0, 4), np.uint8), None)


def part(labels):
    return Split(np.zeros((len(labels), 4), np.uint8), np.asarray(labels, np.int32))


def warnings(train, valid=NONE, test=NONE, errors=(), crossed=None, settings=None):
    """The warnings of a run of one member with these errors."""
    dataset = Dataset("toy", "", train, valid, test, (2, 2), None)
    settings = Settings() if settings is None else settings
    run = Run(settings, dataset, Path("r"), [Member("seed_1", 1)], "command")
    result = {"epochs": {"finetune": 20}, **dict(errors)}
    return stack_report._warnings(run, train, [result], crossed)


MANY = part(np.arange(200) % 2)


def test_a_run_of_many_images_that_learns_is_not_warned_of():
    errors = {"valid_error": 0.1, "test_error": 0.1}
    assert warnings(MANY, MANY, MANY, errors) == []


def test_a_class_with_one_image_that_is_never_tested_is_named():
    train = part([0] * 50 + [1] * 50 + [2])
    few, rough, untested = warnings(train, test=part([0, 1] * 20), errors={"test_error": 0.0})
    assert few == (
        "warning: fewer than 5 labelled training images of 1 class, 2 (1): label more of them"
    )
    assert "test error rests on 40 images only" in rough
    assert untested == ("warning: no images to test on of 1 class, 2: the error there is unknown")


def test_an_error_at_chance_is_warned_of_with_what_to_try():
    adam = replace(Finetuning(), finetune_optimizer="adam", finetune_learning_rate=2.0)
    errors = {"test_error": 0.45}  # of 200 images, up to 52 %
    (line,) = warnings(MANY, MANY, MANY, errors, settings=replace(Settings(), finetuning=adam))
    assert line == (
        "warning: the test error is not clearly below 50.00%, that of always guessing class 0: "
        "try a lower --finetune-learning-rate, which is 2 (adam), more --finetune-epochs, which "
        "are 20, --finetune-shuffle, or more labelled images"
    )
    patient = replace(adam, finetune_epochs=30, finetune_shuffle=True)
    (line,) = warnings(MANY, MANY, MANY, errors, settings=replace(Settings(), finetuning=patient))
    assert line.endswith(
        "try a lower --finetune-learning-rate, which is 2 (adam), or more labelled images"
    )


def test_without_test_images_the_error_that_there_is_is_looked_at():
    (line,) = warnings(MANY, MANY, errors={"valid_error": 0.5})
    assert "the validation error is not clearly below 50.00%" in line
    few = part(np.arange(40) % 2)
    crossed = {"wrong": 18, "n": 40}
    settings = ladder.Settings().resolved("toy", 40)
    rough, line = warnings(few, crossed=crossed, settings=settings)
    assert "the cross-validated error rests on 40 images only" in rough
    assert line.endswith(
        f"try another --learning-rate, which is 0.002, more --epochs, which are {settings.epochs}, "
        "or more labelled images"
    )
    assert warnings(MANY) == []


def test_the_metrics_of_a_member_are_its_own():
    row = {"epoch": 3, "cost": 2.0, "costs": [1.0, 3.0], "valid_error": [0.5, 0.25], "seconds": 1}
    expected = {"epoch": 3, "cost": 3.0, "valid_error": 0.25}
    assert stack_report._of_member(row, 1) == expected
    assert stack_report._of_member({"epoch": 3, "cost": 2.0}, 0) == {"epoch": 3, "cost": 2.0}
