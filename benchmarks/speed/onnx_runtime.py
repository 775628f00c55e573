"""ONNX Runtime: inference alone, of the network that PyTorch exports."""

import tempfile
import warnings

import numpy as np

from benchmarks.speed import nets
from benchmarks.speed.peer import Missing, Peer

try:
    import onnxruntime  # pyright: ignore[reportMissingImports]

    from benchmarks.speed import pytorch
except ImportError as error:
    raise Missing("not installed") from error

torch = pytorch.torch
THREADS = 2
TOLERANCE = 1e-4


class _Net(torch.nn.Module):
    def __init__(self, net: nets.Net, params):
        super().__init__()
        own = nets.in_order(net.layer(), params)
        three = zip(own, nets.owners(net.operations), nets.flattened_shapes(net), strict=True)
        self.made = torch.nn.ModuleList([pytorch.make(*one) for one in three])
        self.operations = net.operations

    def forward(self, x):
        return pytorch.run(self.operations, x, iter(self.made))


def build(net: nets.Net, params, state, batch):
    """Export PyTorch's network, and compare the first logits with PyTorch's own."""
    x = torch.from_numpy(batch[0].transpose(0, 3, 1, 2).copy())
    module = _Net(net, params).eval()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # paddings are numbers that the exporter traces
        torch.onnx.export(module, (x,), file := f"{folder}/net.onnx", dynamo=False, input_names=["x"])
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    feed = {"x": x.numpy()}
    with torch.no_grad():
        expected = module(x).numpy()
    if not np.abs(session.run(None, feed)[0] - expected).max() < TOLERANCE * np.abs(expected).max():
        raise ValueError("ONNX Runtime's logits differ from PyTorch's")

    def infer():
        return session.run(None, feed)

    return Peer(_never, infer, _never, trains=False)


def _never():
    raise NotImplementedError("ONNX Runtime does not train")
