r"""What training minimises: the cost of reconstructing a minibatch.

Every cost is summed over the pixels of an image and averaged over the images of a minibatch, as in
the tutorial, so that it reads "nats (or squared grey levels) an image".
"""

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
