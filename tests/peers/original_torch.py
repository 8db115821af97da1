"""Random models of Meta's DINOv2 and OpenAI's CLIP, built and run by their own code.

`python -m tests.peers.original_torch` writes the golden files of this code again.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from tests.peers.checkouts import load
from tests.peers.random import randomized

GOLDEN = Path(__file__).parent.parent / "golden" / "peers"


@cache
def dinov2() -> Any:
    """The module of DINOv2's Vision Transformer."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that xFormers is not there
        return load("dinov2", "dinov2.models.vision_transformer")[0]


@cache
def openai() -> Any:
    """The module of OpenAI's models."""
    return load("clip/clip", "model")[0]


def backbone(**arguments: Any) -> Any:
    """A random model of DINOv2's."""
    return randomized(dinov2().DinoVisionTransformer(**arguments))


def classifier(classes: int, layers: int = 1, **arguments: Any) -> Any:
    """A random model of DINOv2's under a linear classifier."""
    dinov2()
    hub = load("dinov2", "dinov2.hub.classifiers")[0]
    inner = dinov2().DinoVisionTransformer(**arguments)
    head = torch.nn.Linear((1 + layers) * arguments["embed_dim"], classes)
    return randomized(hub._LinearClassifierWrapper(backbone=inner, linear_head=head, layers=layers))


def tower(**arguments: Any) -> Any:
    """A random visual tower of OpenAI's, under the names that it has in a whole CLIP."""
    return randomized(_Whole(openai().VisionTransformer(**arguments)))


class _Whole(torch.nn.Module):
    def __init__(self, visual: Any) -> None:
        super().__init__()
        self.visual = visual

    def forward(self, pixels: torch.Tensor) -> Any:
        if pixels.dtype is not torch.float64:
            return self.visual(pixels)
        # Its norms go to float32, which weights in float64 do not allow.
        with patch.object(openai().LayerNorm, "forward", torch.nn.LayerNorm.forward):
            return self.visual(pixels)


def exact(model: Any, pixels: NDArray[Any]) -> NDArray[Any]:
    """What a model makes of pixels in float64, DINOv2's resized positions included, which it computes in float32."""
    with patch.object(torch.Tensor, "float", torch.Tensor.double), torch.inference_mode():
        found: NDArray[Any] = model.double()(torch.tensor(pixels, dtype=torch.float64)).numpy()
    return found


_SIZES = {"img_size": 16, "patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2, "mlp_ratio": 3}
_HUB = {"init_values": 1.0, "block_chunks": 0}
_REGISTERS = {"num_register_tokens": 4, "interpolate_antialias": True, "interpolate_offset": 0.0}
# By the name of its folder: how it is built, and the side of larger images that its own code resizes positions for.
MODELS: Mapping[str, tuple[Callable[..., Any], Mapping[str, Any], int | None]] = {
    "dinov2": (backbone, {**_SIZES, **_HUB}, 28),
    "dinov2_reg_swiglu": (backbone, {**_SIZES, **_HUB, **_REGISTERS, "ffn_layer": "swiglufused"}, 28),
    "dinov2_linear": (classifier, {**_SIZES, **_HUB, "classes": 7, "num_register_tokens": 3}, None),
    "clip_openai": (
        tower,
        {"input_resolution": 16, "patch_size": 4, "width": 16, "layers": 2, "heads": 2, "output_dim": 6},
        None,
    ),
}


def write(folder: Path, name: str) -> None:
    """Writes one golden file, and what its model makes of fixed inputs."""
    build, arguments, larger = MODELS[name]
    model = build(**arguments)
    side = arguments.get("img_size", arguments.get("input_resolution"))
    (folder / name).mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / name / "model.safetensors")
    random = np.random.default_rng(7)
    found: dict[str, torch.Tensor] = {}
    for kind, pixels in {"": side, "larger_": larger}.items():
        if pixels is not None:
            images = random.normal(size=(2, 3, pixels, pixels)).astype(np.float32)
            with torch.inference_mode():
                narrow = model.float()(torch.tensor(images))
            found |= {f"{kind}input": torch.tensor(images), f"{kind}logits": narrow.contiguous()}
            found |= {f"{kind}logits_f64": torch.tensor(exact(model, images)).contiguous()}
    save_file(found, folder / name / "io.safetensors")
    text = json.dumps({"builder": build.__name__, **arguments}, indent=2)
    (folder / name / "config.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    for each in MODELS:
        write(GOLDEN, each)
