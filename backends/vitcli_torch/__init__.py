"""The PyTorch engine of `vit`: plain PyTorch."""

from __future__ import annotations

from vitcli_torch.runtime import TorchBackend

__all__ = ["backend"]


def backend() -> TorchBackend:
    """Returns the engine (entry point of the group `vitcli.backends`)."""
    return TorchBackend()
