"""Models as files for programs without vit: torch.export, and ONNX by `onnx.py`. `vitcli_jax/export.py` is its twin."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from vitcli.core.errors import VitError
from vitcli.core.spec import ModelSpec
from vitcli_torch.model import embed, forward

if TYPE_CHECKING:
    from vitcli.core.backend import Arrays, Levels


class Network(nn.Module):
    """A model whose parameters have the native names, as the exporters want it."""

    def __init__(self, spec: ModelSpec, weights: Arrays) -> None:
        super().__init__()
        self._spec = spec
        for name, value in weights.items():
            *path, leaf = name.split(".")
            place: nn.Module = self
            for step in path:
                if step not in dict(place.named_children()):
                    place.add_module(step, nn.Module())
                place = place.get_submodule(step)
            tensor = torch.tensor(value, dtype=torch.float32)
            place.register_parameter(leaf, nn.Parameter(tensor, requires_grad=False))

    def forward(self, pixels: Tensor) -> Tensor:
        """Returns the logits (B, classes) of normalised pixels (B, C, S, S)."""
        return forward(dict(self.named_parameters()), pixels, self._spec)


class Normalised(nn.Module):
    """A network that takes images as files hold them."""

    def __init__(self, network: Network, levels: Levels) -> None:
        super().__init__()
        self.network = network
        mean, std = (torch.tensor(values, dtype=torch.float32) for values in levels)
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, images: Tensor) -> Tensor:
        """Returns the logits (B, classes) of images, uint8 (B, S, S, C)."""
        pixels = (images.float() / 255 - cast(Tensor, self.mean)) / cast(Tensor, self.std)
        return cast(Tensor, self.network(pixels.permute(0, 3, 1, 2)))


def export(
    path: Path, form: str, spec: ModelSpec, weights: Arrays, card: Mapping[str, str], levels: Levels | None
) -> None:
    """Writes a model as a `torch-export` or `onnx` file.

    Raises:
        VitError: the file cannot be written.
    """
    program = trace(spec, weights, levels)
    if form == "onnx":
        from vitcli_torch.onnx import write_onnx  # only here are the libraries of ONNX needed

        write_onnx(path, program, card)
        return
    try:
        with path.open("wb") as file, warnings.catch_warnings(action="ignore"):
            torch.export.save(program, file, extra_files=dict(card))
    except RuntimeError as error:
        raise VitError(f"cannot write {path}: {str(error).splitlines()[0]}") from error


def trace(spec: ModelSpec, weights: Arrays, levels: Levels | None) -> ExportedProgram:
    """Returns the program of a model for batches of any size; nothing in it tells where it was made."""
    network, side, channels = Network(spec, weights), spec.image_size, spec.in_channels
    pixels = torch.zeros(2, channels, side, side)
    # Tables that are made once and kept are made now: while tracing they would be kept without their values.
    embed(dict(network.named_parameters()), pixels, spec)
    batch = {0: Dim("batch", min=1)}
    with warnings.catch_warnings(action="ignore"):
        if levels is None:
            program = torch.export.export(network, (pixels,), dynamic_shapes={"pixels": batch})
        else:
            images = torch.zeros(2, side, side, channels, dtype=torch.uint8)
            program = torch.export.export(
                Normalised(network, levels), (images,), dynamic_shapes={"images": batch}
            )
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # names of files and folders of this machine
    return program


def run_exported(
    path: Path, form: str, batches: Sequence[NDArray[Any]]
) -> tuple[dict[str, str], list[NDArray[Any]]]:
    """Returns the texts that a file holds, and the logits (B, classes) that it gives for batches."""
    if form == "onnx":
        from vitcli_torch.onnx import run_onnx  # as above

        return run_onnx(path, batches)
    texts = {"vit.schema": ""}  # PyTorch fills in all that the file has, but not into an empty map
    with path.open("rb") as file, warnings.catch_warnings(action="ignore"):
        module = torch.export.load(file, extra_files=texts).module()
    with torch.inference_mode():
        return texts, [module(torch.tensor(batch)).numpy() for batch in batches]
