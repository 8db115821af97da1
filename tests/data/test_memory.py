"""A set that is far larger than its budget is streamed, and never held."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from PIL import Image

COUNT, SIDE = 5600, 224
BUDGET = COUNT * SIDE**2 * 3 / 4 / 1e9  # gigabytes: a quarter of the decoded set, 0.21

CODE = f"""
import re, sys
from pathlib import Path
import numpy as np
from vitcli.core.recipe import Recipe
from vitcli.core.reporter import Silent
from vitcli.core.schedule import length
from vitcli.data.batches import TrainingBatches, ahead
from vitcli.data.dataset import Dataset, Examples
from vitcli.data.parts import open_parts

paths = [Path(sys.argv[1])] * {COUNT}
model = dict(image_size={SIDE}, patch_size=16, embed_dim=8, depth=1, num_heads=2, mlp_dim=8, num_classes=2)
data = dict(cache_budget=float(sys.argv[2]), cache_size={SIDE})
recipe = Recipe.model_validate(dict(model=model, data=data, train=dict(epochs=1, batch_size=64)))
examples = Examples(images=paths, labels=np.zeros({COUNT}, np.int32))
dataset = Dataset(name="many", classes=("a", "b"), parts=dict(train=examples))
part = open_parts(dataset, recipe, Silent(), ("train",), training=True)["train"]
span = length(recipe.train, len(part))
make = TrainingBatches(part.store, part.labels, recipe, span)
total = sum(int(batch.images[:, 0, 0, 0].sum()) for _, batch in ahead(make, range(span.steps), 1))
# Not getrusage: that counts what the parent held before this program was loaded.
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text()).group(1)
print(type(part.store).__name__, total // 200, int(peak) // 1024)
"""


def test_streaming_stays_within_the_budget_and_500_megabytes(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), (200, 200, 200)).save(tmp_path / "a.png")
    command = [sys.executable, "-c", CODE, str(tmp_path / "a.png"), str(BUDGET)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    kind, images, peak = done.stdout.split()
    # The set takes 843 MB: held in memory, it would not fit.
    assert (kind, int(images)) == ("StreamStore", -(-COUNT // 64) * 64)
    assert int(peak) < 1000 * BUDGET + 500
