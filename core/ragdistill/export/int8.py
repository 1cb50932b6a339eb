"""An exported graph with int8 weights, right on every CPU.

Dynamic quantisation: weights are rounded when the export is made, activations to uint8 as they
come, and ONNX Runtime multiplies the integers. On x86 without VNNI (AVX2 only) its u8 x s8 kernel
adds pairs of products in 16 bits, which saturate: 2 * 255 * 127 is more than 32,767. With weights
of seven bits, 2 * 255 * 64 = 32,640, nothing saturates: MiniLM's vectors were the same to the last
bit on an (emulated) AVX2 and on a VNNI processor; with eight bits they differed by 0.03. (u8 x u8
does not saturate, either, but runs no faster than fp32 with VNNI.)

Each output channel has a scale of its own: with one scale per matrix MiniLM's vectors fall to a
mean cosine of 0.94 with the fp32 ones, with one per channel they keep 0.995.
"""

import shutil
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.quant_utils import add_pre_process_metadata

from ragdistill.export.folder import GRAPH, WEIGHTS, atomic_folder, read_any_record
from ragdistill.export.gates import Attempt


@dataclass(frozen=True, slots=True)
class Recipe:
    """How much of a model is rounded, and how gently."""

    name: str
    token_scales: bool = False
    """Scale each token's activations to 1 before the feed-forward matrices round them. A few
    tokens ([CLS], [SEP]) have activations ten times the others': under one scale for all they
    leave the others a few of the 256 steps. Costs a tenth to a fifth of the speed."""
    keep_feed_forward_outputs: bool = False
    """Leave the matrices after the activation function, the most sensitive ones, in fp32."""


RECIPES = (
    Recipe("int8"),
    Recipe("int8-token-scales", token_scales=True),
    Recipe("int8-mixed", token_scales=True, keep_feed_forward_outputs=True),
)
"""From the fastest to the most faithful."""


def ladder(source: Path, folder: Path) -> list[Attempt]:
    """Attempts that write ``folder`` from the fp32 export ``source``: each recipe, then fp32."""
    rounded = [
        Attempt(recipe.name, partial(quantise, source, folder, recipe)) for recipe in RECIPES
    ]
    return [*rounded, Attempt("fp32", partial(_copy, source, folder))]


def quantise(source: Path, folder: Path, recipe: Recipe = RECIPES[0]) -> Path:
    """Write the fp32 export in ``source`` with int8 weights into ``folder``; return ``folder``.

    The encoder's matrices, and a language model's head, become int8 with a scale per output channel,
    the token embeddings int8 with a scale per token. What follows the encoder or its pooling stays fp32: it takes next to no
    time, and its errors would go straight into the vectors or the scores. An existing ``folder`` is
    replaced.

    Raises:
        UserError: ``source`` is no export.
    """
    record = read_any_record(source)
    graph = onnx.load(source / GRAPH)
    _turn_weights(graph)
    shapes = _encoder_matrices(graph)
    tall = {name for name, (rows, columns) in shapes.items() if rows > columns}
    wide = {name for name, (rows, columns) in shapes.items() if rows < columns}
    if recipe.token_scales:
        _scale_tokens(graph, wide | tall)
    _round_token_embeddings(graph)
    _gemm_as_matmul(graph)
    rounded = set(shapes) - (tall if recipe.keep_feed_forward_outputs else set())
    with atomic_folder(folder) as temporary:
        shutil.copytree(
            source, temporary, dirs_exist_ok=True, ignore=shutil.ignore_patterns(GRAPH, WEIGHTS)
        )
        _write_rounded(graph, rounded, temporary / GRAPH)
        replace(record, precision=recipe.name).write(temporary)
    return folder


def _copy(source: Path, folder: Path) -> Path:
    with atomic_folder(folder) as temporary:
        shutil.copytree(source, temporary, dirs_exist_ok=True)
    return folder


def _turn_weights(graph: ModelProto) -> None:
    """Turn once what the graph turns whenever it runs: the exporter leaves large weights, such as the
    head of a language model that is its token embeddings, as they are."""
    weights = {item.name: item for item in graph.graph.initializer}
    nodes: list[NodeProto] = []
    for node in graph.graph.node:
        weight = weights.get(node.input[0]) if node.op_type == "Transpose" else None
        if weight is None or len(weight.dims) != 2:
            nodes.append(node)
        else:
            _add_constant(graph, node.output[0], numpy_helper.to_array(weight).T.copy())
    _replace_nodes(graph, nodes)


def _encoder_matrices(graph: ModelProto) -> dict[str, tuple[int, int]]:
    """Name of each MatMul by weights before the pooling, to their shape [inputs, outputs].

    In a feed-forward block the first is wide (fewer inputs than outputs), the second tall. A
    cross-encoder pools within its encoder: what has no axis of tokens any more is a Gemm.
    """
    weights = {item.name: item.dims for item in graph.graph.initializer}
    return {
        node.name: tuple(weights[node.input[1]])
        for node in graph.graph.node
        if node.op_type == "MatMul"
        and node.name.startswith("encoder.")
        and len(weights.get(node.input[1], ())) == 2
    }


def _scale_tokens(graph: ModelProto, names: set[str]) -> None:
    """Rewrite ``x @ W`` of the nodes named as ``s * ((x / s) @ W)``, s the greatest |x| of a token.

    ``x`` [batch, sequence, inputs], ``s`` [batch, sequence, 1]: the same function in fp32.
    """
    nodes: list[NodeProto] = []
    for node in graph.graph.node:
        if node.name not in names:
            nodes.append(node)
            continue
        x, y = node.input[0], node.output[0]
        scaled, scale, product = f"{y}/scaled", f"{y}/scale", f"{y}/product"
        node.input[0], node.output[0] = scaled, product
        nodes += [
            helper.make_node("Abs", [x], [f"{y}/abs"]),
            helper.make_node("ReduceMax", [f"{y}/abs", "last_axis"], [f"{y}/max"]),
            helper.make_node("Max", [f"{y}/max", "least_scale"], [scale]),
            helper.make_node("Div", [x, scale], [scaled]),
            node,
            helper.make_node("Mul", [product, scale], [y]),
        ]
    _replace_nodes(graph, nodes)
    _add_constant(graph, "last_axis", np.array([-1], np.int64))
    _add_constant(graph, "least_scale", np.array(1e-9, np.float32))


def _round_token_embeddings(graph: ModelProto) -> None:
    """Rewrite the look-up of ``input_ids`` as an int8 one times a look-up of each token's scale."""
    weights = {item.name: item for item in graph.graph.initializer}
    nodes: list[NodeProto] = []
    for node in graph.graph.node:
        table = weights.get(node.input[0]) if node.input else None
        if node.op_type != "Gather" or table is None or node.input[1] != "input_ids":
            nodes.append(node)
            continue
        rows = numpy_helper.to_array(table)  # [vocabulary, hidden]
        scales = np.maximum(np.abs(rows).max(axis=1, keepdims=True), 1e-9) / 127
        integers, scale = f"{table.name}/int8", f"{table.name}/scale"
        _add_constant(graph, integers, np.round(rows / scales).astype(np.int8))
        _add_constant(graph, scale, scales.astype(np.float32))
        y = node.output[0]
        nodes += [
            helper.make_node("Gather", [integers, "input_ids"], [f"{y}/int8"]),
            helper.make_node("Cast", [f"{y}/int8"], [f"{y}/float"], to=onnx.TensorProto.FLOAT),
            helper.make_node("Gather", [scale, "input_ids"], [f"{y}/scale"]),
            helper.make_node("Mul", [f"{y}/float", f"{y}/scale"], [y]),
        ]
    _replace_nodes(graph, nodes)


def _gemm_as_matmul(graph: ModelProto) -> None:
    """Rewrite ``x @ W.T (+ b)`` of dense modules, node by node, as a product by a transposed weight.

    ONNX Runtime's quantiser does so itself, but keeps the weight's name with its former shape, and
    then refuses the graph where the two sides differ.
    """
    weights = {item.name: item for item in graph.graph.initializer}
    nodes: list[NodeProto] = []
    for node in graph.graph.node:
        settings = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        plain = settings.get("alpha", 1) == settings.get("beta", 1) == settings.get("transB") == 1
        if node.op_type != "Gemm" or not plain or settings.get("transA"):
            nodes.append(node)
            continue
        x, weight, *bias = node.input
        y, turned = node.output[0], f"{weight}/transposed"
        _add_constant(graph, turned, numpy_helper.to_array(weights[weight]).T.copy())
        product = f"{y}/product" if bias else y
        nodes.append(helper.make_node("MatMul", [x, turned], [product], name=node.name))
        if bias:
            nodes.append(helper.make_node("Add", [product, bias[0]], [y]))
    _replace_nodes(graph, nodes)


def _write_rounded(graph: ModelProto, names: set[str], path: Path) -> None:
    """Round the weights of the MatMul nodes named to seven bits and write the graph."""
    _drop_unused(graph)
    # Shapes are known already; without this note ONNX Runtime advises on stderr to infer them.
    add_pre_process_metadata(graph)
    quantize_dynamic(
        graph,
        path,
        op_types_to_quantize=["MatMul"],
        nodes_to_quantize=sorted(names),
        weight_type=QuantType.QInt8,
        per_channel=True,
        reduce_range=True,
    )


def _drop_unused(graph: ModelProto) -> None:
    """Remove the constants that no node reads."""
    read = {name for node in graph.graph.node for name in node.input}
    kept = [item for item in graph.graph.initializer if item.name in read]
    del graph.graph.initializer[:]
    graph.graph.initializer.extend(kept)


def _add_constant(graph: ModelProto, name: str, value: np.ndarray) -> None:
    graph.graph.initializer.append(numpy_helper.from_array(value, name))


def _replace_nodes(graph: ModelProto, nodes: list[NodeProto]) -> None:
    # Deleting the repeated field frees the messages that the list still refers to.
    copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.graph.node[:]
    graph.graph.node.extend(copies)
