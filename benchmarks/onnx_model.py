"""A chain of layers as an ONNX model, for the inference engines that read that format."""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tatami import layers
from tatami.network import Network, Parameters

OPSET = 17
SIMPLE_OPERATORS: dict[type[layers.Layer], str] = {
    layers.ReLU: "Relu",
    layers.Tanh: "Tanh",
    layers.Sigmoid: "Sigmoid",
    layers.Flatten: "Flatten",
}


def onnx_model(network: Network, parameters: Parameters, batch_size: int) -> bytes:
    """Return the serialised model for a fixed batch size; its output is the logits.

    Raises:
        TypeError: a layer that this benchmark does not translate.
    """
    nodes: list[Any] = []
    weights = [
        numpy_helper.from_array(np.ascontiguousarray(values), f"{layer}.{name}")
        for layer, named in parameters.items()
        for name, values in named.items()
    ]
    previous = "input"
    for node in network.nodes:
        for operator, inputs, attributes in operators(node.layer, node.name, network.input_shapes(node)[0]):
            output = f"{node.name}.{operator}"
            nodes.append(helper.make_node(operator, [previous, *inputs], [output], **attributes))
            previous = output
    graph = helper.make_graph(
        nodes,
        network.name,
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch_size, *network.input_shape])],
        [helper.make_tensor_value_info(previous, TensorProto.FLOAT, [batch_size, *network.output_shape])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def operators(
    layer: layers.Layer, name: str, shape: tuple[int, ...]
) -> list[tuple[str, list[str], dict[str, Any]]]:
    """Return (operator, further inputs, attributes) for one layer; dropout is nothing at inference."""
    window = layer.window(shape)
    if isinstance(layer, layers.Dropout):
        return []
    if type(layer) in SIMPLE_OPERATORS:
        return [(SIMPLE_OPERATORS[type(layer)], [], {})]
    if isinstance(layer, layers.GlobalAveragePool):
        return [("GlobalAveragePool", [], {}), ("Flatten", [], {})]
    if isinstance(layer, layers.Dense):
        return [("Gemm", [f"{name}.weight", f"{name}.bias"], {"transB": 1})]
    if window is None:
        raise TypeError(f"{layer.label}: the benchmark does not translate it to ONNX")
    attributes = {
        "kernel_shape": window.kernel,
        "strides": window.stride,
        "pads": [before for before, _ in window.padding] + [after for _, after in window.padding],
    }
    if isinstance(layer, layers.MaxPool):
        return [("MaxPool", [], attributes)]
    if isinstance(layer, layers.AveragePool):
        return [("AveragePool", [], {**attributes, "count_include_pad": int(layer.count_padding)})]
    if isinstance(layer, layers.Convolution):
        attributes |= {"dilations": window.dilation, "group": window.groups}
        return [("Conv", [f"{name}.weight", f"{name}.bias"], attributes)]
    raise TypeError(f"{layer.label}: the benchmark does not translate it to ONNX")
