"""What Google's JAX programs have written of the same parameters: other names, other widths, training states."""

from __future__ import annotations

from typing import Any

import jax
import ml_dtypes
import numpy as np

Tree = dict[str, Any]


def below(prefix: str, tree: Tree) -> Tree:
    """A tree below a prefix."""
    for part in reversed(prefix.split("/")[:-1]):
        tree = {part: tree}
    return tree


def published(tree: Any) -> Any:
    """A tree under the older names: the unnamed modules of a parent share one counter, in the order of calls."""
    order = ["LayerNorm_0", "MultiHeadDotProductAttention_0", "LayerNorm_1", "MlpBlock_0"]
    if not isinstance(tree, dict):
        return tree
    if set(order) <= set(tree):
        return {f"{name.rpartition('_')[0]}_{i}": tree[name] for i, name in enumerate(order)}
    return {name: published(value) for name, value in tree.items()}


def bfloat16(tree: Tree) -> Tree:
    """Parameters of half the width."""
    return dict(jax.tree.map(lambda value: value.astype(ml_dtypes.bfloat16), tree))


def optax_state(tree: Tree) -> Tree:
    """A training state of big_vision: optimizer and clock beside the parameters."""
    state = ({"count": np.zeros((), np.int32), "mu": tree, "nu": tree}, {"count": np.zeros((), np.int32)})
    return {"params": tree, "opt": state, "chrono": {"accum_train_time": np.float64(3)}}


def flax_state(tree: Tree) -> Tree:
    """A training state from before optax."""
    moments = {"param_states": {"grad_ema": tree}, "step": np.int32(9)}
    return {"opt": {"target": tree, "state": moments}}


def towers(tree: Tree) -> Tree:
    """A pair of towers, as SigLIP is."""
    text = {"Embed_0": {"embedding": np.ones((9, 8), np.float32)}}
    return {"params": {"img": tree, "txt": text, "t": np.ones(1, np.float32), "b": np.ones(1, np.float32)}}


def older(params: Tree, *, table: str, slot: bool, inlined: bool = False) -> Tree:
    """Parameters as big_vision had them once.

    Args:
        params: as it has them today.
        table: where the positions are: in `posembed_input`, in `Transformer`, or where they are today.
        slot: whether they begin with one of the class token.
        inlined: whether the attention pooling stands at the top.
    """
    tree: Tree = jax.tree.map(lambda value: value, params)
    positions = tree.pop("pos_embedding")
    if slot:
        first = np.random.default_rng(2).normal(size=positions[:, :1].shape).astype(np.float32)
        positions = np.concatenate([first, positions], axis=1)
    if inlined:
        tree |= tree.pop("MAPHead_0")
    if table == "posembed_input":
        tree["Transformer"]["posembed_input"] = {"pos_embedding": positions}
    else:
        (tree["Transformer"] if table == "Transformer" else tree)["pos_embedding"] = positions
    return tree
