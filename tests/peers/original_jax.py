"""Random models of Google's two JAX programs, built, run, written and read by their own code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, Literal
from unittest.mock import patch

import flax.training.checkpoints  # noqa: F401  (it must not see what stands in for TensorFlow)
import jax
import numpy as np
from numpy.typing import NDArray

from tests.peers.checkouts import load

Program = Literal["google", "big_vision"]
Tree = dict[str, Any]
_ABSENT = (
    *("tensorflow", "tensorflow.io", "tensorflow.io.gfile", "einops"),
    *("ml_collections", "pandas", "tqdm", "packaging", "packaging.version"),
)


@cache
def google() -> tuple[Any, Any]:
    """The model of google-research/vision_transformer and its reader of files."""
    model, checkpoint = load("vision_transformer", "vit_jax.models_vit", "vit_jax.checkpoint", absent=_ABSENT)
    return model, checkpoint


@cache
def big_vision() -> tuple[Any, Any]:
    """The model of google-research/big_vision and its tools."""
    model, tools = load("big_vision", "big_vision.models.vit", "big_vision.utils", absent=_ABSENT)
    return model, tools


@dataclass(frozen=True, kw_only=True)
class Original:
    """A model: the arguments of its code, and random float32 parameters by the names that its code has."""

    program: Program
    arguments: Mapping[str, Any]
    image: tuple[int, int, int]
    params: Tree

    def pixels(self) -> NDArray[Any]:
        """Fixed random inputs (B, C, S, S)."""
        height, width, channels = self.image
        return np.random.default_rng(7).normal(size=(3, channels, height, width)).astype(np.float32)

    def logits(self, params: Tree | None = None, *, wide: bool) -> NDArray[Any]:
        """What its code makes of the inputs, in float64 or in float32, with these parameters or its own."""
        pixels = self.pixels().transpose(0, 2, 3, 1)
        kind = np.float64 if wide else np.float32
        with jax.enable_x64(wide):
            tree = jax.tree.map(lambda value: np.asarray(value).astype(kind), params or self.params)
            run = partial(apply, self.program, self.arguments, wide)
            # Defaults of dtype must not narrow what is to be exact.
            assert not wide or "f32" not in str(jax.make_jaxpr(run)(tree, pixels.astype(kind)))
            return np.asarray(jax.jit(run)(tree, pixels.astype(kind)))


def apply(program: Program, arguments: Mapping[str, Any], wide: bool, params: Tree, pixels: Any) -> Any:
    """Runs a program's model; where it is to be wide, so are its blocks, whose default is float32."""
    if program == "google":
        models, _ = google()
        block = partial(models.Encoder1DBlock, dtype="float64" if wide else "float32")
        with patch.object(models, "Encoder1DBlock", block):
            return module(program, arguments).apply({"params": params}, pixels, train=False)
    models, _ = big_vision()
    dtype = {"dtype_mm": "float64" if wide else "float32"}
    with patch.object(models, "MlpBlock", partial(models.MlpBlock, **dtype)):
        return module(program, {**arguments, **dtype}).apply({"params": params}, pixels, train=False)[0]


def module(program: Program, arguments: Mapping[str, Any]) -> Any:
    """A program's model of these arguments."""
    if program == "google":
        patches = SimpleNamespace(size=tuple(arguments["patches"]))
        resnet = arguments.get("resnet")
        told = {**arguments, "patches": patches, "resnet": resnet and SimpleNamespace(**resnet)}
        return google()[0].VisionTransformer(**told)
    return big_vision()[0].Model(**{**arguments, "patch_size": tuple(arguments["patch_size"])})


def build(
    program: Program, arguments: Mapping[str, Any], image: tuple[int, int, int], seed: int = 0
) -> Original:
    """A model in whose parameters nothing is zero or one."""
    random = np.random.default_rng(seed)
    init = partial(module(program, arguments).init, train=False)
    shapes = jax.eval_shape(init, jax.random.key(0), np.zeros((1, *image), np.float32))["params"]

    def value(path: Any, like: Any) -> NDArray[np.float32]:
        gain = path[-1].key == "scale"
        return np.asarray(0.3 * random.normal(size=like.shape) + gain, np.float32)

    params = jax.tree_util.tree_map_with_path(value, shapes)
    return Original(program=program, arguments=arguments, image=image, params=params)


def sized(program: Program, seed: int, **options: Any) -> Original:
    """A model of random sizes with some options of its program."""
    chance = Random(seed)
    heads, features = chance.choice([2, 3, 5]), chance.choice([4, 8])
    width, depth, mlp = heads * features, chance.randint(1, 3), chance.choice([18, 27, 33])
    patch_size, grid, channels = chance.randint(2, 5), chance.randint(2, 5), chance.choice([1, 3, 3])
    side = grid * patch_size
    arguments: dict[str, Any]
    if program == "google":
        encoder = {"num_layers": depth, "mlp_dim": mlp, "num_heads": heads, **options.pop("transformer", {})}
        arguments = {"hidden_size": width, "patches": [patch_size, patch_size], "transformer": encoder}
        arguments |= {"num_classes": chance.randint(2, 9)}
    else:
        arguments = {"width": width, "depth": depth, "num_heads": heads, "mlp_dim": mlp}
        arguments |= {"patch_size": [patch_size, patch_size], "num_classes": chance.randint(2, 9)}
    return build(program, {**arguments, **options}, (side, side, channels), seed)


def flat(tree: Tree) -> dict[str, NDArray[Any]]:
    """The names under which big_vision writes a tree."""
    names, _ = big_vision()[1].tree_flatten_with_names(tree)
    return {name: np.asarray(value) for name, value in names}


def save(path: Path, tree: Tree) -> Path:
    """Writes a tree as these programs do: NumPy's archive of flat names."""
    np.savez(path, **flat(tree))  # type: ignore[arg-type]
    return path


def restored(model: Original, path: Path) -> Tree:
    """What the reader of its program makes of a file."""
    if model.program == "google":
        return dict(google()[1].load(str(path)))
    return dict(big_vision()[0].load(model.params, str(path), dict(model.arguments)))
