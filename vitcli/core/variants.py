"""Published sizes by name: `S/16` is the small model with patches of 16 pixels."""

from __future__ import annotations

from typing import Any

from vitcli.core.errors import RecipeError, nearest

# name: embed_dim, depth, num_heads, mlp_dim
VARIANTS: dict[str, tuple[int, int, int, int]] = {
    "Ti": (192, 12, 3, 768),  # Touvron et al. 2021, arXiv:2012.12877, table 1
    "S": (384, 12, 6, 1536),  # Touvron et al. 2021, arXiv:2012.12877, table 1
    "B": (768, 12, 12, 3072),  # Dosovitskiy et al. 2021, arXiv:2010.11929, table 1
    "L": (1024, 24, 16, 4096),  # Dosovitskiy et al. 2021, arXiv:2010.11929, table 1
    "H": (1280, 32, 16, 5120),  # Dosovitskiy et al. 2021, arXiv:2010.11929, table 1
    "g": (1408, 40, 16, 6144),  # Zhai et al. 2022, arXiv:2106.04560, table 2
}


def variant(name: str) -> dict[str, Any]:
    """Returns the `ModelSpec` fields of a variant such as `Ti/16` or `g/14`.

    Raises:
        RecipeError: the name is not one of the table's, or carries no patch size.
    """
    size, slash, patch = name.partition("/")
    if size not in VARIANTS:
        raise RecipeError(
            f"variant '{name}' is not known{nearest(size, VARIANTS)}; "
            f"sizes: {', '.join(VARIANTS)}, followed by the patch size, as in S/16"
        )
    if not slash or not patch.isascii() or not patch.isdigit() or int(patch) < 1:
        raise RecipeError(f"variant '{name}' needs a patch size, as in {size}/16")
    embed_dim, depth, num_heads, mlp_dim = VARIANTS[size]
    return {
        "patch_size": int(patch),
        "embed_dim": embed_dim,
        "depth": depth,
        "num_heads": num_heads,
        "mlp_dim": mlp_dim,
    }
