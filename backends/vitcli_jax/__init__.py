"""The JAX engine of `vit`: pure JAX, no flax, no optax."""

from __future__ import annotations

from vitcli_jax.runtime import JaxBackend

__all__ = ["backend"]


def backend() -> JaxBackend:
    """Returns the engine (entry point of the group `vitcli.backends`)."""
    return JaxBackend()
