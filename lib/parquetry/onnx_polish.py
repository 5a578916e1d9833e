"""The last strokes on a converted graph: names, needless roundings, and inputs that nothing reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parquetry.errors import NotExportable

if TYPE_CHECKING:
    from onnx import ModelProto


def polish(proto: ModelProto, types: dict[str, str], last: Any) -> None:
    """Turn what skl2onnx gives for ``column_0``, ``column_1`` … into the model that is saved.

    Parameters
    ----------
    proto : onnx.ModelProto
        Changed in place.
    types : dict of str to str
        The columns in order, with ``"float"``, ``"whole"``, ``"text"`` or ``"other"``.
    last : estimator
        The last step, which says what the outputs are.

    Raises
    ------
    NotExportable
        A step reads a column that is neither number nor text.
    """
    _sort_domains(proto)
    _name(proto, list(types), last)
    _skip_roundings(proto)
    _drop_unused(proto)
    _refuse_others(proto, types)


def _sort_domains(proto: ModelProto) -> None:
    """In order, where skl2onnx has them from a set: the same model is the same bytes in every process."""
    ordered = sorted(proto.opset_import, key=lambda domain: domain.domain)
    del proto.opset_import[:]
    proto.opset_import.extend(ordered)


def _name(proto: ModelProto, inputs: list[str], last: Any) -> None:
    """The columns' own names on the inputs (skl2onnx would mangle them), and telling ones on the outputs."""
    from sklearn.base import is_classifier

    if is_classifier(last):
        outputs = ["label", "probabilities"]
    else:
        outputs = [
            "prediction" if hasattr(last, "predict") or type(last).__name__ == "InverseTarget" else "transformed"
        ]
    if len(proto.graph.output) > len(outputs):
        outputs = [value.name for value in proto.graph.output]
    wanted = {f"column_{i}": name for i, name in enumerate(inputs)}
    for value, name in zip(proto.graph.output, outputs, strict=False):
        wanted[value.name] = name + "_" * (name in inputs)
    # What stays inside gets a prefix that no column has, so that no column's name can meet it.
    prefix = "/" + "/" * max((len(n) - len(n.lstrip("/")) for n in inputs), default=0)
    graph = proto.graph
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [wanted.get(name, prefix + name) if name else name for name in names]
    for value in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
        value.name = wanted.get(value.name, prefix + value.name)


def _skip_roundings(proto: ModelProto) -> None:
    """Double values that are rounded to float32 and cast back between two steps stay double.

    A tree's threshold can equal a filled-in value to the last bit; rounded on the way, it would not.
    """
    from parquetry.onnx_graph import DOUBLED, ROUNDED

    nodes = proto.graph.node
    made = {output: node for node in nodes for output in node.output}
    for node in nodes:
        if node.name.startswith(DOUBLED):
            before = made.get(node.input[0])
            while before is not None and before.op_type == "Identity":
                before = made.get(before.input[0])
            if before is not None and before.name.startswith(ROUNDED):
                node.op_type, node.input[0] = "Identity", before.input[0]
                del node.attribute[:]


def _drop_unused(proto: ModelProto) -> None:
    nodes = proto.graph.node
    used = {value.name for value in proto.graph.output}
    kept = []
    for node in reversed(nodes):  # in order of computation, so that one sweep from the end is enough
        if used.intersection(node.output):
            used.update(node.input)
            kept.append(node)
    del nodes[:]
    nodes.extend(reversed(kept))
    read = [value for value in proto.graph.input if value.name in used]
    del proto.graph.input[:]
    proto.graph.input.extend(read)


def _refuse_others(proto: ModelProto, types: dict[str, str]) -> None:
    wrong = next((value.name for value in proto.graph.input if types[value.name] == "other"), None)
    if wrong is not None:
        raise NotExportable(
            f"Column {wrong!r} is neither number nor text.",
            why="An input of an ONNX model is one of the two.",
            fix="Turn it into numbers before the model, or leave it out with features=.",
        )
