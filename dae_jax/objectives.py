r"""Reconstruction costs and penalties.

Every cost is summed over the pixels of an image and averaged over the images of a minibatch, as in
the tutorial: its unit is nats (or squared grey levels) per image. Penalties on a code are summed
over units and averaged over images in the same way, to be multiplied by a weight and added.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Shaped

__all__ = [
    "OBJECTIVES",
    "AnyArray",
    "contraction",
    "cross_entropy",
    "kl_sparsity",
    "l1",
    "reconstruction",
    "squared_error",
    "squared_weights",
    "weight_decay",
]

AnyArray = jax.Array | np.ndarray
"""An array on a device or in the host's memory."""
OBJECTIVES = "cross-entropy", "squared-error"
"""The names of the costs of a reconstruction."""


def reconstruction(
    logits: Float[AnyArray, "batch pixels"],
    x: Float[AnyArray, "batch pixels"],
    objective: str = "cross-entropy",
    output: Callable[..., Any] = jax.nn.sigmoid,
    weights: Shaped[AnyArray, "batch pixels"] | None = None,
) -> jax.Array:
    """The cost of a reconstruction, by the name of the objective.

    Args:
        logits: The decoder's activations before the output function.
        x: The clean images.
        objective: ``"cross-entropy"``, which always reads the logits through a sigmoid, or
            ``"squared-error"``.
        output: The output function, for the squared error.
        weights: Weight of each entry in the sum, at least 0, or whether it counts; all are 1
            if None.

    Returns:
        A scalar; see `cross_entropy` and `squared_error`.
    """
    if objective == "cross-entropy":
        return cross_entropy(logits, x, weights)
    return squared_error(output(logits), x, weights)


def cross_entropy(
    logits: Float[AnyArray, "batch pixels"],
    x: Float[AnyArray, "batch pixels"],
    weights: Shaped[AnyArray, "batch pixels"] | None = None,
) -> jax.Array:
    r"""The cross-entropy of the reconstruction, the tutorial's equation (4), from its logits.

    .. math:: L_H(x, z) = -\sum_k [x_k \log z_k + (1 - x_k) \log(1 - z_k)], \quad z = s(a)

    With :math:`\log s(a) = a - \zeta(a)` and :math:`\log(1 - s(a)) = -\zeta(a)`, where
    :math:`\zeta(a) = \log(1 + e^a) = \max(a, 0) + \log(1 + e^{-|a|})` is the softplus, this is
    :math:`\sum_k \zeta(a_k) - x_k a_k`, which stays finite where the sigmoid saturates and
    `log(z)` would be minus infinity.

    Args:
        logits: The decoder's activations `a` before the sigmoid.
        x: The clean images, in [0, 1].
        weights: Weight of each entry in the sum, at least 0, or whether it counts; all are 1
            if None.

    Returns:
        A scalar, in nats per image.

    >>> round(float(cross_entropy(jnp.zeros((1, 784)), jnp.ones((1, 784)))), 2)  # 784 log 2
    543.43
    """
    # log(1 + e) instead of the log1p(e) of jax.nn.softplus: it is off by less than 1e-7 per pixel,
    # is cheaper on a CPU, and its gradient needs no second exponential.
    softplus = jnp.maximum(logits, 0) + jnp.log(1 + jnp.exp(-jnp.abs(logits)))
    return jnp.mean(jnp.sum(_weighted(weights, softplus - x * logits), axis=1))


def squared_error(
    z: Float[AnyArray, "batch pixels"],
    x: Float[AnyArray, "batch pixels"],
    weights: Shaped[AnyArray, "batch pixels"] | None = None,
) -> jax.Array:
    r"""The squared error of the reconstruction, :math:`L_2(x, z) = \sum_k (x_k - z_k)^2`.

    Args:
        z: The reconstructions.
        x: The clean images, in any range that the decoder can reach.
        weights: Weight of each entry in the sum, at least 0, or whether it counts; all are 1
            if None.

    Returns:
        A scalar, in squared units of `x` per image.

    >>> float(squared_error(jnp.zeros((3, 4)), jnp.ones((3, 4))))
    4.0
    """
    return jnp.mean(jnp.sum(_weighted(weights, jnp.square(z - x)), axis=1))


def _weighted(
    weights: Shaped[AnyArray, "batch pixels"] | None, terms: Float[AnyArray, "batch pixels"]
) -> Float[AnyArray, "batch pixels"]:
    return terms if weights is None else jnp.asarray(weights, terms.dtype) * terms


def l1(h: Float[AnyArray, "batch units"]) -> jax.Array:
    r"""The L1 norm of a code, :math:`\sum_j |h_j|`, whose gradient pushes units to zero.

    >>> float(l1(jnp.array([[1.0, -2.0], [0.0, 1.0]])))
    2.0
    """
    return jnp.mean(jnp.sum(jnp.abs(h), axis=1))


def kl_sparsity(
    h: Float[AnyArray, "batch units"], rho: float | Float[AnyArray, ""]
) -> Float[jax.Array, ""]:
    r"""The divergence of each unit's mean activation over the minibatch from a target.

    .. math::
        \sum_j \rho \log\frac{\rho}{\hat\rho_j} + (1 - \rho) \log\frac{1 - \rho}{1 - \hat\rho_j},
        \qquad \hat\rho_j = \frac{1}{n} \sum_i h_{ij}

    the Kullback-Leibler divergence of the UFLDL notes (A. Ng, "Sparse autoencoder").

    Args:
        h: Codes in [0, 1]. A mean of exactly 0 or 1, for which the divergence is infinite, counts
            as 1e-6 away from it.
        rho: The target mean activation, in (0, 1).

    >>> float(kl_sparsity(jnp.full((4, 3), 0.1), 0.1))
    0.0
    """
    rho = jnp.asarray(rho, h.dtype)
    mean = jnp.clip(jnp.mean(h, axis=0), 1e-6, 1 - 1e-6)
    return jnp.sum(rho * jnp.log(rho / mean) + (1 - rho) * jnp.log((1 - rho) / (1 - mean)))


def squared_weights(params: Any) -> jax.Array:
    r"""The sum of all squared weights, :math:`\sum_k \|W_k\|^2`, of matrices and not of biases.

    >>> float(squared_weights({"W": jnp.full((2, 3), 2.0), "b": jnp.ones(3)}))
    24.0
    """
    matrices = [leaf for leaf in jax.tree.leaves(params) if leaf.ndim > 1]
    return sum((jnp.sum(jnp.square(W)) for W in matrices), jnp.zeros(()))


def weight_decay(params: Any, decay: float | Float[AnyArray, ""]) -> Float[AnyArray, ""]:
    r"""The L2 penalty on the weights, with the one meaning of lambda in this package.

    .. math:: \frac{\lambda}{2} \sum_k \|W_k\|^2

    so that its gradient is :math:`\lambda W`, as Optax adds it. Where a source writes
    :math:`\lambda \sum \|W\|^2`, as the deeplearning.net tutorials do, pass twice its number.

    Args:
        params: A pytree of parameters; matrices and kernels count, biases do not.
        decay: :math:`\lambda`, at least 0.

    >>> float(weight_decay({"W": jnp.full((2, 3), 2.0), "b": jnp.ones(3)}, 0.5))
    6.0
    """
    return decay / 2 * squared_weights(params)


def contraction(
    slopes: Float[AnyArray, "batch units"], W: Float[AnyArray, "visible units"]
) -> Float[jax.Array, ""]:
    r"""The squared Frobenius norm of a layer's Jacobian, in closed form.

    .. math::
        \left\| \frac{\partial h}{\partial x} \right\|_F^2
        = \sum_j s'(a_j)^2 \sum_i W_{ij}^2, \qquad s'(a_j) = h_j (1 - h_j)

    for sigmoid units (Rifai, Vincent, Muller, Glorot & Bengio, ICML 2011, equation 2); averaged
    over the minibatch.

    Args:
        slopes: The derivative of each unit at its activation; for sigmoid units ``h * (1 - h)``.
        W: The layer's weights.

    >>> float(contraction(jnp.full((1, 2), 0.25), jnp.ones((8, 2))))  # at a = 0, the steepest point
    1.0
    """
    return jnp.mean(jnp.square(slopes) @ jnp.sum(jnp.square(W), axis=0))
