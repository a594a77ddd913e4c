"""What holds in every test: strict dtypes, no implicit rank promotion surprises, checked shapes."""

import os

# Before JAX is imported: the sweep's tests want more than one device, on any machine.
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=2")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from jaxtyping import install_import_hook

# Shapes in public signatures are checked here, and cost nothing anywhere else.
HOOK = install_import_hook("dae_jax", "typechecking.checked")

import jax  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_debug_key_reuse", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's cache is not a test's business; one for all tests keeps the parsed sample."""
    cache = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
