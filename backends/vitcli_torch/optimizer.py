"""SGD, Adam, AdamW and Lion: torch.optim's fused kernels, and Lion by hand. `vitcli_jax/optimizer.py` is its twin."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from vitcli.core.recipe import TrainSpec
from vitcli.core.tune import Move

# The optimiser's own names of the moments.
_NAMES = {
    "sgd": {"moment1": "momentum_buffer"},
    "adam": {"moment1": "exp_avg", "moment2": "exp_avg_sq"},
    "adamw": {"moment1": "exp_avg", "moment2": "exp_avg_sq"},
    "lion": {"moment1": "momentum_buffer"},
}


def make_optimizer(
    train: TrainSpec, moves: Mapping[str, Move], params: Mapping[str, Tensor]
) -> torch.optim.Optimizer:
    """Returns the optimiser of a recipe: one group for all tensors that move alike."""
    alike: dict[Move, list[Tensor]] = {}
    for name, param in params.items():
        alike.setdefault(moves[name], []).append(param)
    groups: list[dict[str, Any]] = [
        {"params": tensors, "weight_decay": move.decay, "rate": move.rate} for move, tensors in alike.items()
    ]
    betas = train.moment_decays
    if train.optimizer == "sgd":
        # Nesterov's form is only allowed with momentum; without it both forms are the same.
        nesterov = train.nesterov and train.momentum > 0
        return torch.optim.SGD(groups, lr=train.lr, momentum=train.momentum, nesterov=nesterov, fused=True)
    if train.optimizer == "adam":
        return torch.optim.Adam(groups, lr=train.lr, betas=betas, eps=train.adam_eps, fused=True)
    if train.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=train.lr, betas=betas, eps=train.adam_eps, fused=True)
    return Lion(groups, lr=train.lr, betas=betas)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Gives every group its part of a step's learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["rate"]


def get_moments(
    optimizer: torch.optim.Optimizer, train: TrainSpec, params: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Returns the moments as `moment1.<name>`, `moment2.<name>`; zeros before the first step."""
    moments = {}
    for kind, own in _NAMES[train.optimizer].items():
        for name, param in params.items():
            value = optimizer.state[param].get(own)
            moments[f"{kind}.{name}"] = torch.zeros_like(param) if value is None else value
    return moments


def set_moments(
    optimizer: torch.optim.Optimizer,
    train: TrainSpec,
    params: Mapping[str, Tensor],
    moments: Mapping[str, Mapping[str, Tensor]],
    step: int,
) -> None:
    """Gives the optimiser the moments of a run that has made `step` steps."""
    for kind, own in _NAMES[train.optimizer].items():
        for name, value in moments.get(kind, {}).items():
            optimizer.state[params[name]][own] = value
            optimizer.state[params[name]]["step"] = torch.tensor(float(step), device=value.device)


class Lion(torch.optim.Optimizer):
    """Chen et al. 2023, arXiv:2302.06675, algorithm 2: the sign of an interpolated momentum."""

    def __init__(self, groups: list[dict[str, Any]], lr: float, betas: tuple[float, float]) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Updates every parameter once."""
        for group in self.param_groups:
            params = [param for param in group["params"] if param.grad is not None]
            if not params:
                continue
            gradients = [param.grad for param in params]
            for param in params:
                self.state[param].setdefault("momentum_buffer", torch.zeros_like(param))
            moments = [self.state[param]["momentum_buffer"] for param in params]
            beta1, beta2 = group["betas"]
            direction = torch._foreach_mul(moments, beta1)
            torch._foreach_add_(direction, gradients, alpha=1 - beta1)
            torch._foreach_sign_(direction)
            torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_add_(params, direction, alpha=-group["lr"])
            torch._foreach_mul_(moments, beta2)
            torch._foreach_add_(moments, gradients, alpha=1 - beta2)
