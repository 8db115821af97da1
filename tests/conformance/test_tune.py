"""Fine-tuning on both engines: what moves moves by its own rate and decay, what is frozen stays, bit by bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.conformance.conftest import load
from tests.conformance.test_training import COUNT, OPTIMIZERS, _batch, _recipe, _rule, _trainer
from tests.models import random_weights
from vitcli.core.backend import Backend, StepInput, Trainer, by_kind
from vitcli.core.parameters import parameter_table
from vitcli.core.recipe import Recipe

# [tune], and by hand what it means for the model of two blocks: name -> (rate, decay) or None where frozen.
# `usual` is the decay without [tune].
CASES: dict[str, tuple[dict[str, Any], Any]] = {
    "freeze": (
        {"freeze": ["blocks.0.*", "*_embed*", "cls_token"]},
        lambda name, usual: None if name.startswith(("blocks.0", "pos", "patch", "cls")) else (1.0, usual),
    ),
    "freeze all but": (
        {"freeze": ["*"], "train": ["*.norm?.*", "norm.*"]},
        lambda name, usual: (1.0, usual) if "norm" in name else None,
    ),
    "freeze behind what moves": (
        {"freeze": ["blocks.1.*", "norm.*", "head.*"]},
        lambda name, usual: None if name.startswith(("blocks.1", "norm", "head")) else (1.0, usual),
    ),
    "probe": (
        {"probe": True},
        lambda name, usual: (1.0, usual) if name.startswith("head") else None,
    ),
    "layer decay": (
        {"layer_decay": 0.6},
        lambda name, usual: (
            0.36
            if name.startswith("blocks.0")
            else 0.6
            if name.startswith("blocks.1")
            else 1.0
            if name.startswith(("norm", "head"))
            else 0.216,
            usual,
        ),
    ),
    "rates": (
        {"lr": ["*.bias=0.5", "head.*=10"]},
        lambda name, usual: (10.0 if "head" in name else 0.5 if name.endswith("bias") else 1.0, usual),
    ),
    "decays": (
        {"weight_decay": ["head.*=0.3", "*.bias=0.02", "pos_embed=0"]},
        lambda name, usual: (
            1.0,
            0.02 if name.endswith("bias") else 0.3 if "head" in name else 0.0 if "pos" in name else usual,
        ),
    ),
    "all together": (
        {
            "freeze": ["patch_embed.*", "blocks.0.*"],
            "train": ["*.norm1.*"],
            "layer_decay": 0.5,
            "lr": ["head.*=4"],
            "weight_decay": ["*.norm1.*=0.2"],
        },
        lambda name, usual: (
            (0.25 if "blocks.0" in name else 0.5, 0.2)
            if "norm1" in name
            else None
            if name.startswith(("patch", "blocks.0"))
            else (0.5, usual)
            if name.startswith("blocks.1")
            else (4.0, usual)
            if name.startswith("head")
            else (1.0 if name.startswith("norm") else 0.125, usual)
        ),
    ),
}


def _tuned(name: str, **train: Any) -> Recipe:
    tune, _ = CASES[name]
    return Recipe.model_validate({**_recipe(**train).model_dump(), "tune": tune})


def _moves(recipe: Recipe, name: str) -> dict[str, tuple[float, float] | None]:
    """The plan by hand."""
    train = recipe.train
    return {
        key: CASES[name][1](key, train.weight_decay if tensor.decay or train.decay == "all" else 0.0)
        for key, tensor in parameter_table(recipe.model).items()
    }


def _run(trainer: Trainer, recipe: Recipe, steps: range) -> list[float]:
    batch, lr = _batch(recipe), recipe.train.lr
    return [
        trainer.step(batch, StepInput(step=step, lr=lr / (step + 1), ema_decay=0.75)).read()["loss"]
        for step in steps
    ]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("optimizer", ["sgd momentum", "adam", "adamw", "adamw on everything", "lion"])
def test_steps_follow_the_equations_by_group(backend: Backend, name: str, optimizer: str) -> None:
    """Three steps in NumPy, from the gradients of a trainer that freezes nothing."""
    recipe = _tuned(name, clip=0.05, ema=0.9, **OPTIMIZERS[optimizer])
    plain = _recipe(clip=0.05, ema=0.9, **OPTIMIZERS[optimizer])
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
    state = by_kind(trainer.state())
    assert set(state["ema"]) == set(state["moment1"]) == set(moves)
    _assert_close(recipe, state["param"], params)
    _assert_close(recipe, state["ema"], average)
    _assert_close(recipe, state["moment1"], moments[0])


def _assert_close(recipe: Recipe, found: dict[str, NDArray[Any]], expected: dict[str, NDArray[Any]]) -> None:
    table = parameter_table(recipe.model)
    for key, value in found.items():
        moving = np.ones(len(value), bool)
        if (zero := table[key].zero_gradient) is not None:
            moving[slice(*zero)] = False
        np.testing.assert_allclose(value[moving], expected[key][moving], rtol=1e-9, atol=1e-12, err_msg=key)


@pytest.mark.parametrize("name", CASES)
def test_engines_make_the_same_steps(name: str) -> None:
    drop = {"embedding": 0.1, "attention": 0.1, "projection": 0.1, "mlp": 0.1, "path": 0.2}
    recipe = _tuned(name, drop=drop, micro_batch=3, ema=0.99, label_smoothing=0.1, clip=1.0, weight_decay=0.1)
    trainers = [_trainer(load(engine), recipe) for engine in ("jax", "torch")]
    curves = [_run(trainer, recipe, range(10)) for trainer in trainers]
    np.testing.assert_allclose(curves[0], curves[1], rtol=1e-9)
    ours, theirs = (by_kind(trainer.state()) for trainer in trainers)
    assert {kind: set(values) for kind, values in ours.items()} == {
        kind: set(values) for kind, values in theirs.items()
    }
    for kind in ("param", "ema"):
        _assert_close(recipe, ours[kind], theirs[kind])
    images = np.asarray(_batch(recipe).images)
    np.testing.assert_allclose(*(trainer.logits(images) for trainer in trainers), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", CASES)
def test_what_is_frozen_stays_bit_by_bit(backend: Backend, name: str, precision: str) -> None:
    recipe = _tuned(name, precision=precision, ema=0.5, weight_decay=0.5, decay="all", micro_batch=3)
    trainer = _trainer(backend, recipe)
    losses = _run(trainer, recipe, range(4))
    assert len(set(losses)) == 4
    state = by_kind(trainer.state())
    moves = _moves(recipe, name)
    assert set(state["param"]) == set(moves)
    for key, value in random_weights(recipe.model).items():
        assert np.array_equal(state["param"][key], value) == (moves[key] is None), key
    assert set(trainer.inspect(_batch(recipe), 4)["gradients"]) == {k for k, move in moves.items() if move}


@pytest.mark.parametrize("name", ["probe", "all together"])
def test_state_goes_from_one_engine_to_the_other_and_on(backend: Backend, name: str) -> None:
    for optimizer in ("adamw", "sgd", "lion"):
        recipe = _tuned(name, optimizer=optimizer, ema=0.9, weight_decay=0.1)
        straight = _trainer(backend, recipe)
        losses = _run(straight, recipe, range(5))
        first = _trainer(backend, recipe)
        _run(first, recipe, range(3))
        other = load("torch" if backend.name == "jax" else "jax")
        state = {**first.state(), "step": np.array(3)}
        second = other.trainer(recipe, state, device="cpu", images=None)
        np.testing.assert_allclose(_run(second, recipe, range(3, 5)), losses[3:], rtol=1e-9)
        ours, theirs = by_kind(straight.state()), by_kind(second.state())
        assert ours.keys() == theirs.keys()
        for kind, values in theirs.items():
            _assert_close(recipe, values, ours[kind])


def test_averages_serve_where_they_are_and_frozen_weights_elsewhere(backend: Backend) -> None:
    recipe = _tuned("all together", ema=0.9)
    trainer = _trainer(backend, recipe)
    _run(trainer, recipe, range(3))
    kinds = by_kind(trainer.state())
    weights = {**kinds["param"], **kinds["ema"]}
    images = np.asarray(_batch(recipe).images)
    pixels = ((images.astype(np.float64) / 255 - 0.5) / 0.5).transpose(0, 3, 1, 2)
    model = backend.load(recipe.model, weights, device="cpu", precision="float64")
    np.testing.assert_allclose(trainer.logits(images), model.logits(pixels), rtol=1e-9, atol=1e-9)


def test_a_probe_keeps_nothing_for_the_backward_pass() -> None:
    """PyTorch: bytes that autograd saves; the head's input and the loss are a few hundred values."""
    import torch

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
    import jax

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
