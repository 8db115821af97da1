"""A recipe is data: the model, the images, what is done to them, and how training goes."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from vitcli.core.initial import InitSpec
from vitcli.core.pixels import FARTHEST
from vitcli.core.record import Floats, Pair, Record, Texts
from vitcli.core.spec import Count, ModelSpec, Rate
from vitcli.core.tune import TuneSpec, plan

Precision = Literal["float32", "tf32", "bfloat16", "float64"]
OptimizerName = Literal["sgd", "adam", "adamw", "lion"]
ScheduleName = Literal["constant", "cosine", "linear", "step", "multistep"]
Interpolation = Literal["bilinear", "bicubic"]
Border = Literal["constant", "edge", "reflect"]
Chance = Annotated[float, Field(ge=0.0, le=1.0)]
Width = Annotated[float, Field(ge=0.0, le=8.0)]


def _fraction_or_test(value: Any) -> Any:
    # Without this check, pydantic tells one fault for each type of the union.
    if value == "test" or (isinstance(value, float) and 0 < value < 1):
        return value
    raise PydanticCustomError("validation", 'Input should be a number above 0 and below 1, or "test"')


def _number_or_percent(value: Any) -> Any:
    # A whole number may come without quotes.
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if isinstance(text, str) and re.fullmatch(r"[0-9]+|(100|[0-9]{1,2}(\.[0-9]+)?)%", text):
        return text
    raise PydanticCustomError("number_or_percent", 'Input should be a number of images, or a part as in "1%"')


class DataSpec(Record):
    """Where images come from and how a file becomes a square of pixels."""

    # A known set's name, or a path, told by what is there: class folders or a published set's own layout, a table
    # (CSV, TSV, Parquet), arrays (.npz, idx, CIFAR's and STL's binaries), a Hugging Face folder, a tar or a zip.
    source: str = "digits"
    # squash: resize both sides; crop: resize the short side, then cut the middle out.
    fit: Literal["squash", "crop"] = "crop"
    # How images are resized, antialiased.
    interpolation: Interpolation = "bilinear"
    # square: fitted to `cache_size` once; none: fitted each time; ragged: for training's random crops the aspect
    # is kept, short side `cache_size`, and only evaluation and prediction see fitted images.
    cache: Literal["square", "ragged", "none"] = "square"
    # Gigabytes of decoded pixels above which a part is not cached, but decoded each time; none: no limit.
    cache_budget: Annotated[float, Field(ge=0.0)] | None = None
    # Threads that decode and gather batches ahead of the training step; 0: the step waits; none: one, and all cores
    # where images are decoded each time. What a batch holds does not depend on it.
    threads: Annotated[int, Field(ge=0, le=256)] | None = None
    # Of training images. exact: the pixels that Pillow decodes; fast: JPEG files of at least four times the wanted
    # size are decoded at 1/2, 1/4 or 1/8 first.
    decoder: Literal["exact", "fast"] = "exact"
    # How many unreadable images are left out instead of ending the run: a number, or a part as in "1%".
    skip_bad: Annotated[str, BeforeValidator(_number_or_percent)] = "0"
    # Pixels; none: 1.15 x image_size where resized crops are drawn, else image_size.
    cache_size: Count | None = None
    # Pixels to which evaluation and prediction fit an image before its middle is cut out; none:
    # cache_size, and image_size at least.
    eval_size: Count | None = None
    # Per channel, of pixels scaled to 0-1; one number serves all channels.
    mean: Floats = (0.5,)
    std: Floats = (0.5,)
    # Part of train held out, stratified, where the source has no validation images of its own;
    # "test": the test images serve as validation images too, whatever else the source has.
    validation: Annotated[float | Literal["test"], BeforeValidator(_fraction_or_test)] = 0.1
    # Columns of a table, and the folder of its images, seen from the table's own (none: that one itself);
    # split_column: what says train, validation or test (none: all are train).
    path_column: str = "path"
    label_column: str = "label"
    split_column: str | None = None
    image_folder: str | None = None
    # A JSON file of label -> class name: as given, or else beside the table.
    label_names: str | None = None
    # Class folders without images: an error, or classes all the same.
    empty_classes: Literal["refuse", "keep"] = "refuse"

    @property
    def loaders(self) -> int:
        """Threads that make batches ahead."""
        return 1 if self.threads is None else self.threads

    def allowed_bad(self, count: int) -> int:
        """Returns how many of `count` images may be unreadable (`skip_bad`)."""
        if self.skip_bad.endswith("%"):
            return math.floor(float(self.skip_bad[:-1]) / 100 * count)
        return int(self.skip_bad)

    @model_validator(mode="after")
    def _possible(self) -> DataSpec:
        if any(value <= 0 for value in self.std):
            raise ValueError(f"std={list(self.std)} must be positive")
        return self


class AugmentSpec(Record):
    """What training does to an image, executed on the device inside the step.

    The order: crop, flips, policy, color (brightness, contrast, saturation, hue, sharpness), grayscale, blur,
    affine map; normalisation; erasing, mixing. What comes between the flips and the normalisation works on
    levels of 8 bits, as Pillow does, in integers: both engines see the same pixels.
    """

    # resized: a random box resized to image_size (Szegedy et al. 2015, arXiv:1409.4842);
    # padded: a random square of image_size out of the image padded with black (He et al. 2016, section 4.2).
    crop: Literal["none", "resized", "padded"] = "none"
    crop_scale: Pair = (0.08, 1.0)
    crop_ratio: Pair = (0.75, 4 / 3)
    # Pixels on each side.
    crop_padding: Count = 4
    # Probabilities: left and right exchanged, top and bottom exchanged.
    flip: Chance = 0.0
    vertical_flip: Chance = 0.0
    # trivial: TrivialAugment Wide (Mueller & Hutter 2021, arXiv:2103.10158); rand: RandAugment (Cubuk et al. 2019,
    # arXiv:1909.13719); three: grayscale, solarize or blur (3-Augment, Touvron et al. 2022, arXiv:2204.07118).
    policy: Literal["none", "trivial", "rand", "three"] = "none"
    # Of rand: operations one after another, and their strength from 0 to 30.
    policy_ops: Count = 2
    policy_magnitude: Annotated[int, Field(ge=0, le=30)] = 9
    # jitter: factors uniform in 1 +- width (torchvision's ColorJitter; hue in turns); linear: one step
    # x (1 + c) + 255 b, c and b uniform in +- contrast and brightness (albumentations' RandomBrightnessContrast).
    color: Literal["jitter", "linear"] = "jitter"
    color_probability: Chance = 1.0
    brightness: Width = 0.0
    contrast: Width = 0.0
    saturation: Width = 0.0
    hue: Annotated[float, Field(ge=0.0, le=0.5)] = 0.0
    sharpness: Width = 0.0
    # Probabilities; the deviation of the blur is uniform in `blur_sigma`, in pixels.
    grayscale: Chance = 0.0
    blur: Chance = 0.0
    blur_sigma: Pair = (0.1, 2.0)
    # Uniform in +-: degrees, relative size, part of the image side, degrees along x and along y.
    affine_probability: Chance = 1.0
    rotate: Annotated[float, Field(ge=0.0, le=180.0)] = 0.0
    scale: Rate = 0.0
    shift: Chance = 0.0
    shear: Annotated[float, Field(ge=0.0, lt=90.0)] = 0.0
    # What an affine map (or a policy's) sees outside the image: black, the nearest pixel, or the image
    # mirrored at its last pixel.
    border: Border = "constant"
    # Probability that a random box is set to the mean color (Zhong et al. 2017, arXiv:1708.04896).
    erase: Chance = 0.0
    # Parameters of Beta(a, a); 0 is off; both on: each batch takes one or the other.
    mixup: Annotated[float, Field(ge=0.0)] = 0.0
    cutmix: Annotated[float, Field(ge=0.0)] = 0.0
    # Times that an image stands in an epoch, one after another, each augmented in its own way; the epoch keeps
    # its length, so it sees fewer images (repeated augmentation, Hoffer et al. 2020, arXiv:1901.09335).
    repeats: Count = 1

    @model_validator(mode="after")
    def _possible(self) -> AugmentSpec:
        low, high = self.crop_scale
        if not 0 < low <= high <= 1:
            raise ValueError(f"crop_scale={[low, high]} must be a range within 0 and 1, low first")
        low, high = self.crop_ratio
        if not 0 < low <= high:
            raise ValueError(f"crop_ratio={[low, high]} must be a positive range, low first")
        low, high = self.blur_sigma
        if not 0 < low <= high <= 8:
            raise ValueError(f"blur_sigma={[low, high]} must be a range within 0 and 8 pixels, low first")
        if self.color == "linear":
            for key in ("saturation", "hue", "sharpness"):
                if value := getattr(self, key):
                    raise ValueError(
                        f"{key}={value} needs color='jitter'; 'linear' is brightness and contrast"
                    )
        return self

    @property
    def affine(self) -> bool:
        """Whether images are rotated, scaled, shifted or sheared."""
        return bool(self.rotate or self.scale or self.shift or self.shear)

    @property
    def reach(self) -> float:
        """How far from the corner an affine map looks at most, in image sides."""
        slope = math.tan(math.radians(self.shear))
        stretch = math.sqrt(2) * (1 + slope + slope**2) / (1 - self.scale)
        return 0.5 + stretch * (0.5 + self.shift)

    @property
    def colors(self) -> bool:
        """Whether brightness, contrast, saturation, hue or sharpness changes."""
        return bool(self.brightness or self.contrast or self.saturation or self.hue or self.sharpness)

    @property
    def mixes(self) -> bool:
        """Whether images are mixed with others of their batch."""
        return bool(self.mixup or self.cutmix)


class TrainSpec(Record):
    """How the weights move."""

    epochs: Count | None = None
    steps: Count | None = None
    # Images that one update sees, and how many of them go through the model at once (none: by device).
    batch_size: Count = 128
    micro_batch: Count | None = None
    drop_last: bool = False
    optimizer: OptimizerName = "adamw"
    lr: Annotated[float, Field(gt=0.0)] = 1e-3
    # adamw, lion: decoupled, multiplied by lr; sgd, adam: added to the gradient (as torch.optim has it).
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.0
    # kernels: biases, gains, tokens and positions are left alone; all: everything decays, as torch.optim's default.
    decay: Literal["kernels", "all"] = "kernels"
    momentum: Rate = 0.9
    nesterov: bool = False
    # None: (0.9, 0.999), and (0.9, 0.99) for lion.
    betas: Pair | None = None
    adam_eps: Annotated[float, Field(gt=0.0)] = 1e-8
    schedule: ScheduleName = "cosine"
    # "5 epochs" or "500 steps", rising linearly from lr / steps.
    warmup: str | None = None
    # Where cosine and linear end, as a part of lr.
    final_lr: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    # step: times `gamma` every `step_every`; multistep: times `gamma` at each of `milestones`.
    step_every: str = "30 epochs"
    milestones: Texts = ()
    gamma: Annotated[float, Field(gt=0.0, le=1.0)] = 0.1
    # Largest global norm of the gradient; none: not clipped.
    clip: Annotated[float, Field(gt=0.0)] | None = None
    label_smoothing: Rate = 0.0
    # Decay of the moving average of the weights; none: off. Best weights are then the averaged ones.
    ema: Rate | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    precision: Precision = "float32"
    # shared: the same masks on both engines; native: the engine's own generator, faster, no parity.
    dropout_bits: Literal["shared", "native"] = "shared"
    # Epochs between evaluations on the validation images.
    evaluate_every: Count = 1
    # Whether the first weights are evaluated too: in metrics.jsonl as epoch 0, which has no training loss.
    evaluate_first: bool = False
    # Which weights are kept as the best: those of the highest validation top-1, or those after the `loss_window`
    # steps (0-99, 100-199, ... of the whole run) with the lowest mean training loss.
    keep: Literal["accuracy", "loss"] = "accuracy"
    loss_window: Count = 100
    # PyTorch's compiler: pays on a GPU, costs on a CPU. JAX always compiles.
    compile: bool = False

    @model_validator(mode="after")
    def _possible(self) -> TrainSpec:
        if (self.epochs is None) == (self.steps is None):
            given = f"epochs={self.epochs}, steps={self.steps}"
            raise ValueError(
                f"a run is as long as train.epochs or train.steps says: give one of them ({given})"
            )
        if self.betas is not None and not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas={list(self.betas)} must lie in 0 <= beta < 1")
        said = [("warmup", self.warmup), ("step_every", self.step_every)]
        for key, text in [*said, *(("milestones", milestone) for milestone in self.milestones)]:
            if text is not None:
                try:
                    duration(text)
                except ValueError as error:
                    raise ValueError(f"{key}: {error}") from error
        return self

    @property
    def moment_decays(self) -> tuple[float, float]:
        """The two decay rates of Adam and Lion (Chen et al. 2023, arXiv:2302.06675, for Lion's)."""
        return self.betas or ((0.9, 0.99) if self.optimizer == "lion" else (0.9, 0.999))


class Recipe(Record):
    """Everything that one run needs to be run again."""

    model: ModelSpec
    init: InitSpec = InitSpec()
    data: DataSpec = DataSpec()
    augment: AugmentSpec = AugmentSpec()
    train: TrainSpec
    tune: TuneSpec = TuneSpec()

    @model_validator(mode="after")
    def _possible(self) -> Recipe:
        if self.model.in_channels not in (1, 3):
            raise ValueError(f"model.in_channels={self.model.in_channels}: images have 1 or 3")
        if not self.model.num_classes:
            raise ValueError("model.num_classes=0: a model without classes cannot be trained")
        for key, values in (("mean", self.data.mean), ("std", self.data.std)):
            if len(values) not in (1, self.model.in_channels):
                raise ValueError(
                    f"data.{key} has {len(values)} numbers; model.in_channels={self.model.in_channels} "
                    f"needs 1 or {self.model.in_channels}"
                )
        if self.eval_size < self.model.image_size:
            raise ValueError(
                f"data.eval_size={self.eval_size} is smaller than model.image_size={self.model.image_size}"
            )
        if self.augment.crop != "resized" and self.cache_size < self.model.image_size:
            raise ValueError(
                f"data.cache_size={self.cache_size} is smaller than model.image_size={self.model.image_size}"
            )
        if self.augment.crop != "resized" and self.data.cache == "ragged":
            raise ValueError(
                f"data.cache='ragged' is for augment.crop='resized', not {self.augment.crop!r}; use data.cache='square'"
            )
        if self.augment.affine and self.augment.reach * self.model.image_size >= FARTHEST:
            raise ValueError(
                f"augment.scale={self.augment.scale} and augment.shear={self.augment.shear} look up to "
                f"{self.augment.reach:.0f} image sides away; {FARTHEST} pixels is the limit: lower one of them"
            )
        if self.tune != TuneSpec():
            plan(self)  # raises where the patterns do not fit the model
        return self

    @property
    def cache_size(self) -> int:
        """Side of the cached square (ragged: the short side), in pixels."""
        if self.data.cache_size is not None:
            return self.data.cache_size
        size = self.model.image_size
        return round(1.15 * size) if self.augment.crop == "resized" else size

    @property
    def eval_size(self) -> int:
        """Side to which evaluation and prediction fit an image, in pixels."""
        return self.data.eval_size or max(self.cache_size, self.model.image_size)


def duration(text: str) -> tuple[float, str]:
    """Returns `(5.0, "epochs")` for "5 epochs"; the units are epochs and steps.

    Raises:
        ValueError: the text is not a number and a unit.
    """
    number, _, unit = text.strip().partition(" ")
    unit = unit.strip().removesuffix("s") + "s"
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    if unit not in ("epochs", "steps") or not 0 <= value < 1e12:
        raise ValueError(f"'{text}' is not a duration; write '5 epochs' or '500 steps'")
    return value, unit
