"""The code of docs/logging.md runs, with the real libraries where they are installed."""

import os
import re
import subprocess
import sys

import pytest

from helpers import ROOT

PAGE = (ROOT / "docs" / "logging.md").read_text()
SECTIONS = re.findall(r"^#+ ([^\n]+)\n(.*?)(?=^#+ |\Z)", PAGE, re.MULTILINE | re.DOTALL)
CODE = {title: re.findall(r"```python\n(.*?)```", text, re.DOTALL) for title, text in SECTIONS}
COMMANDS = {title: re.findall(r"^ {4}(python .*)$", text, re.MULTILINE) for title, text in SECTIONS}
START = CODE["Logging and searches"]
# The library of each section, and what has to hold after its code.
TENSORBOARD = """
from pathlib import Path
data = b"".join(path.read_bytes() for path in Path("runs/tensorboard").iterdir())
assert data.count(b"cost") == data.count(b"seconds") == 3
"""
MLFLOW = """
run = mlflow.last_active_run()
history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "cost")
assert [(metric.step, metric.value) for metric in history][-1] == (3, float(report.cost))
assert len(history) == 3
"""
WANDB = """
from pathlib import Path
wandb.teardown()  # waits until the file is written
(path,) = Path("wandb").glob("offline-run-*/*.wandb")
assert str(float(report.cost)).encode() in path.read_bytes()
"""
TRACKIO = """
from trackio.sqlite_storage import SQLiteStorage
(run,) = trackio.Api().runs("dae")
history = SQLiteStorage.get_logs("dae", run.name, run_id=run.id)
assert [row["step"] for row in history] == [1, 2, 3]
assert history[-1]["cost"] == float(report.cost)
"""
CHECKS = {
    "TensorBoard": ("tensorboardX", TENSORBOARD),
    "Weights & Biases": ("wandb", WANDB),
    "MLflow": ("mlflow", MLFLOW),
    "trackio": ("trackio", TRACKIO),
    "A sweep": ("numpy", "assert report.cost.shape == (2,)"),
    "A run of a command": ("numpy", "assert set(values) == {'cost', 'valid_cost', 'seconds'}"),
    "Optuna": ("optuna", "assert study.best_value < np.std(valid) / 2"),
    "GridSearchCV": ("sklearn", "assert search.best_score_ > 0.85"),
}


def test_every_section_with_code_is_checked():
    assert [title for title, blocks in CODE.items() if blocks][1:] == list(CHECKS)


@pytest.mark.slow
@pytest.mark.parametrize("title", CHECKS)
def test_the_code_of_the_section_runs(title, tmp_path):
    library, check = CHECKS[title]
    pytest.importorskip(library)
    # A process of its own: these libraries start threads, and warn of much else.
    own = {"MLFLOW_DISABLE_TELEMETRY": "true", "TRACKIO_DIR": str(tmp_path / "trackio")}
    how = dict(cwd=tmp_path, env=os.environ | own, capture_output=True, text=True, timeout=300)
    for command in COMMANDS[title]:
        subprocess.run([sys.executable, *command.split()[1:]], check=True, **how)
    code = "\n".join([*START, *CODE[title], check])
    done = subprocess.run([sys.executable, "-c", code], **how)
    assert done.returncode == 0, done.stderr
