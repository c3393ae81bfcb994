"""ONNX Runtime: each row is a small graph made here, run through IO binding so that its output buffer is reused."""

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

from protocol import Row, Unsupported, package, serve

CONTRIB = "com.microsoft"


class Graph:
    """Nodes, constants and inputs of a graph with one output, `out`."""

    def __init__(self):
        self.nodes, self.constants, self.inputs = [], [], {}

    def node(self, kind, names, out, domain="", **attributes):
        self.nodes.append(helper.make_node(kind, names, [out], domain=domain, **attributes))
        return out

    def constant(self, name, value):
        self.constants.append(onnx.numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def input(self, name, value):
        self.inputs[name] = np.ascontiguousarray(value)
        return name

    def session(self, threads):
        kinds = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int64): TensorProto.INT64}
        inputs = [
            helper.make_tensor_value_info(name, kinds[value.dtype], value.shape)
            for name, value in self.inputs.items()
        ]
        output = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "row", inputs, [output], self.constants)
        opsets = [helper.make_opsetid("", 20), helper.make_opsetid(CONTRIB, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        providers = ["CPUExecutionProvider"]
        return ort.InferenceSession(model.SerializeToString(), options, providers=providers)


def build(op, params, inputs):
    """Returns the graph and how its output becomes the row's."""
    graph = Graph()
    same = lambda out: out  # noqa: E731
    if op == "rms_norm":
        x, w = graph.input("x", inputs[0]), graph.constant("w", inputs[1])
        graph.node("SimplifiedLayerNormalization", [x, w], "out", axis=-1, epsilon=params["eps"], stash_type=1)
        return graph, same
    if op == "layer_norm":
        x = graph.input("x", inputs[0])
        w, b = graph.constant("w", inputs[1]), graph.constant("b", inputs[2])
        graph.node("LayerNormalization", [x, w, b], "out", axis=-1, epsilon=params["eps"])
        return graph, same
    if op == "softmax":
        graph.node("Softmax", [graph.input("x", inputs[0])], "out", axis=-1)
        return graph, same
    if op == "attention":
        # This kernel wants [batch, seq, heads * dim]: the layout is its own, so it is given before the clock.
        batch, heads, seq, dim = inputs[0].shape
        names = []
        for name, value in zip("qkv", inputs):
            names.append(graph.input(name, value.transpose(0, 2, 1, 3).reshape(batch, seq, heads * dim)))
        graph.node("MultiHeadAttention", names, "out", CONTRIB, num_heads=heads, scale=params["scale"])
        return graph, lambda out: out.reshape(batch, seq, heads, dim).transpose(0, 2, 1, 3)
    if op == "rope":
        x = inputs[0]
        half, seq = x.shape[-1] // 2, x.shape[-2]
        angles = np.arange(seq)[:, None] * params["base"] ** (-np.arange(half) / half)
        positions = graph.input("positions", np.arange(seq, dtype=np.int64)[None])
        cos = graph.constant("cos", np.cos(angles).astype(np.float32))
        sin = graph.constant("sin", np.sin(angles).astype(np.float32))
        graph.node("RotaryEmbedding", [graph.input("x", x), positions, cos, sin], "out", CONTRIB)
        return graph, same
    if op == "gelu":
        graph.node("Gelu", [graph.input("x", inputs[0])], "out", CONTRIB)
        return graph, same
    if op == "exp":
        graph.node("Exp", [graph.input("x", inputs[0])], "out")
        return graph, same
    if op == "add":
        graph.node("Add", [graph.input("a", inputs[0]), graph.input("b", inputs[1])], "out")
        return graph, same
    if op == "chain8":
        x, b = graph.input("x", inputs[0]), graph.input("b", inputs[1])
        two, one = (graph.constant(name, np.float32(value)) for name, value in (("two", 2), ("one", 1)))
        y = graph.node("Add", [graph.node("Mul", [x, two], "x2"), b], "y")
        silu = graph.node("Mul", [y, graph.node("Sigmoid", [y], "s")], "silu")
        distance = graph.node("Abs", [graph.node("Sub", [silu, x], "d")], "abs")
        graph.node("Sqrt", [graph.node("Add", [distance, one], "sum")], "out")
        return graph, same
    if op == "matvec":
        # The weights are constant, so they may be packed as it likes them.
        graph.node("MatMul", [graph.input("x", inputs[0]), graph.constant("w", inputs[1].T)], "out")
        return graph, same
    if op == "matmul":
        graph.node("MatMul", [graph.input("a", inputs[0]), graph.input("b", inputs[1])], "out")
        return graph, same
    if op.startswith("quantized"):
        x, codes, scales, zeros = inputs
        (n, k), size = codes.shape, params["group_size"]
        packed = (codes[:, 0::2] | codes[:, 1::2] << 4).reshape(n, k // size, size // 2)
        points = zeros[:, 0::2] | zeros[:, 1::2] << 4
        names = [
            graph.input("x", x),
            graph.constant("codes", packed.astype(np.uint8)),
            graph.constant("scales", scales.reshape(-1)),
            graph.constant("zeros", points.astype(np.uint8).reshape(-1)),
        ]
        # Level 1 computes in float32, level 4 rounds activations to 8 bits.
        level = 4 if op.endswith("int8") else 1
        attributes = dict(K=k, N=n, bits=4, block_size=size, accuracy_level=level)
        graph.node("MatMulNBits", names, "out", CONTRIB, **attributes)
        return graph, same
    raise Unsupported(f"has no {op}")


def prepare(load, inputs, threads):
    graph, shape = build(load["op"], load["params"], inputs)
    session = graph.session(threads)
    binding = session.io_binding()
    values = {name: ort.OrtValue.ortvalue_from_numpy(value) for name, value in graph.inputs.items()}
    for name, value in values.items():
        binding.bind_ortvalue_input(name, value)
    binding.bind_output("out", "cpu")
    session.run_with_iobinding(binding)
    # The output's shape is known now: bind a buffer of its own, as IO binding is meant to be used.
    out = ort.OrtValue.ortvalue_from_numpy(binding.copy_outputs_to_cpu()[0])
    binding.bind_ortvalue_output("out", out)

    def call():
        session.run_with_iobinding(binding)
        return out

    return Row(call, numpy=lambda value: shape(value.numpy()))


if __name__ == "__main__":
    serve("onnxruntime", package("onnxruntime", "onnx"), prepare)
