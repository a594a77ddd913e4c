"""The setting of every test: strict dtypes, checked shapes, two devices; and shared fixtures."""

import mimetypes
import os
import platform
import re
import shutil
import signal
from importlib.metadata import version

# Before JAX is imported: the tests of sweeps need more than one device, on any machine.
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=2")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Before NumPy is: for arrays as small as here, threads of BLAS cost more time than they save.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from jaxtyping import install_import_hook

# Shapes in public signatures are checked here, and cost nothing anywhere else.
HOOK = install_import_hook("dae_jax", "typechecking.checked")

from collections.abc import Callable, Iterator  # noqa: E402
from pathlib import Path  # noqa: E402
from types import SimpleNamespace  # noqa: E402
from typing import NamedTuple  # noqa: E402

import jax  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402

import small_stack  # noqa: E402
import trained_models  # noqa: E402

# The thousands of small files need not survive a power failure, and waiting for the disk is slow.
os.fsync = lambda _: None

jax.config.update("jax_debug_key_reuse", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")


def pytest_report_header() -> str:
    """The versions that the tests run with: a failure often belongs to one of them."""
    names = ["jax", "jaxlib", "numpy", "scipy", "flax", "optax", "orbax-checkpoint", "scikit-learn"]
    return f"Python {platform.python_version()}, " + ", ".join(f"{n} {version(n)}" for n in names)


def pytest_configure(config: pytest.Config) -> None:
    """Keep compiled programs from run to run, and share them with the processes of the tests.

    Most of the time of the tests is compilation. ``pytest --cache-clear`` removes the programs.
    """
    if config.option.markexpr == "not slow":
        # The fast tests compile in less time; the whole suite compiles as users do.
        jax.config.update("jax_disable_most_optimizations", True)
    if (cache := getattr(config, "cache", None)) is None:  # -p no:cacheprovider
        return
    settings = {
        "jax_compilation_cache_dir": str(cache.mkdir("jax")),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
    }
    for name, value in settings.items():
        os.environ.setdefault(name.upper(), str(value))
        jax.config.update(name, type(value)(os.environ[name.upper()]))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the user's cache alone; the tests share one, which keeps the parsed sample."""
    cache = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c() -> None:
    """Heed Ctrl-C, which a shell makes the processes in its background ignore."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module", autouse=True)
def _compiled_programs() -> Iterator[None]:
    """Release the compiled programs of each file of tests, which take gigabytes together."""
    yield
    jax.clear_caches()


@pytest.fixture
def standard_promotion() -> Iterator[None]:
    """JAX's own promotion: Optax's Adam and schedules mix integer step counts with floats."""
    with jax.numpy_dtype_promotion("standard"):
        yield


# ---- commands in this process ---------------------------------------------------------------


class Called(NamedTuple):
    """The exit status of a command, and what it wrote to stdout and stderr."""

    status: int
    out: str
    err: str


Call = Callable[..., Called]


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str]) -> Call:
    """Call a command in this process: ``call(main, *argv)``."""
    from dae_jax import console

    def call(main: Callable, *argv: object) -> Called:
        capfd.readouterr()
        status = console.run(main, [str(word) for word in argv])
        return Called(status, *capfd.readouterr())

    return call


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and no MNIST."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DAE_JAX_DATA", raising=False)
    return tmp_path


@pytest.fixture
def train_small(here: Path, call: Call) -> Call:
    """Call ``train`` for a small dA on ``small.npz``: 59 training images of 8 x 8."""
    from dae_jax import train

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (75, 64), np.uint8)
    np.savez("small.npz", x=images, y=rng.integers(0, 3, 75))

    def train_small(
        *argv: str,
        data: str | None = "small.npz",
        size: tuple[str, ...] = ("--n-hidden", "16", "--epochs", "3"),
    ) -> Called:
        return call(train.main, *(["--data", data] if data else []), *size, *argv)

    return train_small


@pytest.fixture
def pretrain_call(here: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Call ``pretrain`` beside ``small.npz``; it draws nothing, which would take the most time."""
    from dae_jax import pretrain
    from dae_jax.runs import stack_report

    monkeypatch.setattr(stack_report, "_save", lambda *_: [])
    monkeypatch.setattr(stack_report, "_baselines", lambda *_: [])
    small_stack.write_data()
    return lambda *argv: call(pretrain.main, *argv)


@pytest.fixture
def pretrain_small(pretrain_call: Call) -> Call:
    """Call ``pretrain`` for the small stack, in the run directory r; further flags win."""
    return lambda *argv: pretrain_call(*small_stack.FLAGS, "--run-dir", "r", *argv)


# ---- models that are trained once for all tests ---------------------------------------------


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The run of the small stack, never interrupted."""
    return small_stack.trained(tmp_path_factory)


@pytest.fixture(scope="session")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The run of the small stack with three seeds, one more than there are devices."""
    from dae_jax.runs import stack_report

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stack_report, "_save", lambda *_: [])
        return small_stack.trained(tmp_path_factory, "--seeds", "3")


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two stacks and a dA, and the data they were trained on."""
    return trained_models.train(tmp_path_factory)


@pytest.fixture
def models_here(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory with links to the trained models and their data."""
    for path in models.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a stack and a dA that were trained on real digits, and with other digits."""
    return trained_models.train_on_digits(tmp_path_factory)


@pytest.fixture
def digits_here(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory with links to the runs and the digits of `digits`."""
    for name in ("runs", "new_images.npy"):
        (tmp_path / name).symlink_to(digits / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


# ---- a real browser ---------------------------------------------------------------------------

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    if not CHROMIUM:
        pytest.skip("Chromium is not installed")
    with playwright.sync_playwright() as driver:
        options = ["--no-sandbox", "--disable-dev-shm-usage"]
        try:
            browser = driver.chromium.launch(executable_path=CHROMIUM, args=options)
        except playwright.Error as error:
            pytest.skip(f"Chromium does not start: {str(error).splitlines()[0]}")
        yield browser
        browser.close()


@pytest.fixture
def open_html(browser):
    """A function that opens HTML as a page of the site at a width, at a place if one is given."""
    pages = []

    def opened(html, width=1280, lost="", place="", **how):
        def serve(route):
            path = route.request.url.removeprefix("http://site/")
            if path == "tutorials/page.html":
                return route.fulfill(body=html, content_type="text/html")
            file = Path(__file__).parent.parent / "docs" / path
            kind = "text/javascript" if file.suffix == ".js" else mimetypes.guess_type(file)[0]
            return route.fulfill(body=file.read_bytes(), content_type=kind or "image/webp")

        page = browser.new_page(viewport={"width": width, "height": 1000}, **how)
        page.route("http://site/**", serve)
        if lost:
            page.route(f"**/{lost}", lambda route: route.abort())
        page.goto(f"http://site/tutorials/page.html{place}")
        pages.append(page)
        return page

    yield opened
    for page in pages:
        page.close()


@pytest.fixture
def open_part(open_html):
    """A function that opens a part of a tutorial, without the site's frame, at a width.

    The part is the raw HTML from its stylesheet to its script, `_static/<name>/`, with the picture
    that stands there without JavaScript.
    """

    def opened(tutorial, name, width=1280, **how):
        (part,) = re.findall(rf"<link [^>]*{name}/\w+\.css\">.*?</script>", tutorial, re.S)
        picture = rf'<img alt="\1" src="../_static/{name}/contact.webp">'
        part, n = re.subn(r"!\[(.*?)\]\((.*?)\)", picture, part)
        assert n == 1
        meta = '<link rel="icon" href="data:,"><meta name="viewport" content="width=device-width">'
        html = f'<!doctype html><html lang="en"><meta charset="utf-8">{meta}{part}</html>'
        return open_html(html, width, **how)

    return opened
