"""Run directories: opened once, resumed with the same command, read by other commands."""

import dataclasses
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from dae_jax import datasets
from dae_jax.datasets import Dataset, Split, mnist
from dae_jax.errors import InputError
from dae_jax.runs import run as runs
from dae_jax.runs.run import Member
from dae_jax.settings import pretrain, shared, train
from helpers import ROOT, files, refused

PART = Split(np.zeros((4, 9), np.uint8), None)
TOY = Dataset("toy", "here", PART, PART, PART, (3, 3), None)
ONE, TWO = [Member("seed_1", 1)], [Member("seed_1", 1), Member("seed_2", 2)]


def settings(**output):
    resolved = train.Settings().resolved("toy", 4)
    return dataclasses.replace(resolved, output=train.Output(**output))


@pytest.mark.usefixtures("here")
def test_a_run_records_its_settings_and_its_command():
    run = runs.open_run(settings(run_dir="r"), TOY, TWO, "python -m it --flag")
    assert files("r") == {"config.json", "command.txt"}
    assert shared.from_json(train.Settings, shared.read_record("r")) == run.settings
    assert Path("r/command.txt").read_text() == "python -m it --flag\n"
    assert (run.command, run.pixel_scale) == ("python -m it --flag", 255)
    assert run.about["dataset"] == "toy" and run.about["model"]["n_hidden"] == 500
    json.dumps(run.about)


@pytest.mark.usefixtures("here")
def test_a_resumed_run_keeps_the_command_that_began_it():
    with runs.open_run(settings(run_dir="r"), TOY, ONE, "the first"):
        pass
    refused(lambda: runs.open_run(settings(run_dir="r"), TOY, ONE, "the second"), "--resume")
    with runs.open_run(settings(run_dir="r", resume=True), TOY, ONE, "the second") as run:
        pass
    assert run.command == "the first" and Path("r/command.txt").read_text() == "the first\n"
    # a run directory of version 0.1.0 has no such file if it is of a dA
    Path("r/command.txt").unlink()
    assert runs.open_run(settings(run_dir="r", resume=True), TOY, ONE, "now").command == "now"


@pytest.mark.usefixtures("here")
def test_a_run_that_is_refused_leaves_the_note_of_its_owner_alone():
    with runs.open_run(settings(run_dir="r"), TOY, ONE, "it"):
        pass
    Path("r/.owner").write_text("process 1 on another machine")
    refused(lambda: runs.open_run(settings(run_dir="r"), TOY, ONE, "it"), "--resume")
    assert Path("r/.owner").read_text() == "process 1 on another machine"


@pytest.mark.usefixtures("here")
def test_an_owner_that_has_not_noted_its_name_yet_is_waited_for():
    Path("r").mkdir()
    with FileLock("r/.lock"):
        later = threading.Timer(0.2, lambda: Path("r/.owner").write_text("process 7 on mars\n"))
        later.start()
        refused(lambda: runs.claim(Path("r")), "r is in use by process 7 on mars; wait until")
        later.join()


OWNER = """
import sys, time
from pathlib import Path
from dae_jax.runs import run
lock = run.claim(Path("r"))
print("mine", flush=True)
time.sleep(60)
"""


@pytest.mark.slow
def test_a_run_directory_has_one_owner_and_is_free_when_that_dies(here):
    Path("r").mkdir()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", OWNER]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None and owner.stdout.readline() == "mine\n"
        refused(
            lambda: runs.open_run(settings(run_dir="r"), TOY, ONE, "it"),
            "r is in use by process",
            str(owner.pid),
            "choose another folder",
        )
        assert not files("r")
        owner.kill()
    with runs.open_run(settings(run_dir="r"), TOY, ONE, "it") as run:
        assert run.claim is not None and run.claim.lock.is_locked
        refused(lambda: runs.claim(Path("r")), f"process {os.getpid()}")
    runs.claim(Path("r")).lock.release()
    runs.claim(Path("r")).give_back()
    assert files("r") == {"config.json", "command.txt"}
    Path("old").mkdir()
    runs.claim(Path("old/new/er")).give_back()
    assert not list(Path("old").iterdir())


@pytest.mark.usefixtures("here")
def test_a_run_that_was_killed_in_its_first_write_begins_again(capsys):
    argv = ["--run-dir", "r", "--resume"]
    for names in ([".lock", ".owner"], [".command.txt.0123abcd.tmp"], ["command.txt"]):
        Path("r").mkdir(exist_ok=True)
        for name in names:
            Path("r", name).write_text("")
        shared.resumed(shared.parse(train.Settings, argv), argv, may_grow="epochs")
        assert "starting from the beginning" in capsys.readouterr().out
    Path("r/command.txt").unlink()
    command = "python -m it --resume --run-dir r"
    with runs.open_run(settings(run_dir="r", resume=True), TOY, ONE, command) as run:
        assert run.command == "python -m it --run-dir r"
    assert files("r") == {"config.json", "command.txt"}


@pytest.mark.usefixtures("here")
def test_a_run_directory_that_is_none_is_one_line():
    Path("file.txt").write_text("mine")
    long = "x" * 300
    for name in ("file.txt", long):
        refused(lambda name=name: runs.open_run(settings(run_dir=name), TOY, ONE, ""), name[:99])
    argv = ["--run-dir", "file.txt", "--resume"]
    requested = shared.parse(train.Settings, argv)
    refused(lambda: shared.resumed(requested, argv, may_grow="epochs"), "file.txt holds no run")
    refused(lambda: shared.check_run_dir(train.Output(run_dir="")), "--run-dir", "an empty one")
    assert Path("file.txt").read_text() == "mine"


@pytest.mark.usefixtures("here")
def test_what_there_is_to_say_about_the_data_is_printed(capsys):
    runs.open_run(settings(), TOY._replace(notices=("one line", "another")), ONE, "")
    assert capsys.readouterr().out == "one line\nanother\n"


@pytest.mark.usefixtures("here")
def test_without_a_folder_a_new_one_is_made_in_runs_each_time():
    folders = [runs.open_run(settings(), TOY, ONE, "").folder for _ in range(3)]
    assert len(set(folders)) == 3
    assert all(re.fullmatch(r"runs/\d{8}-\d{6}(-\d)?", str(folder)) for folder in folders)


@pytest.mark.usefixtures("here")
def test_a_single_member_lives_in_the_run_directory_and_several_below_it():
    one = runs.open_run(settings(run_dir="one"), TOY, ONE, "")
    two = runs.open_run(settings(run_dir="two"), TOY, TWO, "")
    assert one.member_folder(0) == Path("one")
    assert [two.member_folder(i) for i in (0, 1)] == [Path("two/seed_1"), Path("two/seed_2")]
    place = two.place("layer 1", two.folder / "layer_1")
    assert (place.title, place.folder, place.resume) == ("layer 1", Path("two/layer_1"), False)
    assert place.command == "python -m dae_jax.train --resume --run-dir two"


@pytest.mark.usefixtures("here")
def test_files_count_as_finished_only_in_a_run_that_is_resumed():
    with runs.open_run(settings(run_dir="r"), TOY, ONE, "") as run:
        file = run.folder / "model"
        file.write_text("")
        assert not run.finished(file)
    run = runs.open_run(settings(run_dir="r", resume=True), TOY, ONE, "")
    assert run.finished(file) and not run.finished(file, run.folder / "other")


@pytest.mark.usefixtures("here")
def test_a_changed_configuration_is_refused_and_one_of_an_earlier_version_is_read():
    with runs.open_run(settings(run_dir="r"), TOY, ONE, "") as run:
        pass
    path, content = Path("r/config.json"), Path("r/config.json").read_text()
    assert shared.from_json(train.Settings, shared.read_record("r")) == run.settings
    path.write_text(content.replace('"n_hidden": 500', '"n_hidden": 501'))
    refused(lambda: shared.read_record("r"), "r/config.json", "sha256", "another run directory")
    path.write_text(json.dumps(shared.to_json(run.settings)))
    assert shared.from_json(train.Settings, shared.read_record("r")) == run.settings


@pytest.mark.usefixtures("here")
def test_settings_are_read_whatever_command_wrote_them():
    for kind in (train.Settings, pretrain.Settings):
        Path("config.json").write_text(json.dumps(shared.to_json(kind())))
        assert runs.read_settings(Path()) == kind()
    for content in ("{", "{}", '{"data": 1}'):
        Path("config.json").write_text(content)
        assert runs.read_settings(Path()) is None
    assert runs.read_settings(Path("nowhere")) is None


@pytest.mark.usefixtures("here")
def test_without_a_name_mnist_is_loaded_or_its_sample_and_this_is_said(monkeypatch, capsys):
    def unavailable():
        raise mnist.UnavailableError("MNIST")

    monkeypatch.setattr(mnist, "read_mnist", unavailable)
    dataset, instead = runs.load_data(shared.Data())
    assert dataset.name == "mnist-sample" and instead
    assert "MNIST is unavailable: training on mnist-sample" in capsys.readouterr().out
    np.savez("own.npz", x=np.arange(90).reshape(10, 9))
    dataset, instead = runs.load_data(shared.Data("own.npz", valid_fraction=0.2))
    assert (dataset.name, len(dataset.valid.images), instead) == ("own", 2, False)
    assert not capsys.readouterr().out
    with pytest.raises(InputError, match="leave --grey out"):
        runs.load_data(shared.Data("own.npz", grey=True))
    same = datasets.load("own.npz", valid_fraction=0.2)
    np.testing.assert_array_equal(dataset.train.images, same.train.images)
