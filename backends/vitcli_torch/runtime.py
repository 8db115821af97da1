"""The PyTorch engine: devices, precision, the training step. `vitcli_jax/runtime.py` is its twin."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from vitcli.core.backend import Batch, StepInput, by_kind
from vitcli.core.bits import Purpose, stream
from vitcli.core.cost import cpu_micro_batch
from vitcli.core.errors import BackendError
from vitcli.core.recipe import Precision, Recipe
from vitcli.core.spec import ModelSpec
from vitcli.core.tune import plan
from vitcli_torch.augment import prepare, targets
from vitcli_torch.bits import Noise, absorb, signed
from vitcli_torch.export import export, run_exported
from vitcli_torch.model import forward
from vitcli_torch.optimizer import get_moments, make_optimizer, set_learning_rate, set_moments
from vitcli_torch.peers import peer_logits, peer_name
from vitcli_torch.state_dict import read_state_dict, write_state_dict

if TYPE_CHECKING:
    from pathlib import Path

    from vitcli.core.backend import Arrays, Levels
    from vitcli.core.reporter import Reporter

# The part of an accelerator's memory that the training set may take to live there.
_RESIDENT_PART = 0.3
# Images, and bytes of activations, of a piece on a CPU (bench/results/micro-batch-cpu.md).
_LEAST_PIECE, _PIECE_BYTES = 16, 32_000_000


class TorchBackend:
    """PyTorch: fused attention, fused optimisers, torch.compile where asked for."""

    name = "torch"

    def devices(self) -> list[str]:
        """Returns the devices that PyTorch sees, the preferred one first."""
        found = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
        return [*found, *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]

    def load(
        self, spec: ModelSpec, weights: Arrays, *, device: str | None, precision: Precision
    ) -> TorchModel:
        """Returns a model that gives logits."""
        return TorchModel(spec, weights, _device(device, self.devices()), precision)

    def trainer(
        self, recipe: Recipe, state: Arrays, *, device: str | None, images: NDArray[np.uint8] | None
    ) -> TorchTrainer:
        """Returns a model in training that starts from `state`."""
        return TorchTrainer(recipe, state, _device(device, self.devices()), images)

    def read_state_dict(self, path: Path, reporter: Reporter) -> dict[str, NDArray[Any]]:
        """Returns the tensors of a `.pth` file by name."""
        return read_state_dict(path, reporter)

    def write_state_dict(self, path: Path, weights: Arrays) -> None:
        """Writes tensors as a `.pth` file."""
        write_state_dict(path, weights)

    def peer_name(self, layout: str) -> str | None:
        """Returns the library that a layout belongs to and its version, where it is installed."""
        return peer_name(layout)

    def peer_logits(self, layout: str, folder: Path, spec: ModelSpec, pixels: NDArray[Any]) -> NDArray[Any]:
        """Returns the float64 logits (B, classes) of a folder's `model.safetensors` by that library."""
        return peer_logits(layout, folder, spec, pixels)

    def export(
        self,
        path: Path,
        form: str,
        spec: ModelSpec,
        weights: Arrays,
        card: Mapping[str, str],
        levels: Levels | None,
    ) -> None:
        """Writes a model as a `torch-export` or `onnx` file."""
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
        precision, place = recipe.train.precision, _device(device, self.devices())
        tensors = {name: torch.tensor(value, device=place) for name, value in plan.items()}
        with _scope(precision), torch.inference_mode():
            pixels = torch.tensor(images, device=place)
            return prepare(pixels, tensors, recipe, _master_dtype(precision)).cpu().numpy()


class TorchModel:
    """A model in evaluation."""

    def __init__(self, spec: ModelSpec, weights: Arrays, device: torch.device, precision: Precision) -> None:
        self._spec, self._device, self._precision = spec, device, precision
        self._params = {
            name: torch.tensor(value, dtype=_compute_dtype(precision), device=device)
            for name, value in weights.items()
        }

    def logits(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Returns (B, classes) of normalised pixels (B, C, S, S)."""
        with _scope(self._precision), torch.inference_mode():
            images = torch.tensor(pixels, dtype=_master_dtype(self._precision), device=self._device)
            logits = forward(self._params, images, self._spec)
            return logits.to(_master_dtype(self._precision)).cpu().numpy()


class TorchTrainer:
    """A model in training: parameters and moments are updated where they lie."""

    def __init__(
        self, recipe: Recipe, state: Arrays, device: torch.device, images: NDArray[np.uint8] | None
    ) -> None:
        self._recipe, self._device, self._precision = recipe, device, recipe.train.precision
        self.resident = images is not None and _stays(images.nbytes, device)
        self._images = torch.tensor(images, device=device) if self.resident else None
        given = {
            kind: {name: self._tensor(value) for name, value in values.items()}
            for kind, values in by_kind(state).items()
        }
        moves = plan(recipe)
        self._params = {name: value.requires_grad_(name in moves) for name, value in given["param"].items()}
        self._moving = {name: value for name, value in self._params.items() if name in moves}
        self._optimizer = make_optimizer(recipe.train, moves, self._moving)
        if "moment1" in given:
            set_moments(self._optimizer, recipe.train, self._moving, given, int(state["step"]))
        first = {name: value.detach().clone() for name, value in self._moving.items()}
        self._ema = given.get("ema", first) if recipe.train.ema is not None else None
        self._micro = recipe.train.micro_batch or _micro_batch(recipe, device)
        self._loss = torch.compile(self._piece_loss) if recipe.train.compile else self._piece_loss

    def step(self, batch: Batch, at: StepInput) -> TorchMetrics:
        """Updates the weights once, without waiting for the result."""
        train, params = self._recipe.train, list(self._moving.values())
        with _scope(self._precision):
            loss, _ = self._backward(batch, at.step)
            gradients = [param.grad for param in params if param.grad is not None]
            norm = torch.nn.utils.get_total_norm(gradients)
            if train.clip is not None:
                torch.nn.utils.clip_grads_with_norm_(params, train.clip, norm)
            set_learning_rate(self._optimizer, at.lr)
            self._optimizer.step()
            self._optimizer.zero_grad(set_to_none=True)
            if self._ema is not None:
                with torch.no_grad():
                    torch._foreach_lerp_(list(self._ema.values()), params, 1 - at.ema_decay)
        return TorchMetrics(torch.stack([loss, norm]))

    def inspect(self, batch: Batch, step: int) -> dict[str, Any]:
        """Returns `loss`, `logits` (B, classes) and `gradients` (by name) of a step, and changes nothing."""
        with _scope(self._precision):
            loss, logits = self._backward(batch, step)
            gradients = {
                name: np.zeros(param.shape) if param.grad is None else param.grad.cpu().numpy().copy()
                for name, param in self._moving.items()
            }
            self._optimizer.zero_grad(set_to_none=True)
        return {"loss": float(loss), "logits": logits.cpu().numpy(), "gradients": gradients}

    def stages(self, batch: Batch) -> dict[str, float]:
        """Returns the seconds that `copy` (of a batch to the device) and `augment` take, once compiled."""
        dtype, host = _master_dtype(self._precision), np.asarray(batch.images)
        with _scope(self._precision), torch.inference_mode():
            for _ in range(2):  # the first time is warm-up
                begin = time.perf_counter()
                images = self._put(host)
                plan = {name: self._put(value) for name, value in batch.plan.items()}
                self._wait()
                copied = time.perf_counter()
                prepare(images, plan, self._recipe, dtype)
                self._wait()
                augmented = time.perf_counter()
        return {"copy": copied - begin, "augment": augmented - copied}

    def logits(self, images: NDArray[np.uint8]) -> NDArray[Any]:
        """Returns (B, classes) of uint8 images (B, S, S, C) in evaluation, by averaged weights where they are on."""
        dtype = _master_dtype(self._precision)
        with _scope(self._precision), torch.inference_mode():
            pixels = prepare(torch.tensor(images, device=self._device), {}, self._recipe, dtype)
            params = {**self._params, **(self._ema or {})}
            return forward(self._compute(params), pixels, self._recipe.model).to(dtype).cpu().numpy()

    def state(self) -> dict[str, NDArray[Any]]:
        """Returns the training state by name: `param.*`, `moment1.*`, `moment2.*`, `ema.*`."""
        tensors = {f"param.{name}": value for name, value in self._params.items()}
        tensors |= get_moments(self._optimizer, self._recipe.train, self._moving)
        tensors |= {f"ema.{name}": value for name, value in (self._ema or {}).items()}
        return {name: value.detach().cpu().numpy().copy() for name, value in tensors.items()}

    def _backward(self, batch: Batch, step: int) -> tuple[Tensor, Tensor]:
        """Leaves the gradient of the mean loss in `.grad`; returns that loss and the logits (B, classes)."""
        dtype = _master_dtype(self._precision)
        plan = {name: self._put(value) for name, value in batch.plan.items()}
        stored = self._put(batch.images) if batch.images is not None else None
        if stored is None:
            if self._images is None:
                raise ValueError("a batch without images needs a resident training set")
            stored = self._images[self._put(batch.index)]
        pixels = prepare(stored, plan, self._recipe, dtype)
        labels = targets(self._put(batch.labels), plan, self._recipe, dtype)
        weights = self._put(batch.weights / batch.weights.sum(dtype=np.float64)).to(dtype)
        if self._recipe.train.dropout_bits == "native":
            torch.manual_seed(stream(self._recipe.train.seed, Purpose.NOISE, step)[0])
        position = torch.arange(len(pixels), dtype=torch.int32, device=self._device)
        noise = absorb(self._step_noise(step), position)
        losses, logits = [], []
        for start in range(0, len(pixels), self._micro):
            cut = slice(start, start + self._micro)
            if not batch.weights[cut].any():
                logits.append(torch.zeros_like(labels[cut]))
                continue
            piece = noise._replace(a=noise.a[cut], b=noise.b[cut])
            loss, out = self._loss(pixels[cut], labels[cut], weights[cut], piece)
            torch.autograd.backward(loss)
            losses.append(loss.detach())
            logits.append(out.detach())
        return torch.stack(losses).sum(), torch.cat(logits)

    def _piece_loss(
        self, pixels: Tensor, labels: Tensor, weights: Tensor, noise: Noise
    ) -> tuple[Tensor, Tensor]:
        """Returns the weighted sum of cross-entropies and the logits of some images."""
        logits = forward(self._compute(self._params), pixels, self._recipe.model, noise).to(labels.dtype)
        return (weights * -(labels * functional.log_softmax(logits, dim=-1)).sum(dim=-1)).sum(), logits

    def _compute(self, params: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        dtype = _compute_dtype(self._precision)
        return {name: value.to(dtype) for name, value in params.items()}

    def _step_noise(self, step: int) -> Noise:
        a, b = stream(self._recipe.train.seed, Purpose.NOISE, step)
        words = self._put(np.array([signed(a), signed(b)], np.int32))
        return Noise(words[:1], words[1:], native=self._recipe.train.dropout_bits == "native")

    def _tensor(self, value: NDArray[Any]) -> Tensor:
        return torch.tensor(value, dtype=_master_dtype(self._precision), device=self._device)

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def _put(self, value: NDArray[Any]) -> Tensor:
        """Returns a host array on the device; the copy does not hold the host up."""
        tensor = torch.from_numpy(np.ascontiguousarray(value))
        if self._device.type != "cuda":
            return tensor.to(self._device)
        return tensor.pin_memory().to(self._device, non_blocking=True)


class TorchMetrics:
    """Loss and gradient norm of a step, on their way to the host."""

    def __init__(self, measured: Tensor) -> None:
        self._measured, self._arrived = measured, None
        if measured.device.type == "cuda":
            # Reading from the device would wait for every step queued since; a copy queued now waits for this one.
            self._measured = torch.empty_like(measured, device="cpu", pin_memory=True)
            self._measured.copy_(measured, non_blocking=True)
            self._arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._arrived.record()

    def read(self) -> dict[str, float]:
        """Returns `loss` and `gradient_norm`, waiting for the step."""
        if self._arrived is not None:
            self._arrived.synchronize()
        loss, norm = self._measured.tolist()
        return {"loss": loss, "gradient_norm": norm}


def _master_dtype(precision: Precision) -> torch.dtype:
    """The dtype of weights at rest, moments, augmentation and loss."""
    return torch.float64 if precision == "float64" else torch.float32


def _compute_dtype(precision: Precision) -> torch.dtype:
    """The dtype of the forward and backward pass."""
    return torch.bfloat16 if precision == "bfloat16" else _master_dtype(precision)


@contextmanager
def _scope(precision: Precision) -> Iterator[None]:
    """Sets, for one public call, what PyTorch holds globally: whether float32 products may use TF32."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _micro_batch(recipe: Recipe, device: torch.device) -> int:
    size = recipe.train.batch_size
    if device.type != "cpu":
        return size
    return cpu_micro_batch(recipe.model, size, least=_LEAST_PIECE, budget=_PIECE_BYTES)


def _stays(size: int, device: torch.device) -> bool:
    """Whether a training set of that many bytes is put on the device for good."""
    return device.type == "cuda" and size < _RESIDENT_PART * torch.cuda.mem_get_info(device)[0]


def _device(name: str | None, devices: list[str]) -> torch.device:
    """Returns a device by name: `cpu`, `cuda`, `cuda:1`, `mps`; none is the preferred one.

    Raises:
        BackendError: there is no such device.
    """
    for device in devices:
        if name is None or name in (device, device.split(":")[0]):
            return torch.device(device)
    raise BackendError(f"device '{name}' is not there; PyTorch sees: {', '.join(devices)}")
