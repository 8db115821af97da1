"""Well-known releases of pretrained Vision Transformers: their names, and where each one is published.

Sources. Ids, addresses, image sizes and licenses of timm's: the pretrained configurations of timm 1.0.31, which also
give the addresses of Google's AugReg and of DINOv2. torchvision's: its weights enums (0.29). Hugging Face's own
copies: their ids as transformers 5.23 and the model cards name them; their licenses are those that timm states for
the same weights. Parameters: counted on models built by timm, transformers and torchvision; of a masked
autoencoder, those of its encoder.

No size or hash is listed, since none is published in those places: a file from the Hub is held to what the Hub says of
it, and torchvision's to the digits of its sha256 that stand in its name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from vitcli.core.errors import nearest

Named = Literal["timm", "huggingface", "google", "dinov2", "torchvision"]


@dataclass(frozen=True, kw_only=True)
class Release:
    """A published weights file.

    Attributes:
        source: `owner/name` on the Hub, or an https address.
        layout: by whose names its tensors go.
        image_size: pixels of a side that it was made for.
        license: empty where it is not stated.
    """

    name: str
    source: str
    layout: Named
    parameters: int
    image_size: int
    license: str


_APACHE, _NON_COMMERCIAL = "apache-2.0", "cc-by-nc-4.0"
_SWAG = "see facebookresearch/SWAG"

# name, parameters, image size, license
_TIMM = (
    ("vit_tiny_patch16_224.augreg_in21k_ft_in1k", 5_717_416, 224, _APACHE),
    ("vit_tiny_patch16_384.augreg_in21k_ft_in1k", 5_790_376, 384, _APACHE),
    ("vit_small_patch32_224.augreg_in21k_ft_in1k", 22_878_952, 224, _APACHE),
    ("vit_small_patch16_224.augreg_in21k_ft_in1k", 22_050_664, 224, _APACHE),
    ("vit_small_patch16_384.augreg_in21k_ft_in1k", 22_196_584, 384, _APACHE),
    ("vit_base_patch32_224.augreg_in21k_ft_in1k", 88_224_232, 224, _APACHE),
    ("vit_base_patch16_224.augreg2_in21k_ft_in1k", 86_567_656, 224, _APACHE),
    ("vit_base_patch16_224.augreg_in21k_ft_in1k", 86_567_656, 224, _APACHE),
    ("vit_base_patch16_224.augreg_in21k", 102_595_923, 224, _APACHE),
    ("vit_base_patch16_224.orig_in21k_ft_in1k", 86_567_656, 224, _APACHE),
    ("vit_base_patch16_384.augreg_in21k_ft_in1k", 86_859_496, 384, _APACHE),
    ("vit_base_patch8_224.augreg2_in21k_ft_in1k", 86_576_872, 224, _APACHE),
    ("vit_large_patch16_224.augreg_in21k_ft_in1k", 304_326_632, 224, _APACHE),
    ("vit_large_patch16_384.augreg_in21k_ft_in1k", 304_715_752, 384, _APACHE),
    ("deit_tiny_patch16_224.fb_in1k", 5_717_416, 224, _APACHE),
    ("deit_small_patch16_224.fb_in1k", 22_050_664, 224, _APACHE),
    ("deit_base_patch16_224.fb_in1k", 86_567_656, 224, _APACHE),
    ("deit_base_patch16_384.fb_in1k", 86_859_496, 384, _APACHE),
    ("deit3_small_patch16_224.fb_in22k_ft_in1k", 22_059_496, 224, _APACHE),
    ("deit3_base_patch16_224.fb_in22k_ft_in1k", 86_585_320, 224, _APACHE),
    ("deit3_large_patch16_224.fb_in22k_ft_in1k", 304_374_760, 224, _APACHE),
    ("vit_small_patch16_224.dino", 21_665_664, 224, _APACHE),
    ("vit_small_patch8_224.dino", 21_670_272, 224, _APACHE),
    ("vit_base_patch16_224.dino", 85_798_656, 224, _APACHE),
    ("vit_base_patch8_224.dino", 85_807_872, 224, _APACHE),
    ("vit_base_patch16_224.mae", 85_798_656, 224, _NON_COMMERCIAL),
    ("vit_large_patch16_224.mae", 303_301_632, 224, _NON_COMMERCIAL),
    ("vit_huge_patch14_224.mae", 630_764_800, 224, _NON_COMMERCIAL),
    ("vit_small_patch14_dinov2.lvd142m", 22_056_192, 518, _APACHE),
    ("vit_base_patch14_dinov2.lvd142m", 86_579_712, 518, _APACHE),
    ("vit_large_patch14_dinov2.lvd142m", 304_367_616, 518, _APACHE),
    ("vit_giant_patch14_dinov2.lvd142m", 1_136_479_232, 518, _APACHE),
    ("vit_small_patch14_reg4_dinov2.lvd142m", 22_057_344, 518, _APACHE),
    ("vit_base_patch14_reg4_dinov2.lvd142m", 86_582_016, 518, _APACHE),
    ("vit_large_patch14_reg4_dinov2.lvd142m", 304_370_688, 518, _APACHE),
    ("vit_giant_patch14_reg4_dinov2.lvd142m", 1_136_483_840, 518, _APACHE),
    ("vit_base_patch32_clip_224.openai", 87_849_728, 224, _APACHE),
    ("vit_base_patch16_clip_224.openai", 86_193_152, 224, _APACHE),
    ("vit_large_patch14_clip_224.openai", 303_966_976, 224, _APACHE),
    ("vit_base_patch32_clip_224.laion2b", 87_849_728, 224, _APACHE),
    ("vit_base_patch16_clip_224.laion2b", 86_193_152, 224, _APACHE),
    ("vit_base_patch16_clip_224.laion2b_ft_in12k_in1k", 86_568_424, 224, _APACHE),
    ("vit_large_patch14_clip_224.laion2b", 303_966_976, 224, _APACHE),
    ("vit_base_patch16_siglip_224.webli", 92_884_224, 224, _APACHE),
)
# id, parameters, image size, license
_HUGGING_FACE = (
    ("google/vit-base-patch16-224", 86_567_656, 224, _APACHE),
    ("google/vit-base-patch16-384", 86_859_496, 384, _APACHE),
    ("google/vit-base-patch32-384", 88_297_192, 384, _APACHE),
    ("google/vit-large-patch16-224", 304_326_632, 224, _APACHE),
    ("google/vit-large-patch16-384", 304_715_752, 384, _APACHE),
    ("google/vit-large-patch32-384", 306_632_680, 384, _APACHE),
    ("google/vit-base-patch16-224-in21k", 86_389_248, 224, _APACHE),
    ("google/vit-base-patch32-224-in21k", 88_045_824, 224, _APACHE),
    ("google/vit-large-patch16-224-in21k", 304_351_232, 224, _APACHE),
    ("google/vit-large-patch32-224-in21k", 306_560_000, 224, _APACHE),
    ("google/vit-huge-patch14-224-in21k", 632_404_480, 224, _APACHE),
    ("facebook/deit-tiny-patch16-224", 5_717_416, 224, _APACHE),
    ("facebook/deit-small-patch16-224", 22_050_664, 224, _APACHE),
    ("facebook/deit-base-patch16-224", 86_567_656, 224, _APACHE),
    ("facebook/deit-base-patch16-384", 86_859_496, 384, _APACHE),
    ("facebook/dinov2-small", 22_056_576, 518, _APACHE),
    ("facebook/dinov2-base", 86_580_480, 518, _APACHE),
    ("facebook/dinov2-large", 304_368_640, 518, _APACHE),
    ("facebook/dinov2-giant", 1_136_480_768, 518, _APACHE),
    ("facebook/dinov2-with-registers-small", 22_058_112, 518, _APACHE),
    ("facebook/dinov2-with-registers-base", 86_583_552, 518, _APACHE),
    ("facebook/dinov2-with-registers-large", 304_372_736, 518, _APACHE),
    ("facebook/dinov2-with-registers-giant", 1_136_486_912, 518, _APACHE),
    ("facebook/vit-mae-base", 85_798_656, 224, _NON_COMMERCIAL),
    ("facebook/vit-mae-large", 303_301_632, 224, _NON_COMMERCIAL),
    ("facebook/vit-mae-huge", 630_764_800, 224, _NON_COMMERCIAL),
)
# model, name of the file that was trained on ImageNet-21k, parameters, and (image size, learning rate, parameters)
# of those fine-tuned on ImageNet-1k
_AUGREG = (
    (
        "Ti_16",
        "300ep-lr_0.001-aug_none-wd_0.03-do_0.0-sd_0.0",
        9_740_115,
        ((224, "0.03", 5_717_416), (384, "0.03", 5_790_376)),
    ),
    (
        "S_32",
        "300ep-lr_0.001-aug_light1-wd_0.03-do_0.0-sd_0.0",
        30_903_507,
        ((224, "0.03", 22_878_952), (384, "0.03", 22_915_432)),
    ),
    (
        "S_16",
        "300ep-lr_0.001-aug_light1-wd_0.03-do_0.0-sd_0.0",
        30_075_219,
        ((224, "0.03", 22_050_664), (384, "0.03", 22_196_584)),
    ),
    (
        "B_32",
        "300ep-lr_0.001-aug_medium1-wd_0.03-do_0.0-sd_0.0",
        104_252_499,
        ((224, "0.03", 88_224_232),),
    ),
    (
        "B_16",
        "300ep-lr_0.001-aug_medium1-wd_0.1-do_0.0-sd_0.0",
        102_595_923,
        ((224, "0.01", 86_567_656), (384, "0.01", 86_859_496)),
    ),
    (
        "B_8",
        "300ep-lr_0.001-aug_medium1-wd_0.1-do_0.0-sd_0.0",
        102_605_139,
        ((224, "0.01", 86_576_872),),
    ),
    (
        "L_16",
        "300ep-lr_0.001-aug_medium1-wd_0.1-do_0.1-sd_0.1",
        325_690_707,
        ((224, "0.01", 304_326_632), (384, "0.01", 304_715_752)),
    ),
)
# letter of the size, parameters without and with registers
_DINOV2 = (
    ("s", 22_056_576, 22_058_112),
    ("b", 86_580_480, 86_583_552),
    ("l", 304_368_640, 304_372_736),
    ("g", 1_136_480_768, 1_136_486_912),
)
# model, name of the weights, file, parameters, image size, license
_TORCHVISION = (
    ("vit_b_16", "IMAGENET1K_V1", "vit_b_16-c867db91", 86_567_656, 224, ""),
    ("vit_b_16", "IMAGENET1K_SWAG_E2E_V1", "vit_b_16_swag-9ac1b537", 86_859_496, 384, _SWAG),
    ("vit_b_16", "IMAGENET1K_SWAG_LINEAR_V1", "vit_b_16_lc_swag-4e70ced5", 86_567_656, 224, _SWAG),
    ("vit_b_32", "IMAGENET1K_V1", "vit_b_32-d86f8d99", 88_224_232, 224, ""),
    ("vit_l_16", "IMAGENET1K_V1", "vit_l_16-852ce7e3", 304_326_632, 224, ""),
    ("vit_l_16", "IMAGENET1K_SWAG_E2E_V1", "vit_l_16_swag-4f3808c9", 305_174_504, 512, _SWAG),
    ("vit_l_16", "IMAGENET1K_SWAG_LINEAR_V1", "vit_l_16_lc_swag-4d563306", 304_326_632, 224, _SWAG),
    ("vit_l_32", "IMAGENET1K_V1", "vit_l_32-c7638314", 306_535_400, 224, ""),
    ("vit_h_14", "IMAGENET1K_SWAG_E2E_V1", "vit_h_14_swag-80465313", 633_470_440, 518, _SWAG),
    ("vit_h_14", "IMAGENET1K_SWAG_LINEAR_V1", "vit_h_14_lc_swag-c1eb923e", 632_045_800, 224, _SWAG),
)


def lookup(name: str) -> Release | None:
    """Returns the release that has this name, Hub id or address."""
    return RELEASES.get(name) or next((known for known in RELEASES.values() if known.source == name), None)


def similar(name: str) -> str:
    """Returns ` (did you mean ...?)` for the releases of a model that is named without one, or the closest name."""
    family = [f"'{known}'" for known in RELEASES if known.startswith(f"{name}.")]
    return f" (did you mean {' or '.join(family[:3])}?)" if family else nearest(name, RELEASES)


def _timm() -> Iterator[Release]:
    for name, parameters, size, license in _TIMM:
        yield _release(name, f"timm/{name}", "timm", parameters, size, license)


def _hugging_face() -> Iterator[Release]:
    for source, parameters, size, license in _HUGGING_FACE:
        yield _release(source.partition("/")[2], source, "huggingface", parameters, size, license)


def _augreg() -> Iterator[Release]:
    for model, trained, parameters, tuned in _AUGREG:
        name = f"augreg-{model.replace('_', '').lower()}-in21k"
        address = f"https://storage.googleapis.com/vit_models/augreg/{model}-i21k-{trained}"
        yield _release(name, f"{address}.npz", "google", parameters, 224, _APACHE)
        for size, rate, count in tuned:
            target = f"{address}--imagenet2012-steps_20k-lr_{rate}-res_{size}.npz"
            yield _release(f"{name}-ft-in1k-{size}", target, "google", count, size, _APACHE)


def _dinov2() -> Iterator[Release]:
    for letter, plain, registers in _DINOV2:
        model = f"dinov2_vit{letter}14"
        address = f"https://dl.fbaipublicfiles.com/dinov2/{model}/{model}"
        yield _release(model, f"{address}_pretrain.pth", "dinov2", plain, 518, _APACHE)
        yield _release(f"{model}_reg", f"{address}_reg4_pretrain.pth", "dinov2", registers, 518, _APACHE)


def _torchvision() -> Iterator[Release]:
    for model, weights, file, parameters, size, license in _TORCHVISION:
        address = f"https://download.pytorch.org/models/{file}.pth"
        yield _release(f"{model}.{weights}", address, "torchvision", parameters, size, license)


def _release(name: str, source: str, layout: Named, parameters: int, size: int, license: str) -> Release:
    return Release(
        name=name, source=source, layout=layout, parameters=parameters, image_size=size, license=license
    )


RELEASES = {
    release.name: release for release in (*_timm(), *_hugging_face(), *_augreg(), *_dinov2(), *_torchvision())
}
