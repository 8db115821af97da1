"""timm's VisionTransformer, trained as its users do: cross entropy, backward, torch.optim.AdamW.

AdamW runs with fused=True. Timed alone on models A and B it was the fastest of its three forms (medians of
40 updates: 16 and 13 ms, against 31 to 47 ms), so that the peer's update is as fast as ours.
"""

from __future__ import annotations

import torch
from timm.models.vision_transformer import VisionTransformer
from torch.nn import functional

from bench.contender import Run, check_size, draw_batch
from vitcli.core.recipe import Recipe


def build(recipe: Recipe, device: str) -> Run:
    """Returns the training step of timm's model at the sizes of a recipe."""
    # float32 means float32: the patch embedding is a convolution, which cuDNN would run in TF32.
    torch.backends.cudnn.allow_tf32 = False
    spec, train = recipe.model, recipe.train
    model = VisionTransformer(
        img_size=spec.image_size,
        patch_size=spec.patch_size,
        in_chans=spec.in_channels,
        num_classes=spec.num_classes,
        embed_dim=spec.embed_dim,
        depth=spec.depth,
        num_heads=spec.num_heads,
        mlp_ratio=spec.mlp_dim / spec.embed_dim,
    ).to(device)
    check_size(recipe, sum(parameter.numel() for parameter in model.parameters()))
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=train.lr, weight_decay=train.weight_decay, fused=True
    )
    _, pixels, classes = draw_batch(recipe)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().to(device)
    labels = torch.from_numpy(classes).long().to(device)

    def run(steps: int) -> float:
        for _ in range(steps):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(images), labels)
            torch.autograd.backward(loss)
            optimizer.step()
        return loss.item()

    return run
