"""The report of a stack: the mean of its seeds, its figures, and runs without test images."""

import json

import numpy as np
import pytest
from PIL import Image

from dae_jax.runs import stack_report
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
    assert f"test error: {words}" in sweep.out and stack_report.spread(errors) == words


def test_every_figure_has_the_settings_and_its_own_metadata(whole):
    for path in (whole.run / "figures").glob("*.png"):
        with Image.open(path) as image:
            about = json.loads(image.text["dae_jax"])
        assert (about["dataset"], about["running"]["seed"]) == ("small", SEED), path
        number = path.stem.removeprefix("filters_layer_")
        assert about.get("layer") == (int(number) if number != path.stem else None)


def test_the_filters_are_one_tile_per_unit_of_the_images_size(whole):
    with Image.open(whole.run / "figures" / "filters_layer_1.png") as image:
        sheet = np.asarray(image)
    # 10 x 10 tiles of 8 x 8 pixels with gaps of 1; the last of 12 filters is in the second row
    assert sheet.shape == (89, 89)
    assert sheet[:8, :8].any() and sheet[9:17, 9:17].any() and not sheet[9:, 18:].any()


def test_figures_are_saved_under_their_names_arrays_and_diagrams_alike(tmp_path):
    from dae_jax.figures import plots

    matrix = plots.confusion_matrix(np.array([0, 1]), np.array([0, 0]), ["a", "b"])
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


def test_the_metrics_of_a_member_are_its_own():
    row = {"epoch": 3, "cost": 2.0, "costs": [1.0, 3.0], "valid_error": [0.5, 0.25], "seconds": 1}
    expected = {"epoch": 3, "cost": 3.0, "valid_error": 0.25}
    assert stack_report._of_member(row, 1) == expected
    assert stack_report._of_member({"epoch": 3, "cost": 2.0}, 0) == {"epoch": 3, "cost": 2.0}
