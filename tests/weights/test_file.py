"""What is written comes back bit by bit, and what cannot be written leaves the earlier file alone."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from tests.models import random_weights, spec_of
from vitcli.core.errors import VerificationError, VitError, WeightsError
from vitcli.weights import file as file_module
from vitcli.weights.file import read_weights, write_weights
from vitcli.weights.header import Card, Preprocess, read_header

SPEC = spec_of("standard")
CARD = Card(
    spec=SPEC,
    classes=tuple("abcdef"),
    preprocess=Preprocess(fit="crop", size=15, mean=(0.5,), std=(0.5,)),
    source="digits",
)
MATRIX = np.arange(35, dtype=np.float32).reshape(5, 7)
ARRAYS: dict[str, NDArray[Any]] = {
    "plain": MATRIX,
    "column by column": np.asfortranarray(MATRIX),
    "transposed": MATRIX.T,
    "every second row": MATRIX[::2],
    "every third column": MATRIX[:, ::3],
    "backwards": MATRIX[::-1, ::-1],
    "broadcast": np.broadcast_to(MATRIX[0], (4, 7)),
    "axes moved": np.arange(210, dtype=np.float32).reshape(2, 3, 5, 7).transpose(2, 3, 1, 0),
    "one number": np.array(3.5, np.float32),
    "nothing": np.zeros((0, 7), np.float32),
    "nothing, moved": np.zeros((3, 0, 2), np.float32).T,
    "float64": MATRIX.astype(np.float64) / 3,
    "float16": MATRIX.astype(np.float16),
    "big-endian": MATRIX.astype(">f4"),
    "big-endian, transposed": MATRIX.astype(">f8").T,
}


@pytest.mark.parametrize("layout", ["native", "jax"])
def test_every_memory_order_comes_back(tmp_path: Path, layout: Any) -> None:
    path = tmp_path / "a.safetensors"
    write_weights(path, ARRAYS, CARD, layout)
    for found, least in ((read_weights(path), np.float32), (load_file(path), np.float16)):
        assert set(found) == set(ARRAYS)
        for name, value in ARRAYS.items():
            assert found[name].shape == value.shape, name
            assert found[name].dtype == np.promote_types(value.dtype.newbyteorder("="), least), name
            np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_special_values_keep_their_bits(tmp_path: Path) -> None:
    bits = np.array([0, 0x80000000, 1, 0x007FFFFF, 0x7F7FFFFF, 0x3F800001], np.uint32)
    write_weights(tmp_path / "a", {"x": bits.view(np.float32)}, CARD, "native")
    np.testing.assert_array_equal(read_weights(tmp_path / "a")["x"].view(np.uint32), bits)


@pytest.mark.parametrize(("layout", "kind"), [("native", "pt"), ("torch", "pt"), ("jax", "np")])
def test_metadata_say_what_other_programs_ask(tmp_path: Path, layout: Any, kind: str) -> None:
    write_weights(tmp_path / "a", {"x": MATRIX}, CARD, layout)
    with safe_open(tmp_path / "a", framework="numpy") as file:
        metadata = file.metadata()
    assert (metadata["format"], metadata["vit.layout"], metadata["vit.schema"]) == (kind, layout, "1")
    assert read_header(tmp_path / "a").card == CARD


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600), (0o002, 0o664)])
def test_the_file_has_the_mode_that_the_umask_leaves(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        write_weights(tmp_path / "a", {"x": MATRIX}, CARD, "native")
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == mode


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    for scale in (1, 2):
        write_weights(tmp_path / "a", {"x": scale * MATRIX}, CARD, "native")
    np.testing.assert_array_equal(read_weights(tmp_path / "a")["x"], 2 * MATRIX)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_arrays_that_were_read_outlive_their_file(tmp_path: Path) -> None:
    write_weights(tmp_path / "a", {"x": MATRIX}, CARD, "native")
    found = read_weights(tmp_path / "a")
    write_weights(tmp_path / "a", {"x": 0 * MATRIX}, CARD, "native")
    np.testing.assert_array_equal(found["x"], MATRIX)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused(tmp_path: Path, bad: float) -> None:
    broken = MATRIX.copy()
    broken[1, 2] = broken[3, 4] = bad
    save_file({"good": MATRIX, "head.weight": broken}, tmp_path / "a")
    with pytest.raises(WeightsError, match="a: 2 of 35 values of head.weight are not finite numbers"):
        read_weights(tmp_path / "a")


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.bool_])
def test_what_are_no_real_numbers_is_refused(tmp_path: Path, dtype: type) -> None:
    save_file({"x": MATRIX.astype(dtype)}, tmp_path / "a")
    with pytest.raises(WeightsError, match=f"x holds {np.dtype(dtype)}, not floating-point numbers"):
        read_weights(tmp_path / "a")


def test_a_type_that_numpy_lacks_is_refused(tmp_path: Path) -> None:
    save_file({"x": np.zeros(3, np.uint8)}, tmp_path / "a")
    data = (tmp_path / "a").read_bytes().replace(b'"U8"', b'"F8_E4M3"')
    length = int.from_bytes(data[:8], "little") + len('"F8_E4M3"') - len('"U8"')
    (tmp_path / "a").write_bytes(length.to_bytes(8, "little") + data[8:])
    assert read_header(tmp_path / "a").shapes == {"x": (3,)}
    with pytest.raises(WeightsError, match="cannot read .*a: "):
        read_weights(tmp_path / "a")


def test_a_disk_that_changes_bytes_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_text("earlier")

    def flip(tensors: dict[str, NDArray[Any]], path: Path, metadata: dict[str, str]) -> None:
        save_file(tensors, path, metadata)
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)

    monkeypatch.setattr(file_module, "save_file", flip)
    with pytest.raises(VerificationError, match="x came back from the disk changed"):
        write_weights(tmp_path / "a", {"x": MATRIX}, CARD, "native")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "earlier"


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(
        VitError, match=r"cannot write .*/no/a.safetensors \(0.0 MB\): No such file"
    ) as caught:
        write_weights(tmp_path / "no" / "a.safetensors", {"x": MATRIX}, CARD, "native")
    assert caught.value.exit_code == 1


FULL_DISK = """
import resource, sys
from pathlib import Path
import numpy as np
from tests.weights.test_file import CARD
from vitcli.core.errors import VitError
from vitcli.weights.file import write_weights
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    write_weights(Path(sys.argv[1]), {"x": np.ones(50_000, np.float32)}, CARD, "native")
except VitError as error:
    print(error)
"""


def test_a_full_disk_leaves_the_earlier_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_weights(path, random_weights(SPEC), CARD, "native")
    before = path.read_bytes()
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", FULL_DISK, str(path)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60, check=True)
    assert f"cannot write {path} (0.2 MB): " in done.stdout
    assert "too large" in done.stdout  # the system's words for the limit, which stands for a full disk
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["model.safetensors"]
