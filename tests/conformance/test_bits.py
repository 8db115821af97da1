"""Random bits on a device are those of the core's plain arithmetic."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch
import vitcli_jax.bits
import vitcli_torch.bits

from vitcli.core.bits import Purpose, absorb, draw, stream, threshold

KEYS = [stream(seed, Purpose.NOISE, step) for seed, step in ((0, 0), (2**40 + 7, 3), (5, 2**31 + 1))]


def _words(key: tuple[int, int], position: int, site: int, count: int) -> list[int]:
    inner = absorb(absorb(key, position), site)
    return [draw(inner, k) for k in range(count)]


@pytest.mark.parametrize("key", KEYS)
def test_jax_draws_the_cores_words(key: tuple[int, int]) -> None:
    step = vitcli_jax.bits.Noise(*(jnp.uint32(word) for word in key))
    inner = vitcli_jax.bits.absorb(vitcli_jax.bits.absorb(step, jnp.uint32(5)), 11)
    assert np.asarray(vitcli_jax.bits.draw(inner, 9)).tolist() == _words(key, 5, 11, 9)


@pytest.mark.parametrize("key", KEYS)
def test_torch_draws_the_cores_words(key: tuple[int, int]) -> None:
    signed = [torch.tensor([vitcli_torch.bits.signed(word)], dtype=torch.int32) for word in key]
    position = torch.tensor([5, 6], dtype=torch.int32)
    step = vitcli_torch.bits.Noise(signed[0], signed[1])
    inner = vitcli_torch.bits.absorb(vitcli_torch.bits.absorb(step, position), 11)
    found = vitcli_torch.bits.draw(inner, 9).numpy().view(np.uint32)
    assert found.tolist() == [_words(key, 5, 11, 9), _words(key, 6, 11, 9)]


@pytest.mark.parametrize("native", [False, True])
def test_dropout_keeps_the_mean_and_the_rate(native: bool) -> None:
    key, size = KEYS[1], (100, 200)
    step = vitcli_jax.bits.Noise(jnp.uint32(key[0]), jnp.uint32(key[1]), native)
    ours: Any = np.asarray(vitcli_jax.bits.dropout(jnp.ones(size), 0.3, step, 4))
    words = [torch.tensor([vitcli_torch.bits.signed(word)], dtype=torch.int32) for word in key]
    noise = vitcli_torch.bits.Noise(words[0], words[1], native)
    theirs: Any = vitcli_torch.bits.dropout(torch.ones(1, *size), 0.3, noise, 4).numpy()[0]
    for values in (ours, theirs):
        assert set(np.unique(values).round(6)) == {0.0, np.float32(1 / 0.7).round(6)}
        # 20,000 coins: standard deviation 0.0032.
        assert abs((values == 0).mean() - 0.3) < 0.013
    assert np.array_equal(ours, theirs) != native


def test_threshold_is_the_rate_in_24_bits() -> None:
    assert threshold(0.25) == 2**22
    assert threshold(0.0) == 0
