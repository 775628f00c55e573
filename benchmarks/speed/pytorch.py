"""PyTorch, eager, in both of its memory layouts."""

import numpy as np

from benchmarks.speed import nets
from benchmarks.speed.eqx import channels_first_rows, channels_last_rows
from benchmarks.speed.peer import Missing, Peer

try:
    import torch  # pyright: ignore[reportMissingImports]
except ImportError as error:
    raise Missing("not installed") from error

F = torch.nn.functional


def build(net: nets.Net, params, state, batch, *, layout):
    torch.set_num_threads(2)
    own = nets.in_order(net.layer(), params)
    flattened = nets.flattened_shapes(net)
    made = torch.nn.ModuleList([make(*one) for one in zip(own, nets.owners(net.operations), flattened, strict=True)])
    made = made.to(memory_format=layout)
    x = torch.from_numpy(batch[0].transpose(0, 3, 1, 2).copy()).to(memory_format=layout)
    labels = torch.from_numpy(batch[1]).long()
    optimizer = torch.optim.SGD(made.parameters(), nets.OPTIMIZER["learning_rate"], nets.OPTIMIZER["momentum"])

    def backward():
        optimizer.zero_grad()
        value = F.cross_entropy(run(net.operations, x, iter(made)), labels)
        value.backward()
        return value

    def step():
        backward()
        optimizer.step()

    def infer():
        made.eval()
        with torch.no_grad():
            run(net.operations, x, iter(made))
        made.train()

    def first():
        value = float(backward().detach())
        return value, [leaf for one in zip(made, flattened, strict=True) for leaf in back(*one)]

    return Peer(step, infer, first)


def make(own, operation, shape):
    kind, *options = operation
    if kind == "norm":
        return torch.nn.BatchNorm2d(len(own["scale"]), eps=options[0] if options else 1e-5, momentum=0.1)
    *_, c_in, c_out = own["kernel"].shape
    if kind == "dense":
        layer, weight = torch.nn.Linear(c_in, c_out), channels_first_rows(own["kernel"], shape).T
    elif kind == "depthwise":
        window, stride = options
        layer = SamePadded(c_out, c_out, window, stride, groups=c_out, bias=False)
        weight = own["kernel"].transpose(3, 2, 0, 1)
    elif options[2] > 1 and options[3] == "SAME":
        outputs, window, stride, _, bias = options
        layer = SamePadded(c_in, outputs, window, stride, bias=bias)
        weight = own["kernel"].transpose(3, 2, 0, 1)
    else:
        _, window, stride, padding, bias = options
        same = (window - 1) // 2 if padding == "SAME" else 0
        amount = padding if isinstance(padding, int) else same
        layer = torch.nn.Conv2d(c_in, c_out, window, stride, amount, bias=bias)
        weight = own["kernel"].transpose(3, 2, 0, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight.copy()))
        if "bias" in own:
            layer.bias.copy_(torch.from_numpy(own["bias"].copy()))
    return layer


class SamePadded(torch.nn.Conv2d):
    """A convolution with TensorFlow's padding, which is not symmetric where the stride is 2."""

    def forward(self, x):
        """Pad and convolve."""
        window, stride = self.kernel_size[0], self.stride[0]
        (top, bottom), (left, right) = (nets.amounts(n, window, stride, "SAME") for n in x.shape[2:])
        return super().forward(F.pad(x, (left, right, top, bottom)))


def back(layer, shape):
    """Return the gradients in jaxdl's order and axes."""
    weight = layer.weight.grad.numpy()
    rest = [] if layer.bias is None else [layer.bias.grad.numpy()]
    if weight.ndim == 4:
        return [*rest, weight.transpose(2, 3, 1, 0)]
    return [*rest, channels_last_rows(weight.T, shape) if weight.ndim == 2 else weight]


def run(operations, x, made):
    for kind, *options in operations:
        if kind in ("conv", "dense", "norm", "depthwise"):
            x = next(made)(x)
        elif kind == "pool":
            x = pool(x, *options)
        elif kind == "block":
            body, stride, outputs = options
            kept = x[:, :, ::stride, ::stride]
            x = F.relu(run(body, x, made) + F.pad(kept, (0, 0, 0, 0, 0, outputs - x.shape[1])))
        elif kind == "projected":
            body, projection = options
            x = F.relu(run(body, x, made) + run(projection, x, made))
        else:
            x = {"relu": F.relu, "flatten": lambda x: torch.flatten(x, 1), "mean": lambda x: x.mean((2, 3))}[kind](x)
    return x


def pool(x, window, stride, padding):
    (top, bottom), (left, right) = (nets.amounts(n, window, stride, padding) for n in x.shape[2:])
    if top or bottom or left or right:
        x = F.pad(x, (left, right, top, bottom), value=-np.inf)
    return F.max_pool2d(x, window, stride)


LAYOUTS = {"PyTorch": torch.contiguous_format, "PyTorch, channels last": torch.channels_last}
