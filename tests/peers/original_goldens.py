"""Golden files by the own code of Google's two JAX programs: `python -m tests.peers.original_goldens` writes them.

It reads that code where `VIT_ORIGINALS` says.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import flax
import jax
import numpy as np
from safetensors.numpy import save_file

from tests.peers.original_jax import Original, Program, Tree, big_vision, save, sized
from tests.peers.original_states import below, bfloat16, older, optax_state, published, towers

FOLDER = Path(__file__).parent.parent / "golden" / "peers"
SOURCES = {
    "google": "google-research/vision_transformer vit_jax/models_vit.py @143bd26c",
    "big_vision": "google-research/big_vision big_vision/models/vit.py @5f95305c",
}


def _old_pooling(tree: Tree) -> Tree:
    return older(tree, table="posembed_input", slot=True, inlined=True)


def _old_token(tree: Tree) -> Tree:
    return dict(published(older(tree, table="Transformer", slot=True)))


# Name: program, seed of the sizes, options, and what is written of the parameters.
CASES: dict[str, tuple[Program, int, dict[str, Any], Callable[[Tree], Tree]]] = {
    "gr_gap_rep": (
        "google",
        28,
        {"classifier": "gap", "representation_size": 10},
        partial(below, "params/"),
    ),
    "gr_token_features": ("google", 57, {"num_classes": 0}, published),
    "bv_tok_sincos2d_rep": (
        "big_vision",
        47,
        {"pool_type": "tok", "posemb": "sincos2d", "rep_size": True},
        partial(below, "params/"),
    ),
    "bv_map_scan_towers": (
        "big_vision",
        57,
        {"pool_type": "map", "scan": True, "num_classes": None},
        towers,
    ),
    "bv_gap_scan_bfloat16": (
        "big_vision",
        13,
        {"scan": True, "rep_size": 11, "remat_policy": "dots_with_no_batch_dims_saveable"},
        lambda tree: below("params/", bfloat16(tree)),
    ),
    "bv_gap_state": ("big_vision", 44, {"mlp_dim": None}, optax_state),
    "bv_old_map": ("big_vision", 14, {"pool_type": "map"}, _old_pooling),
    "bv_old_tok": (
        "big_vision",
        6,
        {"pool_type": "tok"},
        lambda tree: below("opt/target/", _old_token(tree)),
    ),
}


def write(name: str, folder: Path) -> None:
    """Writes one: parameters, inputs, and the logits of what its own program reads of these."""
    program, seed, options, state = CASES[name]
    model = sized(program, seed, **options)
    folder.mkdir(exist_ok=True)
    save(folder / "params.npz", state(model.params))
    wide, narrow = (
        model.logits(_read(name, model, kind), wide=kind is np.float64) for kind in (np.float64, np.float32)
    )
    tensors = {"input": model.pixels(), "logits": narrow, "logits_f64": wide}
    save_file({key: np.ascontiguousarray(value) for key, value in tensors.items()}, folder / "io.safetensors")
    told = {"source": SOURCES[program], "flax": flax.__version__, "seed": seed, "image": model.image}
    told |= {"arguments": model.arguments, "input_layout": "NCHW; the model was fed NHWC"}
    (folder / "config.json").write_text(json.dumps(told, indent=1) + "\n")


def _read(name: str, model: Original, kind: Any) -> Tree:
    """What a program makes of what was written; older files it mends, in float64 where that is asked."""
    if "bfloat16" in name:
        return dict(jax.tree.map(lambda value: value.astype(kind), bfloat16(model.params)))
    mend = {"bv_old_map": _old_pooling, "bv_old_tok": _old_token}.get(name)
    if mend is None:
        return model.params
    tree = jax.tree.map(lambda value: value.astype(kind), mend(model.params))
    return dict(big_vision()[0].fix_old_checkpoints(tree))


if __name__ == "__main__":
    for case in CASES:
        write(case, FOLDER / case)
        print(case, sum(path.stat().st_size for path in (FOLDER / case).iterdir()))
