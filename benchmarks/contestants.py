"""The contestants for the dA, and code that those for other models share.

`dae_jax`; PyTorch's autograd, perhaps compiled; PyTorch by hand, in place; bare matrix products.
Each is ``contestant(folder, batch, ...) -> epoch``, and reads images.npy and W.npy in the folder.
JAX and PyTorch are imported where they are used: a worker needs one of them, their parent neither.
"""

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from turns import Epoch, Row

from dae_jax import console

LEVEL, RATE = 0.3, 0.1


def dae_jax(
    folder: Path,
    batch: int,
    level: float = LEVEL,
    levels: Sequence[float] = (),
    hidden: int | None = None,
    images: int | None = None,
    epochs: int = 1,
    **_: Any,
) -> Epoch:
    """`training.fit` of `denoising_cost`.

    Args:
        folder: The folder of images.npy and W.npy.
        batch: Images per minibatch.
        level: Corruption level.
        levels: The levels of a sweep, instead of `level`.
        hidden: Number of hidden units, with the tutorial's weights; that of W.npy if None.
        images: Number of images; all of them if None.
        epochs: Epochs per turn.
    """
    import jax

    from dae_jax import autoencoder, training

    levels = levels or [level]
    console.set_up_jax("float32", len(levels))
    optimizer = training.optimiser("sgd", RATE)
    data = np.load(folder / "images.npy")[:images]
    W = np.load(folder / "W.npy")
    if hidden:
        W = autoencoder.init_tutorial(123, len(W), hidden).W

    def begin(level: float) -> Any:
        cost = training.bind(autoencoder.denoising_cost, level=level, pixel_scale=255)
        params = autoencoder.init_tutorial(123, *W.shape, W=W)
        return cost, training.start_state(params, optimizer), jax.random.key(123)

    members = [begin(level) for level in levels]
    start = training.stack(members) if len(members) > 1 else members[0]
    how: Any = {"optimizer": optimizer, "epochs": sys.maxsize, "batch_size": batch}
    reports = training.fit(start[0], start[1], data, start[2], **how)
    # A report has waited for the device. The first level of a sweep is that of the single run.
    return lambda: [next(reports).cost.reshape(-1)[0].item() for _ in range(epochs)][-1]


def load_torch(folder: Path, batch: int, device: str) -> tuple[Any, list[Any]]:
    """PyTorch, and the minibatches on its device."""
    if importlib.util.find_spec("torch") is None:
        raise RuntimeError('no PyTorch here: pip install ".[bench]"')
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise RuntimeError("this PyTorch finds no CUDA")
    torch.manual_seed(123)
    data = torch.from_numpy(np.load(folder / "images.npy")).to(device)
    data = data[: len(data) // batch * batch]
    # Floats once and for all: four times the memory of dae_jax's bytes, and less work per step.
    return torch, list((data if data.is_floating_point() else data.float() / 255).split(batch))


def learn(
    torch: Any,
    loss: Callable[..., Any],
    params: list[Any],
    batches: Any,
    compiled: bool,
    optimizer: Any = None,
) -> Epoch:
    """Idiomatic PyTorch, without needless waits or copies; perhaps with the loss compiled."""
    if optimizer is None:
        optimizer = torch.optim.SGD(params, lr=RATE, fused=True)  # foreach is no faster
    if compiled:
        compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
        if not shutil.which(compiler):
            raise RuntimeError(f"torch.compile needs a C++ compiler, and there is no {compiler}")
        loss = torch.compile(loss)

    def epoch() -> float:
        total = torch.zeros((), device=params[0].device)
        for batch in batches:
            optimizer.zero_grad(set_to_none=True)
            cost = loss(*batch)
            cost.backward()
            optimizer.step()
            total += cost.detach()
        return total.item() / len(batches)  # the only wait for the device

    return epoch


def autograd(
    folder: Path, batch: int, device: str, level: float = LEVEL, compiled: bool = False, **_: Any
) -> Epoch:
    """The dA in idiomatic PyTorch."""
    torch, batches = load_torch(folder, batch, device)
    nn = torch.nn.functional
    # (hidden, visible), as nn.Linear keeps it
    W = torch.from_numpy(np.load(folder / "W.npy").T.copy()).to(device).requires_grad_()
    b, b_prime = (torch.zeros(n, device=device, requires_grad=True) for n in W.shape)

    def loss(x: Any) -> Any:
        mask = torch.empty_like(x).bernoulli_(1 - level)
        y = torch.sigmoid(nn.linear(x * mask, W, b))
        a = nn.linear(y, W.T, b_prime)
        return nn.binary_cross_entropy_with_logits(a, x, reduction="sum") / batch

    return learn(torch, loss, [W, b, b_prime], [(x,) for x in batches], compiled)


def repeat(
    torch: Any,
    step: Callable[..., None],
    params: list[Any],
    batches: list[Any],
    total: Any,
    graph: bool,
) -> Epoch:
    """Epochs of a `step` that updates `params` in place and adds its cost to `total`.

    Args:
        torch: PyTorch.
        step: ``step(*batch)``.
        params: The parameters, which it updates.
        batches: Tuples of tensors.
        total: A scalar tensor.
        graph: Whether to record the step as a CUDA graph.
    """
    replay, now = None, [part.clone() for part in batches[0]]
    if graph:
        first = [param.clone() for param in params]
        replay = graphed(torch, torch.inference_mode()(partial(step, *now)))
        for param, value in zip(params, first, strict=True):
            param.copy_(value)  # undo the run that recorded the graph

    @torch.inference_mode()
    def epoch() -> float:
        total.zero_()
        for batch in batches:
            if replay:
                for part, value in zip(now, batch, strict=True):
                    part.copy_(value)
                replay()
            else:
                step(*batch)
        return total.item() / len(batches)

    return epoch


def in_place(
    folder: Path, batch: int, device: str, level: float = LEVEL, graph: bool = False, **_: Any
) -> Epoch:
    """The best PyTorch we could write: gradients by hand, preallocated buffers, updates in place.

    The gradient of W has two parts, x_tilde^T dh and da^T y. They are one product of stacked
    factors, whose halves are the buffers that the step works in.
    """
    torch, batches = load_torch(folder, batch, device)
    W = torch.from_numpy(np.load(folder / "W.npy")).to(device)
    n_visible, n_hidden = W.shape
    new = partial(torch.zeros, device=device)
    b, b_prime, total = new(n_hidden), new(n_visible), new(())
    left, right = new(2 * batch, n_visible), new(2 * batch, n_hidden)
    (x_tilde, da), (dh, y) = left.split(batch), right.split(batch)
    mask, a, log_z = (new(batch, n_visible) for _ in range(3))
    dy, rate = new(batch, n_hidden), -RATE / batch

    def step(x: Any) -> None:
        torch.mul(x, mask.bernoulli_(1 - level), out=x_tilde)
        torch.addmm(b, x_tilde, W, out=y).sigmoid_()
        torch.addmm(b_prime, y, W.T, out=a)
        torch.sigmoid(a, out=da)
        torch.log(da, out=log_z).sub_(a).addcmul_(x, a)  # cost: (1 - x) a - log z, summed
        total.sub_(log_z.sum(), alpha=1 / batch)
        da.sub_(x)
        torch.mm(da, W, out=dy)
        torch.mul(y, y, out=dh)
        torch.sub(y, dh, out=dh).mul_(dy)
        W.addmm_(left.T, right, alpha=rate)
        b.add_(dh.sum(0), alpha=rate)
        b_prime.add_(da.sum(0), alpha=rate)

    return repeat(torch, step, [W, b, b_prime], [(x,) for x in batches], total, graph)


def graphed(torch: Any, step: Callable[[], Any]) -> Callable[[], None]:
    """`step` as one CUDA graph; run once before, on a side stream, as recording requires."""
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def floor(folder: Path, batch: int, device: str, **_: Any) -> Epoch:
    """A step's five matrix products alone: NumPy's BLAS, or on a GPU cuBLAS in a CUDA graph."""
    n_batches = len(np.load(folder / "images.npy", mmap_mode="r")) // batch
    W = np.load(folder / "W.npy")
    x = np.random.default_rng(0).random((batch, len(W)), np.float32)
    arrays: Any = W, x, x @ W, x.copy(), W.copy()
    torch = None
    if device == "cuda":
        torch = load_torch(folder, batch, device)[0]
        arrays = [torch.from_numpy(array).cuda() for array in arrays]
    W, x, h, v, gradient = arrays
    each = (x, W, h), (h, W.T, v), (v, W, h), (x.T, h, gradient), (v.T, h, gradient)
    return products_alone(torch, each, n_batches)


def products_alone(torch: Any, each: Sequence[tuple[Any, Any, Any]], n_batches: int) -> Epoch:
    """An epoch of steps that are matrix products only.

    Args:
        torch: PyTorch, for arrays on a GPU; None for NumPy's.
        each: The factors and the memory of each product.
        n_batches: Steps of an epoch.
    """
    product = np.matmul if torch is None else torch.mm

    def step() -> None:
        for a, b, out in each:
            product(a, b, out=out)

    run = step if torch is None else graphed(torch, step)

    def epoch() -> None:
        for _ in range(n_batches):
            run()
        float(each[-1][2][0, 0])  # waits for a GPU

    return epoch


def entries_of(how: Row, jax: str, autograd: str, in_place: str) -> dict[str, Row]:
    """The rows of every model's table.

    Args:
        how: The arguments that all contestants share.
        jax: The name of the contestant of dae_jax.
        autograd: That of idiomatic PyTorch.
        in_place: That of PyTorch by hand.
    """
    entries: dict[str, Row] = {
        "dae_jax": how | {"contestant": jax},
        "PyTorch eager": how | {"contestant": autograd},
        "torch.compile": how | {"contestant": autograd, "compiled": True},
        "PyTorch in place": how | {"contestant": in_place},
    }
    if how["device"] == "cuda":
        entries["PyTorch in place, CUDA graph"] = how | {"contestant": in_place, "graph": True}
    return entries
