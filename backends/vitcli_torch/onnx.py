"""ONNX files, written through `torch.onnx` and run by onnxruntime; loaded only where one is asked for."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from numpy.typing import NDArray
from torch.export import ExportedProgram

# Of onnxruntime's levels of telling: errors alone. Below it reports devices that it did not find.
_ERRORS = 3


def write_onnx(path: Path, program: ExportedProgram, card: Mapping[str, str]) -> None:
    """Writes a program, with weights and texts inside, as one ONNX file; its output is called `logits`."""
    with warnings.catch_warnings(action="ignore"):
        made = torch.onnx.export(
            program, dynamo=True, dynamic_shapes=({0: "batch"},), output_names=["logits"], verbose=False
        )
    if made is None:
        raise RuntimeError("torch.onnx.export has returned no program")
    for node in made.model.graph.all_nodes():
        node.metadata_props.clear()  # the steps of the conversion, several times the size of the graph
        for value in node.outputs:
            value.metadata_props.clear()
    made.model.metadata_props.update(card)
    made.save(path, external_data=False)


def run_onnx(path: Path, batches: Sequence[NDArray[Any]]) -> tuple[dict[str, str], list[NDArray[Any]]]:
    """Returns the texts that a file holds, and the logits (B, classes) that onnxruntime gives for batches."""
    onnxruntime.set_default_logger_severity(_ERRORS)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS
    # Left to itself it would bind threads to cores, which containers forbid, and complain.
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (argument,) = session.get_inputs()
    texts = dict(session.get_modelmeta().custom_metadata_map)
    return texts, [session.run(["logits"], {argument.name: batch})[0] for batch in batches]
