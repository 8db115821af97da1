"""Other libraries' own models, all PyTorch's, in float64: the last word on what a file of theirs computes."""

from __future__ import annotations

import importlib.util
import warnings
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vitcli.core.errors import WeightsError, reason

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vitcli.core.spec import ModelSpec


def peer_name(layout: str) -> str | None:
    """Returns the library that a layout belongs to and its version, where it is installed."""
    library, _ = _PEERS.get(layout, (None, None))
    if library is None or importlib.util.find_spec(library) is None:
        return None
    return f"{library} {version(library)}"


def peer_logits(layout: str, folder: Path, spec: ModelSpec, pixels: NDArray[Any]) -> NDArray[Any]:
    """Returns the float64 logits (B, classes) of a model as the library itself builds and loads it.

    Args:
        layout: one for which `peer_name` names a library.
        folder: holds `model.safetensors`, and the library's own configuration where it has one.
        spec: the model; the library is told what its configuration does not say.
        pixels: normalised, (B, C, S, S).

    Raises:
        WeightsError: the library does not take the file.
    """
    _, build = _PEERS[layout]
    try:
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")
            logits: NDArray[Any] = build(folder, spec)(torch.tensor(pixels, dtype=torch.float64)).numpy()
            return logits
    except Exception as error:  # whatever another library may raise: its verdict on the file
        raise WeightsError(f"{peer_name(layout)} does not take the file: {reason(error)}") from error


def _torchvision(folder: Path, spec: ModelSpec) -> Callable[[Tensor], Tensor]:
    from safetensors.torch import load_file
    from torchvision.models.vision_transformer import VisionTransformer

    model: nn.Module = VisionTransformer(
        image_size=spec.image_size,
        patch_size=spec.patch_size,
        num_layers=spec.depth,
        num_heads=spec.num_heads,
        hidden_dim=spec.embed_dim,
        mlp_dim=spec.mlp_dim,
        num_classes=spec.num_classes,
        representation_size=spec.head.pre_logits,
        norm_layer=partial(nn.LayerNorm, eps=spec.norm.eps),
    )
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model.eval().double()


def _timm(folder: Path, spec: ModelSpec) -> Callable[[Tensor], Tensor]:
    import timm

    model: nn.Module = timm.create_model(f"local-dir:{folder}", pretrained=True)
    return model.eval().double()


def _transformers(folder: Path, spec: ModelSpec) -> Callable[[Tensor], Tensor]:
    import transformers

    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    config = transformers.AutoConfig.from_pretrained(folder)
    options: dict[str, Any] = {}
    if spec.num_classes:
        usual = ["AutoModelForImageClassification"]
        kind = getattr(transformers, (config.architectures or usual)[0])
    else:
        kind = transformers.AutoModel
        if config.model_type in ("vit", "deit"):  # a pooler that the file has not would be drawn at random
            options["add_pooling_layer"] = spec.head.pre_logits is not None
        if config.model_type == "vit_mae":
            config.mask_ratio = 0.0  # all patches are seen; their order does not matter to the class token
    model, report = kind.from_pretrained(folder, config=config, output_loading_info=True, **options)
    if report["missing_keys"]:
        raise ValueError(f"it misses {sorted(report['missing_keys'])[0]}")
    model = model.eval().double()

    def logits(pixels: Tensor) -> Tensor:
        out = model(pixels)
        if spec.num_classes:
            features = out.logits
        elif spec.head.pre_logits is not None:
            features = out.pooler_output
        else:
            features = out.last_hidden_state[:, 0]
        return features  # type: ignore[no-any-return]

    return logits


# Layout: the library whose it is, and what builds and loads its model.
_PEERS: dict[str, tuple[str, Callable[[Path, ModelSpec], Callable[[Tensor], Tensor]]]] = {
    "torchvision": ("torchvision", _torchvision),
    "huggingface": ("transformers", _transformers),
    "huggingface-mae": ("transformers", _transformers),
    "timm": ("timm", _timm),
}
