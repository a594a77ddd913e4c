"""Trained models for other runtimes: as programs of ONNX, StableHLO and PyTorch, and for browsers.

Each program takes images (n, d) for any n, of the training images' type, without missing values,
scales them, and returns the probabilities of a classifier (n, K), or the codes and the
reconstructions of a dA.
"""

import io
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from dae_jax import autoencoder
from dae_jax.autoencoder import Params
from dae_jax.errors import InputError, require
from dae_jax.runs import saved
from dae_jax.runs.saved import Model
from dae_jax.stacked import Classifier

__all__ = [
    "FORMATS",
    "Step",
    "input_type",
    "outputs",
    "steps",
    "to_onnx",
    "to_stablehlo",
    "to_torch",
    "to_web",
]

OPSET, IR = 17, 8  # of ONNX 1.12, 2022, so that older runtimes take the file too
RECONSTRUCTIONS = "reconstructions"
PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


class Step(NamedTuple):
    """One layer of a program, ``output = activation(input @ W + b)``, on the layer before it."""

    W: str
    b: str
    transposed: bool  # whether it is W.T
    activation: str  # "linear", "sigmoid", "relu" or "softmax"
    output: str


def steps(model: Model) -> list[Step]:
    """The layers of a program, in order, by the names of their tensors."""
    card, params = model.card, model.params
    if isinstance(params, Classifier):
        hidden = [
            Step(f"hidden.{k}.W", f"hidden.{k}.b", False, card.activation, f"codes.{k + 1}")
            for k in range(len(params.hidden))
        ]
        return [*hidden, Step("top.W", "top.b", False, "softmax", "probabilities")]
    tied = isinstance(params, Params)
    return [
        Step("W", "b", False, card.activation, "codes"),
        Step("W" if tied else "W_prime", "b_prime", tied, model.decoder, RECONSTRUCTIONS),
    ]


def outputs(model: Model) -> dict[str, int]:
    """The names of what a program returns, and the numbers of columns."""
    if isinstance(model.params, Classifier):
        return {"probabilities": model.widths[-1]}
    return {"codes": model.widths[-1], RECONSTRUCTIONS: model.widths[0]}


def input_type(model: Model) -> str:
    """The type of the images: ``"uint8"``, ``"int32"`` or ``"float32"``.

    Floats are not divided: if it is unknown what a dA was trained on, its images have to be scaled.
    """
    card = model.card
    if not card.integer_pixels or card.range is None or card.scaling is not None:
        return "float32"
    low, high = card.range
    return "uint8" if low >= 0 and high <= 255 else "int32"


def to_onnx(model: Model) -> bytes:
    """The model as an ONNX file, whose metadata is the card.

    Raises:
        InputError: ONNX is not installed.
    """
    require("onnx", "export")
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    kinds = {"sigmoid": "Sigmoid", "relu": "Relu", "softmax": "Softmax", "linear": "Identity"}
    arrays = {name: np.asarray(value) for name, value in saved.named_tensors(model.params).items()}
    nodes, x, kind = [], "images", input_type(model)
    if kind != "float32":
        arrays["scale"] = np.asarray(model.card.pixel_scale, np.float32)
        nodes.append(helper.make_node("Cast", [x], ["floats"], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Div", ["floats", "scale"], [x := "scaled"]))
    if (scaling := model.card.scaling) is not None:
        arrays["means"], arrays["deviations"] = (part.astype(np.float32) for part in scaling)
        nodes.append(helper.make_node("Sub", [x, "means"], ["centred"]))
        nodes.append(helper.make_node("Div", ["centred", "deviations"], [x := "standardised"]))
    for W, b, transposed, activation, y in steps(model):
        nodes.append(helper.make_node("Gemm", [x, W, b], [f"{y}.a"], transB=int(transposed)))
        if scaling is not None and y == RECONSTRUCTIONS:
            nodes.append(helper.make_node("Mul", [f"{y}.a", "deviations"], [f"{y}.scaled"]))
            nodes.append(helper.make_node("Add", [f"{y}.scaled", "means"], [x := y]))
        else:
            nodes.append(helper.make_node(kinds[activation], [f"{y}.a"], [x := y]))

    def described(name: str, dtype: str, columns: int) -> onnx.ValueInfoProto:
        tensor_type = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return helper.make_tensor_value_info(name, tensor_type, ["n", columns])

    graph = helper.make_graph(
        nodes,
        "dae_jax",
        [described("images", kind, model.card.pixels)],
        [described(name, "float32", columns) for name, columns in outputs(model).items()],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    opset = [helper.make_opsetid("", OPSET)]
    program = helper.make_model(graph, producer_name="dae_jax", opset_imports=opset, ir_version=IR)
    helper.set_model_props(program, {"dae_jax": _card(model)})
    onnx.checker.check_model(program, full_check=True)
    return program.SerializeToString(deterministic=True)


def to_stablehlo(model: Model) -> bytes:
    """The model as a serialised `jax.export.Exported`, for all platforms.

    Raises:
        InputError: The library that `jax.export` serialises with is not installed.
    """
    require("flatbuffers", "export")
    from jax import export

    card, params = model.card, model.params
    scale, restore = _scalers(model, jax.numpy.asarray)

    def network(images: Any) -> Any:
        x = scale(autoencoder.pixels(images, card.pixel_scale))
        if isinstance(params, Classifier):
            return jax.nn.softmax(saved.logits(card.activation)(params, x))
        y = autoencoder.encode(params, x)
        return y, restore(autoencoder.DECODERS[model.decoder](params, y))

    (n,) = export.symbolic_shape("n")
    images = jax.ShapeDtypeStruct((n, card.pixels), input_type(model))
    with jax.default_matmul_precision("float32"):
        program = export.export(jax.jit(network), platforms=PLATFORMS)(images)
    return bytes(program.serialize())


def to_torch(model: Model) -> bytes:
    """The model as a program of `torch.export`, with the card as the extra file ``dae_jax.json``.

    Raises:
        InputError: PyTorch is not installed.
    """
    require("torch", "torch")
    import torch

    divisor = None if input_type(model) == "float32" else model.card.pixel_scale
    scale, restore = _scalers(model, torch.from_numpy)
    kinds: dict[str, Callable[[Any], Any]] = {
        "sigmoid": torch.sigmoid,
        "relu": torch.relu,
        "softmax": lambda a: torch.softmax(a, dim=1),
        "linear": lambda a: a,
    }

    class Program(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name, value in saved.named_tensors(model.params).items():
                self.register_buffer(name.replace(".", "_"), torch.from_numpy(np.array(value)))

        def forward(self, images: torch.Tensor) -> Any:
            y = scale(images if divisor is None else images.to(torch.float32) / divisor)
            results = {}
            for name_W, name_b, transposed, activation, output in steps(model):
                W, b = (getattr(self, name.replace(".", "_")) for name in (name_W, name_b))
                y = kinds[activation](y @ (W.T if transposed else W) + b)
                results[output] = y = restore(y) if output == RECONSTRUCTIONS else y
            first, *others = (results[name] for name in outputs(model))
            return (first, *others) if others else first

    images = torch.zeros(2, model.card.pixels, dtype=getattr(torch, input_type(model)))
    program = torch.export.export(
        Program().eval(), (images,), dynamic_shapes=({0: torch.export.Dim("n")},)
    )
    content = io.BytesIO()
    torch.export.save(program, content, extra_files={"dae_jax.json": _card(model)})
    return content.getvalue()


def to_web(model: Model) -> bytes:
    r"""A dA with weights of 10 bits, as safetensors, which the demonstration of the site reads.

    .. math::
        W_{ij} \approx s_j\, \mathrm{sign}(q_{ij}) \left(\frac{|q_{ij}|}{511}\right)^2, \qquad
        s_j = \max_i |W_{ij}|, \quad q_{ij} \in \{-511, \dots, 511\}

    The square gives the many small weights of a filter the finer steps. With MNIST's dAs of 500
    units, pixels restored differ from those of the original weights by less than .01; with 8 bits
    and equal steps it would be up to .08 (``benchmarks/weights.py``).

    The tensors are ``W``, int8, the first eight bits of q, :math:`\lfloor q / 4 \rfloor`;
    ``W_low``, uint8, the last two of four weights in a row, the first of them lowest; ``W_scale``
    (s); ``b`` and ``b_prime``. A file with the original weights has the same names without the
    middle two. The card is that of the model.

    Raises:
        InputError: Another model than a dA with tied weights and a sigmoid output.
    """
    from safetensors.numpy import save

    params = model.params
    if not isinstance(params, Params) or model.decoder != "sigmoid":
        got = "a classifier" if isinstance(params, Classifier) else "another kind of dA"
        expected = "a dA with tied weights and a sigmoid output"
        raise InputError("--to web", expected=expected, got=got, do="train one: dae_jax.train")
    W, b, b_prime = (np.asarray(part, np.float32) for part in params)
    scale = np.maximum(np.abs(W).max(axis=0), np.finfo(np.float32).tiny)
    q = (np.sign(W) * np.rint(511 * np.sqrt(np.abs(W) / scale))).astype(np.int16)
    low = (q & 3).astype(np.uint8).ravel()
    low = np.pad(low, (0, -len(low) % 4)).reshape(-1, 4) << np.arange(0, 8, 2, dtype=np.uint8)
    tensors = {"W": (q >> 2).astype(np.int8), "W_low": low.sum(axis=1, dtype=np.uint8)}
    tensors |= {"W_scale": scale, "b": b, "b_prime": b_prime}
    return save(tensors, {"dae_jax": _card(model)})


def _scalers(
    model: Model, to_array: Callable[[np.ndarray], Any]
) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """How columns are standardised, and how rows get their own units back."""
    if model.card.scaling is None:
        return lambda x: x, lambda x: x
    means, deviations = (to_array(part.astype(np.float32)) for part in model.card.scaling)
    return lambda x: (x - means) / deviations, lambda x: x * deviations + means


def _card(model: Model) -> str:
    return json.dumps(saved.described(*model))


FORMATS: dict[str, Callable[[Model], bytes]] = {
    "onnx": to_onnx,
    "stablehlo": to_stablehlo,
    "torch": to_torch,
    "web": to_web,
}
"""The exports by the names that the command takes."""
