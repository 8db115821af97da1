"""Fine-tuning on both engines: what moves moves by its own rate and decay, what is frozen stays, bit by bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.conformance.conftest import load
from tests.conformance.test_training import COUNT, OPTIMIZERS, _batch, _recipe, _rule, _trainer
from tests.models import random_weights
from vitcli.core.backend import Backend, StepInput, Trainer, by_kind
from vitcli.core.parameters import parameter_table
from vitcli.core.recipe import Recipe

Hand = Callable[[str, float], tuple[float, float] | None]
# Option of the model of two blocks, [tune], and by hand what it means: name -> (rate, decay), or None where frozen;
# `usual` is the decay without [tune].
CASES: dict[str, tuple[str, dict[str, Any], Hand]] = {
    "freeze": (
        "standard",
        {"freeze": ["blocks.0.*", "*_embed*", "cls_token"]},
        lambda name, usual: None if name.startswith(("blocks.0", "pos", "patch", "cls")) else (1.0, usual),
    ),
    "freeze all but": (
        "standard",
        {"freeze": ["*"], "train": ["*.norm?.*", "norm.*"]},
        lambda name, usual: (1.0, usual) if "norm" in name else None,
    ),
    "freeze behind what moves": (
        "standard",
        {"freeze": ["blocks.1.*", "norm.*", "head.*"]},
        lambda name, usual: None if name.startswith(("blocks.1", "norm", "head")) else (1.0, usual),
    ),
    "probe": (
        "standard",
        {"probe": True},
        lambda name, usual: (1.0, usual) if name.startswith("head") else None,
    ),
    "layer decay": (
        "standard",
        {"layer_decay": 0.6},
        lambda name, usual: (_by_place(name, 0.216, 0.36, 0.6, 1.0), usual),
    ),
    "rates": (
        "standard",
        {"lr": ["*.bias=0.5", "head.*=10"]},
        lambda name, usual: (10.0 if "head" in name else 0.5 if name.endswith("bias") else 1.0, usual),
    ),
    "decays": (
        "standard",
        {"weight_decay": ["*.bias=0.02", "head.*=0.3", "pos_embed=0"]},
        lambda name, usual: (
            1.0,
            0.3 if "head" in name else 0.02 if name.endswith("bias") else 0.0 if "pos" in name else usual,
        ),
    ),
    "all together": (
        "standard",
        {
            "freeze": ["patch_embed.*", "blocks.0.*"],
            "train": ["*.norm1.*"],
            "layer_decay": 0.5,
            "lr": ["head.*=4"],
            "weight_decay": ["*.norm1.*=0.2"],
        },
        lambda name, usual: (
            None
            if name.startswith("patch") or (name.startswith("blocks.0") and "norm1" not in name)
            else (
                4.0 if "head" in name else _by_place(name, 0.125, 0.25, 0.5, 1.0),
                0.2 if "norm1" in name else usual,
            )
        ),
    ),
    "adapters": (
        "adapters of all layers",
        {
            "freeze": ["head.bias", "blocks.0.mlp.*"],
            "train": ["*.norm2.*"],
            "layer_decay": 0.5,
            "lr": ["*.lora_b=16"],
            "weight_decay": ["*.lora_?=0"],
        },
        lambda name, usual: (
            (
                _by_place(name, 0.125, 0.25, 0.5, 1.0) * (16 if "lora_b" in name else 1),
                0.0 if "lora" in name else usual,
            )
            if "norm2" in name or name == "head.weight" or ("lora" in name and "blocks.0.mlp" not in name)
            else None
        ),
    ),
}


def _by_place(name: str, before: float, first: float, second: float, behind: float) -> float:
    places = {"blocks.0": first, "blocks.1": second, "norm.": behind, "head.": behind}
    return next((value for start, value in places.items() if name.startswith(start)), before)


@pytest.fixture
def eager() -> Iterator[None]:
    """JAX runs operation by operation: all cases share those; compiling the step of each takes seconds."""
    with jax.disable_jit():
        yield


def _tuned(name: str, **train: Any) -> Recipe:
    option, tune, _ = CASES[name]
    return Recipe.model_validate({**_recipe(option, **train).model_dump(), "tune": tune})


def _moves(recipe: Recipe, name: str) -> dict[str, tuple[float, float] | None]:
    """The plan by hand."""
    train = recipe.train
    return {
        key: CASES[name][2](key, train.weight_decay if tensor.decay or train.decay == "all" else 0.0)
        for key, tensor in parameter_table(recipe.model).items()
    }


def _run(trainer: Trainer, recipe: Recipe, steps: range) -> list[float]:
    batch, lr = _batch(recipe), recipe.train.lr
    return [
        trainer.step(batch, StepInput(step=step, lr=lr / (step + 1), ema_decay=0.75)).read()["loss"]
        for step in steps
    ]


def _assert_close(recipe: Recipe, found: dict[str, NDArray[Any]], expected: dict[str, NDArray[Any]]) -> None:
    table = parameter_table(recipe.model)
    for key, value in found.items():
        moving = np.ones(len(value), bool)
        if (zero := table[key].zero_gradient) is not None:
            moving[slice(*zero)] = False
        np.testing.assert_allclose(value[moving], expected[key][moving], rtol=1e-9, atol=1e-12, err_msg=key)


# Cases that "all together" has too.
TOGETHER = ("rates", "decays", "layer decay")


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize(
    ("name", "optimizer"),
    [(name, "adamw") for name in CASES if name not in TOGETHER]
    + [("all together", optimizer) for optimizer in ("sgd momentum", "lion")]
    + [
        pytest.param(name, optimizer, marks=pytest.mark.slow)
        for name, optimizer in [
            *((name, "adamw") for name in TOGETHER),
            *(("all together", optimizer) for optimizer in ("adam", "adamw on everything")),
        ]
    ],
)
def test_steps_follow_the_equations_by_group(backend: Backend, name: str, optimizer: str) -> None:
    """Three steps in NumPy, from the gradients of a trainer that freezes nothing."""
    recipe = _tuned(name, clip=0.05, ema=0.9, **OPTIMIZERS[optimizer])
    tune = {"train": ["*"]} if recipe.model.lora.rank else {}
    plain = Recipe.model_validate({**recipe.model_dump(), "tune": tune})
    trainer, train, batch = _trainer(backend, recipe), recipe.train, _batch(recipe)
    moves = {key: move for key, move in _moves(recipe, name).items() if move is not None}
    params = {key: value.astype(np.float64) for key, value in random_weights(recipe.model).items()}
    average = dict(params)
    moments = [{key: np.zeros_like(value) for key, value in params.items()} for _ in range(2)]
    for step in range(3):
        state = {f"param.{key}": value for key, value in params.items()}
        gradients = backend.trainer(plain, state, device="cpu", images=None).inspect(batch, step)["gradients"]
        lr = train.lr / (step + 1)
        measured = trainer.step(batch, StepInput(step=step, lr=lr, ema_decay=0.75)).read()
        norm = np.sqrt(sum((gradients[key] ** 2).sum() for key in moves))
        assert measured["gradient_norm"] == pytest.approx(norm, rel=1e-9)
        factor = min(1.0, 0.05 / (norm + 1e-6))
        for key, (rate, decay) in moves.items():
            params[key], moments[0][key], moments[1][key] = _rule(
                train.model_copy(update={"lr": lr * rate}),
                params[key],
                factor * gradients[key],
                moments[0][key],
                moments[1][key],
                decay,
                step + 1,
            )
            average[key] = 0.75 * average[key] + 0.25 * params[key]
    found = by_kind(trainer.state())
    assert set(found["ema"]) == set(found["moment1"]) == set(moves)
    _assert_close(recipe, found["param"], params)
    _assert_close(recipe, found["ema"], average)
    _assert_close(recipe, found["moment1"], moments[0])
    for key, value in random_weights(recipe.model).items():
        assert np.array_equal(found["param"][key], value) == (key not in moves), key


@pytest.mark.parametrize(
    "name",
    ["adapters", *(pytest.param(n, marks=pytest.mark.slow) for n in ("all together", "probe"))],
)
def test_engines_make_the_same_steps(name: str) -> None:
    """Compiled, in pieces, with everything on; evaluated by averaged weights where there are some."""
    drop = {"embedding": 0.1, "attention": 0.1, "projection": 0.1, "mlp": 0.1, "path": 0.2}
    recipe = _tuned(name, drop=drop, micro_batch=3, ema=0.99, label_smoothing=0.1, clip=1.0, weight_decay=0.1)
    trainers = [_trainer(load(engine), recipe) for engine in ("jax", "torch")]
    curves = [_run(trainer, recipe, range(8)) for trainer in trainers]
    np.testing.assert_allclose(curves[0], curves[1], rtol=1e-9)
    ours, theirs = (by_kind(trainer.state()) for trainer in trainers)
    assert {kind: set(values) for kind, values in ours.items()} == {
        kind: set(values) for kind, values in theirs.items()
    }
    for kind in ("param", "ema"):
        _assert_close(recipe, ours[kind], theirs[kind])
    images = np.asarray(_batch(recipe).images)
    pixels = ((images.astype(np.float64) / 255 - 0.5) / 0.5).transpose(0, 3, 1, 2)
    weights = {**theirs["param"], **theirs["ema"]}
    expected = load("torch").load(recipe.model, weights, device="cpu", precision="float64").logits(pixels)
    for trainer in trainers:
        np.testing.assert_allclose(trainer.logits(images), expected, rtol=1e-9, atol=1e-9)


def test_what_is_frozen_stays_bit_by_bit_in_bfloat16(backend: Backend) -> None:
    recipe = _tuned("all together", precision="bfloat16", ema=0.5, weight_decay=0.5, decay="all")
    trainer = _trainer(backend, recipe)
    assert len(set(_run(trainer, recipe, range(3)))) == 3
    state, moves = by_kind(trainer.state()), _moves(recipe, "all together")
    for key, value in random_weights(recipe.model).items():
        assert np.array_equal(state["param"][key], value) == (moves[key] is None), key


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("optimizer", ["adamw", pytest.param("sgd", marks=pytest.mark.slow), "lion"])
def test_state_goes_from_one_engine_to_the_other_and_on(backend: Backend, optimizer: str) -> None:
    recipe = _tuned("all together", optimizer=optimizer, ema=0.9, weight_decay=0.1)
    straight, first = (_trainer(backend, recipe) for _ in range(2))
    losses = _run(straight, recipe, range(5))
    trained = {key for key, move in _moves(recipe, "all together").items() if move is not None}
    assert set(straight.inspect(_batch(recipe), 5)["gradients"]) == trained
    _run(first, recipe, range(3))
    other = load("torch" if backend.name == "jax" else "jax")
    state = {**first.state(), "step": np.array(3)}
    second = other.trainer(recipe, state, device="cpu", images=None)
    np.testing.assert_allclose(_run(second, recipe, range(3, 5)), losses[3:], rtol=1e-9)
    ours, theirs = by_kind(straight.state()), by_kind(second.state())
    assert ours.keys() == theirs.keys()
    for kind, values in theirs.items():
        _assert_close(recipe, values, ours[kind])


def test_a_probe_keeps_nothing_for_the_backward_pass() -> None:
    """PyTorch: bytes that autograd saves; the head's input and the loss are a few hundred values."""
    saved = {}
    for name in ("probe", "rates"):
        recipe = _tuned(name)
        trainer = _trainer(load("torch"), recipe)
        sizes: list[int] = []

        def pack(tensor: torch.Tensor, sizes: list[int] = sizes) -> torch.Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            trainer.inspect(_batch(recipe), 0)
        saved[name] = sum(sizes)
    spec = recipe.model
    assert (
        saved["probe"]
        <= COUNT * (spec.embed_dim + 6 * spec.num_classes) + 2 * spec.num_classes * spec.embed_dim
    )
    assert saved["rates"] > 20 * saved["probe"]


def test_a_probe_costs_a_forward_pass() -> None:
    """JAX: floating-point operations of the compiled step, as XLA counts them; backward is twice forward."""
    flops = {}
    for name in ("probe", "rates"):
        recipe = _tuned(name, precision="float32")
        trainer: Any = _trainer(load("jax"), recipe)
        batch = _batch(recipe)
        arguments = trainer._arguments(batch, 0)
        with jax.default_device(jax.devices("cpu")[0]):
            compiled = trainer._inspect.lower(trainer._state["param"], trainer._frozen, *arguments).compile()
        flops[name] = compiled.cost_analysis()["flops"]
    assert flops["rates"] > 2.5 * flops["probe"]
