"""Resampling equals what the peers' own functions do: timm, transformers, torchvision, SciPy and torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from vitcli.core.initial import Resample
from vitcli.weights.resample import KERNELS, POSITIONS, resized_kernel, resized_positions

torch = pytest.importorskip("torch")
WIDTH = 4
# Old and new grid: larger, smaller, by whole factors and not, from one and to one, far, and the same.
GRIDS = [
    (7, 12),
    (12, 7),
    (4, 8),
    (8, 4),
    (3, 4),
    (14, 24),
    (16, 37),
    (37, 16),
    (1, 3),
    (5, 1),
    (2, 3),
    (6, 6),
]
# Values of size one in float64; timm and transformers' Dinov2 compute places and sums in float32.
EXACT, NARROW = 1e-13, 1e-5


def table(grid: int, prefix: int, seed: int = 0) -> NDArray[Any]:
    """A position table in which every number differs."""
    return np.random.default_rng(seed).standard_normal((1, prefix + grid**2, WIDTH))


def interpolated(old: NDArray[Any], prefix: int, grid: int, **options: Any) -> NDArray[Any]:
    """The patches of a table through torch's own resizing; the prefix in front."""
    side = round((old.shape[1] - prefix) ** 0.5)
    square = torch.tensor(old[:, prefix:]).reshape(1, side, side, -1).permute(0, 3, 1, 2)
    if "scale_factor" not in options:
        options["size"] = (grid, grid)
    new = torch.nn.functional.interpolate(square, **options)
    assert new.shape[2:] == (grid, grid)
    return np.concatenate([old[:, :prefix], new.permute(0, 2, 3, 1).reshape(1, grid**2, -1)], axis=1)


@pytest.mark.parametrize(("old", "new"), GRIDS)
@pytest.mark.parametrize(
    ("variant", "options"),
    [
        ("timm", {"mode": "bicubic", "antialias": True}),
        ("dinov2-registers", {"mode": "bicubic", "antialias": True}),
        ("huggingface", {"mode": "bicubic"}),
        ("torchvision", {"mode": "bicubic", "align_corners": True}),
        ("google", {"mode": "bilinear", "align_corners": True}),
        ("bilinear", {"mode": "bilinear"}),
    ],
)
def test_positions_equal_torch_in_float64(
    variant: Resample, options: dict[str, Any], old: int, new: int
) -> None:
    before = table(old, 3)
    found = resized_positions(before, 3, new, POSITIONS[variant])
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, interpolated(before, 3, new, **options), rtol=0, atol=EXACT)


@pytest.mark.parametrize(("old", "new"), GRIDS)
def test_positions_equal_dinov2(old: int, new: int) -> None:
    # Its code gives torch a factor instead of a size, a tenth too large so that it rounds to the right size.
    before, factor = table(old, 1), (new + 0.1) / old
    expected = interpolated(before, 1, new, mode="bicubic", scale_factor=(factor, factor))
    found = resized_positions(before, 1, new, POSITIONS["dinov2"])
    np.testing.assert_allclose(found, expected, rtol=0, atol=EXACT)
    if old != new and old > 1:
        assert abs(found - resized_positions(before, 1, new, POSITIONS["huggingface"])).max() > 1e-3


@pytest.mark.parametrize(("old", "new"), GRIDS)
@pytest.mark.parametrize("prefix", [0, 1, 5])
def test_positions_equal_timm(prefix: int, old: int, new: int) -> None:
    layers = pytest.importorskip("timm.layers")
    before = table(old, prefix)
    expected = layers.resample_abs_pos_embed(
        torch.tensor(before), [new, new], [old, old], num_prefix_tokens=prefix
    )
    found = resized_positions(before, prefix, new, POSITIONS["timm"])
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=NARROW)


@pytest.mark.parametrize(("old", "new"), [(7, 12), (12, 7), (3, 4), (16, 37)])
@pytest.mark.parametrize(
    ("variant", "peer", "tolerance"),
    [
        ("huggingface", "vit.ViT", EXACT),
        ("huggingface", "dinov2.Dinov2", NARROW),
        ("dinov2-registers", "dinov2_with_registers.Dinov2WithRegisters", NARROW),
    ],
)
def test_positions_equal_transformers(
    variant: Resample, peer: str, tolerance: float, old: int, new: int
) -> None:
    transformers = pytest.importorskip("transformers")
    folder, _, name = peer.partition(".")
    module = pytest.importorskip(f"transformers.models.{folder}.modeling_{folder}")
    config = getattr(transformers, f"{name}Config")(hidden_size=WIDTH, image_size=2 * old, patch_size=2)
    embeddings, before = getattr(module, f"{name}Embeddings")(config).double(), table(old, 1)
    embeddings.position_embeddings.data = torch.tensor(before)
    with torch.no_grad():
        expected = embeddings.interpolate_pos_encoding(torch.zeros(1, 1 + new**2, WIDTH), 2 * new, 2 * new)
    found = resized_positions(before, 1, new, POSITIONS[variant])
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=tolerance)


@pytest.mark.parametrize(("old", "new"), GRIDS)
def test_positions_equal_torchvision(old: int, new: int) -> None:
    peer = pytest.importorskip("torchvision.models.vision_transformer")
    before, name = table(old, 1), "encoder.pos_embedding"
    expected = peer.interpolate_embeddings(4 * new, 4, {name: torch.tensor(before)})[name]
    found = resized_positions(before, 1, new, POSITIONS["torchvision"])
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=EXACT)


@pytest.mark.parametrize("variant", ["google", "big_vision"])
@pytest.mark.parametrize(("old", "new"), GRIDS)
def test_positions_equal_scipy_zoom(variant: Resample, old: int, new: int) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    before = table(old, 1)
    square = before[0, 1:].reshape(old, old, WIDTH)
    expected = ndimage.zoom(square, (new / old, new / old, 1), order=1).reshape(1, new**2, WIDTH)
    found = resized_positions(before, 1, new, POSITIONS[variant])
    np.testing.assert_allclose(found[:, 1:], expected, rtol=0, atol=EXACT)
    np.testing.assert_array_equal(found[:, :1], before[:, :1])


@pytest.mark.parametrize(
    ("old", "new"), [(4, 8), (8, 4), (16, 14), (14, 16), (16, 8), (5, 3), (3, 5), (1, 2)]
)
@pytest.mark.parametrize(
    ("variant", "mode", "antialias"),
    [
        *((variant, "bicubic", True) for variant in ("timm", "huggingface", "torchvision", "dinov2")),
        *((variant, "bilinear", False) for variant in ("google", "big_vision", "bilinear")),
    ],
)
def test_kernels_equal_timm(variant: Resample, mode: str, antialias: bool, old: int, new: int) -> None:
    layers = pytest.importorskip("timm.layers")
    kernel = np.random.default_rng(old).standard_normal((3, 2, old, old))
    found = resized_kernel(kernel, new, KERNELS[variant])
    # In float64, by torch's resizing of every unit patch and NumPy's pseudo-inverse of the whole.
    units = torch.eye(old**2, dtype=torch.float64).reshape(old**2, 1, old, old)
    resized = torch.nn.functional.interpolate(units, size=(new, new), mode=mode, antialias=antialias)
    expected = kernel.reshape(6, -1) @ np.linalg.pinv(resized.reshape(old**2, -1).numpy().T)
    np.testing.assert_allclose(found.reshape(6, -1), expected, rtol=0, atol=1e-11 * abs(expected).max())
    theirs = layers.resample_patch_embed(
        torch.tensor(kernel), [new, new], interpolation=mode, antialias=antialias
    ).numpy()
    np.testing.assert_allclose(found, theirs, rtol=0, atol=1e-4 * abs(theirs).max())


@pytest.mark.parametrize("variant", ["timm", "bilinear"])
def test_a_larger_kernel_gives_resized_patches_their_tokens(variant: Resample) -> None:
    random = np.random.default_rng(0)
    kernel, patch = random.standard_normal((5, 3, 4, 4)), random.standard_normal((3, 4, 4))
    matrix = KERNELS[variant].matrix(4, 7)
    larger = np.einsum("ih,jw,chw->cij", matrix, matrix, patch)
    found = resized_kernel(kernel, 7, KERNELS[variant])
    np.testing.assert_allclose(
        np.einsum("dchw,chw->d", found, larger), np.einsum("dchw,chw->d", kernel, patch), atol=1e-12
    )


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_results_have_the_type_of_the_source(dtype: Any) -> None:
    before, kernel = table(4, 2).astype(dtype), np.ones((2, 3, 4, 4), dtype)
    found = resized_positions(before, 2, 6, POSITIONS["timm"])
    assert found.dtype == resized_kernel(kernel, 6, KERNELS["timm"]).dtype == dtype
    np.testing.assert_array_equal(found[:, :2], before[:, :2])
    exact = resized_positions(before.astype(np.float64), 2, 6, POSITIONS["timm"])
    np.testing.assert_array_equal(found, exact.astype(dtype))  # rounded once, at the end


@pytest.mark.parametrize("variant", get_args(Resample))
def test_every_variant_keeps_what_is_constant(variant: Resample) -> None:
    method: Callable[[int, int], Any] = POSITIONS[variant].matrix
    for old, new in GRIDS:
        np.testing.assert_allclose(method(old, new).sum(axis=1), 1.0, atol=1e-14)
    assert set(POSITIONS) == set(KERNELS) == set(get_args(Resample))
