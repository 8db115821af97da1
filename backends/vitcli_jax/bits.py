"""The random bits of `vitcli.core.bits` on the device."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from vitcli.core.bits import MULTIPLIER_1, MULTIPLIER_2, RATE_BITS, threshold


class Noise(NamedTuple):
    """The stream of one image at one step, and whether masks come from the shared bits or from JAX's own."""

    a: Array  # uint32 ()
    b: Array  # uint32 ()
    native: bool = False


def mix(x: Array) -> Array:
    """Returns `vitcli.core.bits.mix` of each uint32."""
    x = (x ^ (x >> 16)) * jnp.uint32(MULTIPLIER_1)
    x = (x ^ (x >> 15)) * jnp.uint32(MULTIPLIER_2)
    return x ^ (x >> 16)


def absorb(noise: Noise, word: Array | int) -> Noise:
    """Returns the stream `word` inside a stream."""
    a = mix(noise.a ^ jnp.asarray(word, jnp.uint32))
    return noise._replace(a=a, b=mix(noise.b + a))


def draw(noise: Noise, count: int) -> Array:
    """Returns the first `count` words of a stream."""
    return mix(mix(noise.a ^ jnp.arange(count, dtype=jnp.uint32)) + noise.b)


def dropout(x: Array, rate: float, noise: Noise | None, site: int) -> Array:
    """Returns x with values zeroed with probability `rate` and the others divided by 1 - rate."""
    return x if noise is None or not rate else _drop(x, rate, absorb(noise, site), x.shape)


def drop_path(x: Array, rate: float, noise: Noise | None, site: int) -> Array:
    """Returns x, or zeros with probability `rate` (Huang et al. 2016, arXiv:1603.09382), rescaled alike."""
    return x if noise is None or not rate else _drop(x, rate, absorb(noise, site), ())


def _drop(x: Array, rate: float, noise: Noise, shape: tuple[int, ...]) -> Array:
    if noise.native:
        keep = jax.random.bernoulli(jax.random.wrap_key_data(jnp.stack([noise.a, noise.b])), 1 - rate, shape)
    else:
        size = 1
        for side in shape:
            size *= side
        keep = (draw(noise, size) >> (32 - RATE_BITS) >= threshold(rate)).reshape(shape)
    return jnp.where(keep, x / (1 - rate), jnp.zeros_like(x))
