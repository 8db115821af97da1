"""The JAX engine: devices, precision, the training step. `vitcli_torch/runtime.py` is its twin."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from vitcli.core.backend import Batch, StepInput, by_kind
from vitcli.core.bits import Purpose, stream
from vitcli.core.cost import cpu_micro_batch
from vitcli.core.errors import BackendError
from vitcli.core.recipe import Precision, Recipe
from vitcli.core.spec import ModelSpec
from vitcli.core.tune import plan
from vitcli_jax.augment import prepare, targets
from vitcli_jax.bits import Noise, absorb
from vitcli_jax.export import export, run_exported
from vitcli_jax.model import forward
from vitcli_jax.optimizer import bias_corrections, clip, global_norm, moment_names, update

if TYPE_CHECKING:
    from pathlib import Path

    from vitcli.core.backend import Arrays, Levels

Params = dict[str, Array]
State = dict[str, Params]
# The part of an accelerator's memory that the training set may take to live there.
_RESIDENT_PART = 0.3
# Images, and bytes of activations, of a piece on a CPU (bench/results/micro-batch-cpu.md).
_LEAST_PIECE, _PIECE_BYTES = 8, 16_000_000


class JaxBackend:
    """JAX: jit and vmap over a one-image forward pass, gradients by `jax.grad`, donated state."""

    name = "jax"

    def devices(self) -> list[str]:
        """Returns the devices that JAX sees, the preferred one first; an NVIDIA GPU is called cuda."""
        found = [_device_name(device) for device in jax.devices()]
        return [*found, "cpu"] if "cpu" not in found else found

    def load(self, spec: ModelSpec, weights: Arrays, *, device: str | None, precision: Precision) -> JaxModel:
        """Returns a model that gives logits."""
        return JaxModel(spec, weights, _device(device), precision)

    def trainer(
        self, recipe: Recipe, state: Arrays, *, device: str | None, images: NDArray[np.uint8] | None
    ) -> JaxTrainer:
        """Returns a model in training that starts from `state`."""
        return JaxTrainer(recipe, state, _device(device), images)

    def export(
        self,
        path: Path,
        form: str,
        spec: ModelSpec,
        weights: Arrays,
        card: Mapping[str, str],
        levels: Levels | None,
    ) -> None:
        """Writes a model as a `stablehlo` file."""
        export(path, form, spec, weights, card, levels)

    def run_exported(
        self, path: Path, form: str, batches: Sequence[NDArray[Any]]
    ) -> tuple[dict[str, str], list[NDArray[Any]]]:
        """Returns the texts that such a file holds, and the logits (B, classes) that it gives for batches."""
        return run_exported(path, form, batches)

    def augmented(
        self, recipe: Recipe, images: NDArray[np.uint8], plan: Arrays, *, device: str | None = None
    ) -> NDArray[Any]:
        """Returns the model inputs (B, C, S, S) that training sees of stored uint8 images (B, S0, S0, C)."""
        precision = recipe.train.precision
        with _scope(precision, _device(device)):
            compiled = jax.jit(prepare, static_argnums=(2, 3))
            return np.asarray(compiled(images, dict(plan), recipe, _master_dtype(precision)))


class JaxModel:
    """A model in evaluation."""

    def __init__(self, spec: ModelSpec, weights: Arrays, device: jax.Device, precision: Precision) -> None:
        self._device, self._precision = device, precision
        with _scope(precision, device):
            self._params = jax.device_put(_cast(weights, _compute_dtype(precision)), device)
        self._logits = jax.jit(lambda params, pixels: jax.vmap(lambda x: forward(params, x, spec))(pixels))

    def logits(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Returns (B, classes) of normalised pixels (B, C, S, S)."""
        with _scope(self._precision, self._device):
            logits = self._logits(self._params, pixels.astype(_master_dtype(self._precision)))
            return np.asarray(logits.astype(_master_dtype(self._precision)))


class JaxTrainer:
    """A model in training: the state goes into a compiled step and comes out of it, in place."""

    def __init__(
        self, recipe: Recipe, state: Arrays, device: jax.Device, images: NDArray[np.uint8] | None
    ) -> None:
        self._recipe, self._device, self._precision = recipe, device, recipe.train.precision
        self.resident = images is not None and _stays(images.nbytes, device)
        with _scope(self._precision, device):
            first, frozen = _first_state(recipe, state)
            self._state, self._frozen = jax.device_put(first, device), jax.device_put(frozen, device)
            self._images = jax.device_put(np.ascontiguousarray(images), device) if self.resident else None
        micro = recipe.train.micro_batch or _micro_batch(recipe, device)
        self._step = jax.jit(functools.partial(_train_step, recipe, micro), donate_argnums=0)
        self._inspect = jax.jit(functools.partial(_inspect, recipe, micro))
        self._logits = jax.jit(functools.partial(_evaluate, recipe))

    def step(self, batch: Batch, at: StepInput) -> JaxMetrics:
        """Updates the weights once, without waiting for the result."""
        corrections = bias_corrections(self._recipe.train, at.step)
        with _scope(self._precision, self._device):
            dtype = _master_dtype(self._precision)
            numbers = np.array([at.lr, *corrections, at.ema_decay], dtype)
            arguments = self._arguments(batch, at.step)
            self._state, measured = self._step(self._state, self._frozen, *arguments, numbers)
        return JaxMetrics(measured)

    def inspect(self, batch: Batch, step: int) -> dict[str, Any]:
        """Returns `loss`, `logits` (B, classes) and `gradients` (by name) of a step, and changes nothing."""
        with _scope(self._precision, self._device):
            arguments = self._arguments(batch, step)
            loss, logits, gradients = self._inspect(self._state["param"], self._frozen, *arguments)
            host = {name: np.asarray(value) for name, value in gradients.items()}
            return {"loss": float(loss), "logits": np.asarray(logits), "gradients": host}

    def stages(self, batch: Batch) -> dict[str, float]:
        """Returns the seconds that `copy` (of a batch to the device) and `augment` take, once compiled."""
        with _scope(self._precision, self._device):
            dtype = _master_dtype(self._precision)
            augment = jax.jit(lambda images, plan: prepare(images, plan, self._recipe, dtype))
            wait: Callable[[Any], Any] = jax.block_until_ready
            for _ in range(2):  # the first time compiles
                begin = time.perf_counter()
                placed = wait(jax.device_put((batch.images, dict(batch.plan)), self._device))
                copied = time.perf_counter()
                wait(augment(*placed))
                augmented = time.perf_counter()
        return {"copy": copied - begin, "augment": augmented - copied}

    def logits(self, images: NDArray[np.uint8]) -> NDArray[Any]:
        """Returns (B, classes) of uint8 images (B, S, S, C) in evaluation, by averaged weights where they are on."""
        with _scope(self._precision, self._device):
            moving = self._state.get("ema", self._state["param"])
            return np.asarray(self._logits({**self._frozen, **moving}, images))

    def state(self) -> dict[str, NDArray[Any]]:
        """Returns the training state by name: `param.*`, `moment1.*`, `moment2.*`, `ema.*`."""
        kinds = {**self._state, "param": {**self._frozen, **self._state["param"]}}
        return {
            f"{kind}.{name}": np.array(value)
            for kind, values in kinds.items()
            for name, value in values.items()
        }

    def _arguments(self, batch: Batch, step: int) -> tuple[Any, ...]:
        key = np.array(stream(self._recipe.train.seed, Purpose.NOISE, step), np.uint32)
        fields = {"labels": batch.labels, "weights": batch.weights, "plan": dict(batch.plan), "key": key}
        if batch.images is None:
            return self._images, fields | {"index": batch.index}
        return batch.images, fields


class JaxMetrics:
    """Loss and gradient norm of a step, still on the device."""

    def __init__(self, measured: Array) -> None:
        self._measured = measured

    def read(self) -> dict[str, float]:
        """Returns `loss` and `gradient_norm`, waiting for the step."""
        loss, norm = np.asarray(self._measured).tolist()
        return {"loss": loss, "gradient_norm": norm}


def _train_step(
    recipe: Recipe,
    micro: int,
    state: State,
    frozen: Params,
    images: Array,
    batch: Mapping[str, Any],
    numbers: Array,
) -> tuple[State, Array]:
    """Returns the state after one update, and (loss, gradient norm)."""
    train, params = recipe.train, state["param"]
    loss, gradients, _ = _gradients(recipe, micro, params, frozen, images, batch)
    norm = global_norm(gradients)
    gradients = clip(gradients, norm, train.clip)
    lr, correction1, correction2, ema_decay = numbers
    moments = {kind: state[kind] for kind in moment_names(train)}
    at = (lr, correction1, correction2)
    params, moments = update(train, plan(recipe), params, gradients, moments, at)
    new = {"param": params, **moments}
    if "ema" in state:
        new["ema"] = {
            name: ema_decay * average + (1 - ema_decay) * params[name]
            for name, average in state["ema"].items()
        }
    return new, jnp.stack([loss, norm])


def _inspect(
    recipe: Recipe, micro: int, params: Params, frozen: Params, images: Array, batch: Mapping[str, Any]
) -> tuple[Array, Array, Params]:
    loss, gradients, logits = _gradients(recipe, micro, params, frozen, images, batch)
    return loss, logits, gradients


def _gradients(
    recipe: Recipe, micro: int, params: Params, frozen: Params, images: Array, batch: Mapping[str, Any]
) -> tuple[Array, Params, Array]:
    """Returns the mean loss, its gradient by `params`, and the logits (B, classes), `micro` images at a time."""
    dtype = _master_dtype(recipe.train.precision)
    if "index" in batch:
        images = images[batch["index"]]
    pixels = prepare(images, batch["plan"], recipe, dtype)
    labels = targets(batch["labels"], batch["plan"], recipe, dtype)
    weights = batch["weights"].astype(dtype)
    position = jnp.arange(len(pixels), dtype=jnp.uint32)
    step = Noise(batch["key"][0], batch["key"][1], native=recipe.train.dropout_bits == "native")

    still = _cast(frozen, _compute_dtype(recipe.train.precision))

    def loss(params: Params, piece: tuple[Array, ...]) -> tuple[Array, Array]:
        pixels, labels, weights, position = piece
        compute = {**still, **_cast(params, _compute_dtype(recipe.train.precision))}

        def one(image: Array, place: Array) -> Array:
            return forward(compute, image, recipe.model, absorb(step, place))

        logits = jax.vmap(one)(pixels, position).astype(dtype)
        return (weights * -(labels * jax.nn.log_softmax(logits)).sum(axis=-1)).sum(), logits

    gradient = jax.value_and_grad(loss, has_aux=True)
    pieces = [_pieces(array, micro) for array in (pixels, labels, weights, position)]
    if len(pieces[0]) == 1:
        (total, logits), gradients = gradient(params, tuple(array[0] for array in pieces))
    else:

        def accumulate(carry: Any, piece: Any) -> tuple[Any, Array]:
            (value, logits), gradients = gradient(params, piece)
            return jax.tree.map(jnp.add, carry, (value, gradients)), logits

        start = (jnp.zeros((), dtype), jax.tree.map(jnp.zeros_like, params))
        (total, gradients), logits = jax.lax.scan(accumulate, start, tuple(pieces))
    count = weights.sum()
    gradients = jax.tree.map(lambda value: value / count, gradients)
    return total / count, gradients, logits.reshape(-1, logits.shape[-1])[: len(pixels)]


def _pieces(array: Array, micro: int) -> Array:
    """Returns (pieces, micro, ...), the last piece filled with zeros: images of weight 0."""
    micro = min(micro, len(array))
    count = -(-len(array) // micro)
    fill = [(0, count * micro - len(array))] + [(0, 0)] * (array.ndim - 1)
    return jnp.pad(array, fill).reshape(count, micro, *array.shape[1:])


def _evaluate(recipe: Recipe, params: Params, images: Array) -> Array:
    dtype = _master_dtype(recipe.train.precision)
    compute = _cast(params, _compute_dtype(recipe.train.precision))
    pixels = prepare(images, {}, recipe, dtype)
    return jax.vmap(lambda image: forward(compute, image, recipe.model))(pixels).astype(dtype)


def _first_state(recipe: Recipe, state: Arrays) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Returns the state of what moves, completed by zero moments and by averages that start at the weights.

    What is frozen comes beside it.
    """
    dtype = _master_dtype(recipe.train.precision)
    given = {
        kind: {n: np.asarray(v, dtype) for n, v in values.items()} for kind, values in by_kind(state).items()
    }
    moves = plan(recipe)
    params = {name: value for name, value in given["param"].items() if name in moves}
    frozen = {name: value for name, value in given["param"].items() if name not in moves}
    kinds = {
        kind: {name: np.zeros_like(value) for name, value in params.items()}
        for kind in moment_names(recipe.train)
    }
    if recipe.train.ema is not None:
        kinds["ema"] = {name: value.copy() for name, value in params.items()}
    return {"param": params, **{kind: given.get(kind, first) for kind, first in kinds.items()}}, frozen


def _cast(arrays: Mapping[str, Any], dtype: Any) -> dict[str, Array]:
    return {name: jnp.asarray(value, dtype) for name, value in arrays.items()}


def _master_dtype(precision: Precision) -> Any:
    """The dtype of weights at rest, moments, augmentation and loss."""
    return jnp.float64 if precision == "float64" else jnp.float32


def _compute_dtype(precision: Precision) -> Any:
    """The dtype of the forward and backward pass."""
    return jnp.bfloat16 if precision == "bfloat16" else _master_dtype(precision)


@contextmanager
def _scope(precision: Precision, device: jax.Device) -> Iterator[None]:
    """Sets, for one public call, what JAX holds globally: 64-bit types, matmul precision, the device.

    A float64 array that enters a compiled function outside of it would silently be cut to float32.
    """
    matmul = "tensorfloat32" if precision == "tf32" else "highest"
    with (
        jax.enable_x64(precision == "float64"),
        jax.default_matmul_precision(matmul),
        jax.default_device(device),
    ):
        yield


def _micro_batch(recipe: Recipe, device: jax.Device) -> int:
    size = recipe.train.batch_size
    if device.platform != "cpu":
        return size
    return cpu_micro_batch(recipe.model, size, least=_LEAST_PIECE, budget=_PIECE_BYTES)


def _stays(size: int, device: jax.Device) -> bool:
    """Whether a training set of that many bytes is put on the device for good."""
    if device.platform == "cpu":
        return False
    statistics = device.memory_stats() or {}
    return size < _RESIDENT_PART * int(statistics.get("bytes_limit", 0))


def _device_name(device: jax.Device) -> str:
    if device.platform == "cpu":
        return "cpu"
    return f"{'cuda' if device.platform == 'gpu' else device.platform}:{device.id}"


def _device(name: str | None) -> jax.Device:
    """Returns a device by name: `cpu`, `cuda`, `cuda:1`, `tpu:0`; none is the preferred one.

    Raises:
        BackendError: there is no such device.
    """
    if name == "cpu":
        return jax.devices("cpu")[0]
    devices = jax.devices()
    for device in devices:
        if name is None or name in (_device_name(device), _device_name(device).split(":")[0]):
            return device
    allowed = ", ".join(_device_name(device) for device in devices)
    raise BackendError(f"device '{name}' is not there; JAX sees: {allowed}")
