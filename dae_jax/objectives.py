r"""What training minimises: the cost of reconstructing a minibatch, and what may be added to it.

Every cost is summed over the pixels of an image and averaged over the images of a minibatch, as in
the tutorial, so that it reads "nats (or squared grey levels) an image". The penalties are of the
same kind: summed over units, averaged over images, to be weighed and added.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

AnyArray = jax.Array | np.ndarray


def cross_entropy(
    logits: Float[AnyArray, "batch pixels"], x: Float[AnyArray, "batch pixels"]
) -> jax.Array:
    r"""The tutorial's equation (4), the cross-entropy of the reconstruction, from its logits.

    .. math:: L_H(x, z) = -\sum_k [x_k \log z_k + (1 - x_k) \log(1 - z_k)], \quad z = s(a)

    With :math:`\log s(a) = a - \zeta(a)` and :math:`\log(1 - s(a)) = -\zeta(a)`, where
    :math:`\zeta(a) = \log(1 + e^a) = \max(a, 0) + \log(1 + e^{-|a|})` is the softplus, this is
    :math:`\sum_k \zeta(a_k) - x_k a_k`, which stays finite where a sigmoid saturates and `log(z)`
    would be minus infinity.

    Args:
        logits: The decoder's activations `a` before the sigmoid.
        x: The clean images, in [0, 1].

    Returns:
        A scalar, in nats an image.

    >>> round(float(cross_entropy(jnp.zeros((1, 784)), jnp.ones((1, 784)))), 2)  # 784 log 2
    543.43
    """
    # log(1 + e) and not log1p(e), as in jax.nn.softplus: it is off by less than 1e-7 a pixel, is
    # cheaper on a CPU, and its gradient needs no other exponential.
    softplus = jnp.maximum(logits, 0) + jnp.log(1 + jnp.exp(-jnp.abs(logits)))
    return jnp.mean(jnp.sum(softplus - x * logits, axis=1))


def squared_error(
    z: Float[AnyArray, "batch pixels"], x: Float[AnyArray, "batch pixels"]
) -> jax.Array:
    r"""The squared error of the reconstruction, :math:`L_2(x, z) = \sum_k (x_k - z_k)^2`.

    Args:
        z: The reconstructions.
        x: The clean images, in any range that the decoder can reach.

    Returns:
        A scalar, in squared units of `x` an image.

    >>> float(squared_error(jnp.zeros((3, 4)), jnp.ones((3, 4))))
    4.0
    """
    return jnp.mean(jnp.sum(jnp.square(z - x), axis=1))


def l1(h: Float[AnyArray, "batch units"]) -> jax.Array:
    r"""The absolute activity of a code, :math:`\sum_j |h_j|`: its gradient pushes units to zero.

    >>> float(l1(jnp.array([[1.0, -2.0], [0.0, 1.0]])))
    2.0
    """
    return jnp.mean(jnp.sum(jnp.abs(h), axis=1))


def kl_sparsity(
    h: Float[AnyArray, "batch units"], rho: float | Float[AnyArray, ""]
) -> Float[jax.Array, ""]:
    r"""How far each unit's mean activation over the minibatch is from the wanted one.

    .. math::
        \sum_j \rho \log\frac{\rho}{\hat\rho_j} + (1 - \rho) \log\frac{1 - \rho}{1 - \hat\rho_j},
        \qquad \hat\rho_j = \frac{1}{n} \sum_i h_{ij}

    the Kullback-Leibler divergence of the UFLDL notes (A. Ng, "Sparse autoencoder").

    Args:
        h: Codes in [0, 1]. A mean of exactly 0 or 1, where a unit is dead and the divergence
            infinite, counts as 1e-6 away from it.
        rho: The wanted mean activation, in (0, 1).

    >>> float(kl_sparsity(jnp.full((4, 3), 0.1), 0.1))
    0.0
    """
    rho = jnp.asarray(rho, h.dtype)
    mean = jnp.clip(jnp.mean(h, axis=0), 1e-6, 1 - 1e-6)
    return jnp.sum(rho * jnp.log(rho / mean) + (1 - rho) * jnp.log((1 - rho) / (1 - mean)))


def squared_weights(params: Any) -> jax.Array:
    r"""What weight decay is a multiple of, :math:`\sum_k \|W_k\|^2`: of matrices, not of biases.

    >>> float(squared_weights({"W": jnp.full((2, 3), 2.0), "b": jnp.ones(3)}))
    24.0
    """
    matrices = [leaf for leaf in jax.tree.leaves(params) if leaf.ndim > 1]
    return sum((jnp.sum(jnp.square(W)) for W in matrices), jnp.zeros(()))


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
        slopes: The derivative of each unit at its activation, for sigmoid units ``h * (1 - h)``.
        W: The layer's weights.

    >>> float(contraction(jnp.full((1, 2), 0.25), jnp.ones((8, 2))))  # at a = 0, the steepest
    1.0
    """
    return jnp.mean(jnp.square(slopes) @ jnp.sum(jnp.square(W), axis=0))
