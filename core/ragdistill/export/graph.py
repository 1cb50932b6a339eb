"""ONNX graphs as data: written, tidied, and put into the form that runs fastest."""

from ast import literal_eval
from pathlib import Path

import onnx

from ragdistill.export.folder import WEIGHTS

_SINGLE_FILE_BYTES = 1_900_000_000  # protobuf refuses messages of 2 GiB


def save(proto: onnx.ModelProto, path: Path) -> None:
    """Write a graph; weights of 2 GB and more go beside it, where Optimum looks for them."""
    size = sum(len(tensor.raw_data) for tensor in proto.graph.initializer)
    onnx.save_model(
        proto,
        path,
        save_as_external_data=size > _SINGLE_FILE_BYTES,
        location=WEIGHTS,
    )


def tidy(proto: onnx.ModelProto) -> None:
    """Name nodes after the model's modules and drop the exporter's notes.

    The notes hold stack traces with this machine's paths: without them the same model gives the
    same file everywhere.
    """
    for number, node in enumerate(proto.graph.node):
        notes = {entry.key: entry.value for entry in node.metadata_props}
        scopes = literal_eval(notes.get("pkg.torch.onnx.name_scopes", "['']"))
        scope = next((scope for scope in reversed(scopes[:-1]) if "." in scope), "graph")
        node.name = f"{scope}/{node.op_type}_{number}"
        node.doc_string = ""
        del node.metadata_props[:]
    graph = proto.graph
    for item in (*graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del item.metadata_props[:]
        item.doc_string = ""
    del graph.metadata_props[:]
    del proto.metadata_props[:]
    proto.producer_name, proto.producer_version = "ragdistill", ""


def keep_layer_norms(proto: onnx.ModelProto) -> None:
    """Feed each LayerNormalization from a ``Sum``, the same sum as ``Add``.

    ONNX Runtime fuses Add and LayerNormalization into SkipLayerNormalization, which its CPU
    provider runs several times slower than the two: the fusion looks for ``Add`` only.
    """
    normalised = {
        node.input[0] for node in proto.graph.node if node.op_type == "LayerNormalization"
    }
    for node in proto.graph.node:
        if node.op_type == "Add" and node.output[0] in normalised:
            node.op_type = "Sum"
