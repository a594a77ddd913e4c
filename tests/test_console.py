"""Shared behaviour of the commands: statuses, one line for errors, progress, Ctrl-C, start-up."""

import os
import signal
import subprocess
import sys

import jax
import pytest

from dae_jax import console
from dae_jax.errors import InputError
from helpers import ROOT, assert_one_line, files


def failing(error):
    def main(argv):
        raise error

    return main


def test_the_exit_status_is_mains_or_0(capsys):
    assert console.run(lambda argv: None, []) == 0
    assert console.run(lambda argv: 130, []) == 130
    assert console.run(lambda argv: len(argv), ["a", "b"]) == 2
    assert capsys.readouterr() == ("", "")


def test_errors_are_one_line_without_a_traceback(capsys):
    assert console.run(failing(InputError("a", got=1)), []) == 2
    assert capsys.readouterr() == ("", "error: a: got 1\n")
    assert console.run(failing(KeyboardInterrupt()), []) == 130
    assert capsys.readouterr() == ("", "interrupted\n")


def process(*argv, **how):
    """Run Python in the checkout; its standard error is captured."""
    how.setdefault("stdout", subprocess.PIPE)
    command = [sys.executable, *argv]
    return subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, timeout=60, **how)


def test_output_that_nobody_reads_is_no_error():
    command = f"{sys.executable} -m dae_jax train --help; echo status $? >&2"
    done = subprocess.run(
        ["sh", "-c", f"({command}) | true"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.stderr in ("status 141\n", "status 0\n")  # 0 if it was faster than the reader


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], []])
def test_a_full_device_behind_the_output_is_one_line(words):
    with open("/dev/full", "w") as full:
        done = process("-m", "dae_jax", *words, stdout=full)
    assert done.returncode == 2
    assert_one_line(done.stderr, "cannot write", "No space left on device")


def test_control_characters_are_shown_as_escapes_on_both_streams(capsys):
    def main(argv):
        print("a\x1b[31m\u202e", "b\x9b", "tab\tend")
        print("c\x07", "d\udc80", file=sys.stderr)
        raise InputError("e\x1b", got="f\r\ng")

    assert console.run(main, []) == 2
    out, err = capsys.readouterr()
    assert out == "a\\x1b[31m\\u202e b\\x9b tab\tend\n"
    assert err == "c\\x07 d\\x80\nerror: e\\x1b: got f g\n"


@pytest.mark.parametrize(
    "error", [MemoryError(), MemoryError("9 GiB"), RuntimeError("RESOURCE_EXHAUSTED: of 9 bytes")]
)
def test_without_memory_there_is_one_line(error, capsys):
    assert console.run(failing(error), []) == 2
    assert_one_line(capsys.readouterr().err, "out of memory", "smaller")


@pytest.mark.parametrize("error", [InputError("a"), KeyboardInterrupt()])
def test_debug_keeps_the_traceback(error):
    with pytest.raises(type(error)):
        console.run(failing(error), ["--debug"])


def test_other_errors_are_bugs_and_keep_their_traceback():
    with pytest.raises(ZeroDivisionError):
        console.run(failing(ZeroDivisionError()), [])


def test_without_arguments_those_of_the_process_are_used(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["dae-jax", "--flag"])
    assert console.run(lambda argv: {"--flag": 3}[argv[0]]) == 3


# ---- progress --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("epochs", "shown"),
    [(3, [1, 2, 3]), (40, list(range(2, 41, 2))), (41, [*range(2, 41, 2), 41])],
)
def test_progress_is_about_twenty_plain_lines(capsys, epochs, shown):
    with console.Progress(epochs, title="layer 1") as progress:
        for epoch in range(1, epochs + 1):
            progress.show(epoch, "cost 2", 12345.6, 7.8)
    lines = [f"layer 1, epoch {i}/{epochs}  cost 2  12,346 images/s  8 s left" for i in shown]
    assert capsys.readouterr().out.splitlines() == lines


def test_quiet_progress_prints_nothing(capsys):
    with console.Progress(3, title="layer 1", quiet=True) as progress:
        progress.show(3, "cost 2", 12345.6, 7.8)
    assert capsys.readouterr().out == ""


def test_progress_in_a_terminal_is_a_bar(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with console.Progress(40, start=3) as progress:
        progress.show(40, "cost 2", 10.0, 0.0)
    out = capsys.readouterr().out
    assert "40/40" in out and "cost 2" in out and "epoch 1/" not in out


# ---- Ctrl-C ----------------------------------------------------------------------------------


def test_the_first_ctrl_c_sets_a_flag_and_the_second_interrupts(capsys):
    before = signal.getsignal(signal.SIGINT)
    with console.interruptible() as pressed:
        assert not pressed()
        signal.raise_signal(signal.SIGINT)
        assert pressed() and not capsys.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_sigterm_is_heeded_like_ctrl_c_and_has_a_status_of_its_own():
    def main(argv):
        with console.interruptible() as pressed:
            signal.raise_signal(signal.SIGTERM)
            return 130 if pressed() else 0

    before = signal.getsignal(signal.SIGTERM)
    assert console.run(main, []) == 143
    assert signal.getsignal(signal.SIGTERM) is before
    assert console.run(lambda argv: 130, []) == 130


SLOW_IMPORT = """
import os, signal, sys, time
class Finder:
    def find_spec(self, name, *_):
        if name == "optax":  # a library's import that is interrupted, and hides exceptions
            try:
                os.kill(os.getpid(), signal.{name})
                time.sleep(5)
            except BaseException:
                pass
sys.meta_path.insert(0, Finder())
sys.argv = ["train.py", "--data", "digits", "--epochs", "1"]
from dae_jax import console
sys.exit(console.cli("train"))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_during_the_imports_is_one_line(here, name, status):
    done = process("-c", SLOW_IMPORT.format(name=name), env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert (done.returncode, done.stderr, done.stdout) == (status, "interrupted\n", "")
    assert not files(here)


LIBRARIES = """
import logging, sys, threading, warnings
from dae_jax import console
def main(argv):
    warnings.warn("a warning")
    logging.getLogger("absl").error("an error")
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()
    class Bad:
        def __del__(self):
            raise RuntimeError("ignored")
    Bad()
    raise console.InputError("the line")
sys.modules["dae_jax.toy"] = type(sys)("toy")
sys.modules["dae_jax.toy"].main = main
sys.exit(console.cli("toy"))
"""


@pytest.mark.slow
def test_libraries_write_nothing_beside_the_one_line():
    done = process("-c", LIBRARIES)
    assert (done.returncode, done.stderr) == (2, "error: the line\n")
    loud = process("-c", LIBRARIES, "--debug")
    assert loud.returncode == 1 and "a warning" in loud.stderr and "an error" in loud.stderr


AT_EXIT = """
import os, signal, sys
from dae_jax import console
class Late:
    def __del__(self):  # late in Python's exit
        os.kill(os.getpid(), signal.{name})
sys.modules["dae_jax.toy"] = type(sys)("toy")
sys.modules["dae_jax.toy"].main = lambda argv: 3
status = console.cli("toy")
late = Late()
late.itself = late
sys.exit(status)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_when_all_is_done_changes_nothing(name):
    done = process("-c", AT_EXIT.format(name=name))
    assert (done.returncode, done.stderr) == (3, "")


# ---- the machine -----------------------------------------------------------------------------

CPUINFO = "processor\t: 0\nmodel name\t: A Chip: 3 GHz\nprocessor\t: 1\nmodel name\t: Another\n"


@pytest.fixture
def cpuinfo(monkeypatch):
    """Give /proc/cpuinfo another content; None for no such file."""

    def give(content):
        def read_text(path, *args, **how):
            assert str(path) == "/proc/cpuinfo"
            if content is None:
                raise FileNotFoundError(path)
            return content

        monkeypatch.setattr(console.Path, "read_text", read_text)

    return give


def test_the_processor_is_named_as_linux_names_it(cpuinfo):
    cpuinfo(CPUINFO)
    assert console.processor() == "A Chip: 3 GHz"


@pytest.mark.parametrize("content", [None, "", "Hardware: a board\n"])
def test_the_processor_has_the_name_that_python_knows_elsewhere(cpuinfo, monkeypatch, content):
    cpuinfo(content)
    monkeypatch.setattr(console.platform, "processor", lambda: "arm")
    assert console.processor() == "arm"
    monkeypatch.setattr(console.platform, "processor", lambda: "")
    monkeypatch.setattr(console.platform, "machine", lambda: "aarch64")
    assert console.processor() == "aarch64"


def test_the_processor_here_has_a_name_of_one_line():
    assert console.processor() and "\n" not in console.processor()


# ---- JAX -------------------------------------------------------------------------------------


@pytest.fixture
def _restored_config():
    names = ("jax_enable_x64", "jax_default_matmul_precision", "jax_compilation_cache_dir")
    before = {name: jax.config.values[name] for name in names}
    yield
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.mark.usefixtures("_restored_config")
def test_precision_is_that_of_products_or_of_everything():
    console.set_up_jax("bfloat16", 1)
    assert jax.config.values["jax_default_matmul_precision"] == "bfloat16"
    assert not jax.config.values["jax_enable_x64"]
    console.set_up_jax("float64", 1)
    assert jax.config.values["jax_enable_x64"]


@pytest.mark.usefixtures("_restored_config")
def test_compiled_programs_are_cached_in_the_users_cache_unless_told_otherwise(tmp_path):
    jax.config.update("jax_compilation_cache_dir", None)
    console.set_up_jax("float32", 3)
    cache = os.path.join(os.environ["XDG_CACHE_HOME"], "dae_jax", "xla")
    assert jax.config.values["jax_compilation_cache_dir"] == cache
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    console.set_up_jax("float32", 1)
    assert jax.config.values["jax_compilation_cache_dir"] == str(tmp_path)


@pytest.mark.slow
def test_help_and_wrong_flags_do_not_wait_for_jax():
    code = (
        "import sys\n"
        "from dae_jax import console, predict, pretrain, reproduce, train, transform\n"
        "for module in (predict, pretrain, reproduce, train, transform):\n"
        "    assert console.run(module.main, ['--no-such-flag']) == 2\n"
        "    try:\n"
        "        console.run(module.main, ['--help'])\n"
        "    except SystemExit as stop:\n"
        "        assert stop.code == 0\n"
        "assert not {'jax', 'optax', 'matplotlib', 'sklearn'} & set(sys.modules)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=60)
