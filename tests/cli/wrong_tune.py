"""Wrong words about what is trained."""

from __future__ import annotations

# As in `tests.cli.wrong`: what follows `vit`, and parts that the message must have.
TUNE: dict[str, tuple[str, tuple[str, ...]]] = {
    "tensors that are not there": (
        "train tune.freeze=block.0.*",
        ("tune.freeze: 'block.0.*' matches no tensor", "'blocks.0.*'", "vit summary RECIPE --json"),
    ),
    "a module instead of its tensors": (
        "train tune.freeze=* tune.train=head",
        ("tune.train: 'head' matches no tensor", "'head.*'"),
    ),
    "nothing left to train": (
        "train tune.freeze=*",
        ("tune.freeze=['*']", "nothing to train", "tune.train="),
    ),
    "nothing frozen": ("train tune.train=head.*", ("tune.train=['head.*']", "tune.freeze='*'")),
    "a rule without a number": ("train tune.lr=head.*", ("'head.*'", "pattern=factor", "'head.*=10'")),
    "a rate of zero": ("train tune.lr=head.*=0", ("'head.*=0'", "above 0")),
    "a negative decay": ("train tune.weight_decay=*=-1", ("'*=-1'", "0 or more")),
    "a rule for what is frozen": (
        "train tune.probe=true tune.lr=blocks.*=2",
        ("tune.lr: 'blocks.*' matches frozen tensors only", "tune.train=blocks.*"),
    ),
    "layer decay that grows": ("train tune.layer_decay=2", ("tune.layer_decay=2", "less than or equal to 1")),
    "adapters of no rank": (
        "train model.lora.alpha=8",
        ("alpha=8", "rank=0", "model.lora.rank=8"),
    ),
    "targets of no rank": ("train model.lora.targets=qkv", ("targets=['qkv']", "rank=0")),
    "targets that are not there": ("train model.lora.rank=2 model.lora.targets=q,x", ("'x'", "qkv, q, k")),
    "a rank above the width": ("train model.lora.rank=1000", ("lora.rank=1000", "embed_dim=")),
    "a probe of adapters": (
        "train tune.probe=true model.lora.rank=2",
        ("tune.probe=true", "model.lora", "leave one"),
    ),
}
