"""Arrays of PyTorch's and Keras' layers, kind by kind: where each entry goes, and the outputs of torch itself."""

import itertools
import re

import jax
import jaxtyping
import numpy as np
import pytest

from jaxdl import interop, nn
from jaxdl.interop import layouts

IMAGE, FLAT = (4, 3, 2), 24  # height, width, channels
KEY = jax.random.key(0)


def ramp(*shape):
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def in_place(i, j, c):
    """Return the index of a place of the image in PyTorch's flattened order."""
    return c * IMAGE[0] * IMAGE[1] + i * IMAGE[1] + j


FLATTENED = {  # a layer behind a flatten -> its arrays there and here, one entry per place and channel
    "batch_norm": (
        nn.BatchNorm(), {"weight": "scale", "bias": "offset", "running_mean": "mean", "running_var": "var"},
    ),
    "layer_norm": (nn.LayerNorm(), {"weight": "scale", "bias": "offset"}),
    "rms_norm": (nn.RMSNorm(), {"weight": "scale"}),
    "prelu": (nn.PReLU(), {"weight": "slope"}),
}  # fmt: skip


@pytest.mark.parametrize("kind", FLATTENED)
def test_arrays_between_a_flatten_and_a_dense_layer_are_reordered(kind):
    leaf, arrays = FLATTENED[kind]
    net = nn.serial(flat=nn.flatten, drop=nn.Dropout(0.1), between=leaf, fc=nn.Dense(2), last=leaf)
    rows = {f"1.{there}": k + ramp(FLAT) for k, there in enumerate(arrays)}
    rows |= {"2.weight": ramp(2, FLAT), "2.bias": ramp(2)} | {f"3.{there}": ramp(2) for there in arrays}
    names = {"between": "1", "fc": "2", "last": "3"}
    params, state = interop.from_torch(rows, net, IMAGE, names)
    for there, own in arrays.items():
        found = {**params["between"], **state.get("between", {})}[own].reshape(IMAGE)
        for place in itertools.product(*map(range, IMAGE)):
            assert found[place] == rows[f"1.{there}"][in_place(*place)]
        last = {**params["last"], **state.get("last", {})}[own]
        np.testing.assert_array_equal(last, ramp(2))  # behind the dense layer nothing is flattened
    back = interop.to_torch(net, params, state, IMAGE, names)
    jax.tree.map(np.testing.assert_array_equal, back, rows)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("window", [(3,), (3, 2)])
def test_every_entry_of_a_kernel_has_its_place(groups, transposed, window):
    of_each, out_of_each = 2, 3  # channels of each group
    makers = {(1, False): nn.Conv1d, (1, True): nn.ConvTranspose1d, (2, False): nn.Conv, (2, True): nn.ConvTranspose}
    size = window[0] if len(window) == 1 else window
    leaf = makers[len(window), transposed](groups * out_of_each, size, groups=groups, bias=False)
    in_shape, names = (*(5 for _ in window), groups * of_each), {"conv": "conv"}
    shape = (groups * of_each, out_of_each) if transposed else (groups * out_of_each, of_each)
    tensors = {"conv.weight": ramp(*shape, *window)}
    params, state = interop.from_torch(tensors, nn.serial(conv=leaf), in_shape, names)
    kernel = params["conv"]["kernel"]
    assert kernel.shape == (*window, of_each, groups * out_of_each)
    for g, i, o in itertools.product(range(groups), range(of_each), range(out_of_each)):
        at = (g * of_each + i, o) if transposed else (g * out_of_each + o, i)
        np.testing.assert_array_equal(kernel[..., i, g * out_of_each + o], tensors["conv.weight"][at])
    back = interop.to_torch(nn.serial(conv=leaf), params, state, in_shape, names)
    np.testing.assert_array_equal(back["conv.weight"], tensors["conv.weight"])


TABLES = nn.serial(embed=nn.Embedding(5, 4), place=nn.PositionEmbedding(3), out=nn.Unembedding(5))


@pytest.mark.parametrize(
    ("export", "load", "names"),
    [
        (interop.to_torch, interop.from_torch, ["0.weight", "1.weight", "2.weight"]),
        (interop.to_keras, interop.from_keras, None),
    ],
)
def test_tables_keep_their_layout(export, load, names):
    net = TABLES if names else nn.serial(embed=TABLES.children["embed"])
    params, state = net.init(KEY, (3,))
    of = {path: str(i) for i, path in enumerate(net.children)}
    tensors = export(net, params, state, (3,), of)
    assert sorted(tensors) == (names or ["0/embeddings"])
    np.testing.assert_array_equal(next(iter(tensors.values())), params["embed"]["table"])
    jax.tree.map(np.testing.assert_array_equal, load(tensors, net, (3,), of), (params, state))


@pytest.mark.parametrize(
    ("export", "part", "kind"),
    [
        (interop.to_torch, jax.nn.relu, "relu"),
        (interop.to_torch, nn.serial(a=nn.LSTM(3), b=nn.LSTM(3)), "serial"),  # two modules of PyTorch, with two names
        (interop.to_torch, nn.parallel("concat", forward=nn.LSTM(3), backward=nn.LSTM(3)), "parallel"),  # both forward
        (interop.to_torch, nn.parallel("concat", layer1=nn.LSTM(3), layer2=nn.LSTM(3)), "parallel"),
        (interop.to_torch, nn.serial(layer0=nn.LSTM(3), layer1=nn.LSTM(3)), "serial"),
        (interop.to_keras, nn.LSTM(3, depth=2), "stack"),  # which has a name for each of its layers
        (interop.to_keras, nn.GRU(3, bidirectional=True), "parallel"),
    ],
)
def test_a_kind_whose_arrays_differ_is_refused_by_name(export, part, kind):
    net = nn.serial(part=part)
    said = f"names: got 'part', whose kind is {kind}; allowed are paths of conv, dense"
    with pytest.raises(ValueError, match=said) as caught:
        export(net, *net.init(KEY, (5, 4)), (5, 4), {"part": "part"})
    cells = [path for path in nn.paths(net) if nn.at(net, path).op.kind in ("gru", "lstm")]
    assert str(caught.value).endswith(f"lstm, such as {', '.join(cells)}" if cells else "lstm")


NORMED = nn.serial(norm=nn.BatchNorm())


@pytest.mark.parametrize(
    ("narrow", "wide", "in_shape", "got"),
    [
        (nn.Conv(2, 3), nn.Conv(4, 3), (5, 5, 1), r"params: got (3, 3, 1, 4) at 'part/kernel'"),
        (nn.Dense(2), nn.Dense(4), (5,), "params: got (5, 4) at 'part/kernel'"),
        (nn.LSTM(2), nn.LSTM(4), (5, 3), "params: got {'bias': (16,), 'kernel': (3, 16), 'recurrent_kernel': (4, 16)}"),
        (nn.GRU(2), nn.GRU(4), (5, 3), "params: got {'bias': (12,), 'kernel': (3, 12), 'recurrent_bias': (4,)"),
    ],
    ids=["conv", "dense", "lstm", "gru"],
)
def test_parameters_of_another_size_are_not_written(narrow, wide, in_shape, got):
    params, state = nn.serial(part=wide).init(KEY, in_shape)
    for export in (interop.to_torch, interop.to_keras):
        with pytest.raises(ValueError, match=re.escape(got) + ".*; the network at in_shape has "):
            export(nn.serial(part=narrow), params, state, in_shape, {"part": "0"})


def test_another_state_is_not_written():
    params, _ = NORMED.init(KEY, (5,))
    with pytest.raises(ValueError, match=r"state: got \(4,\) at 'norm/mean'; the network at in_shape has \(5,\)"):
        interop.to_torch(NORMED, params, NORMED.init(KEY, (4,))[1], (5,), {"norm": "0"})


def of_torch():
    """Return PyTorch's module, ours and the shape of an input, for every kind."""
    torch = pytest.importorskip("torch", reason="the outputs are PyTorch's")
    t = torch.nn
    conv, ours = t.Conv2d(3, 4, 3), nn.Conv(4, 3, padding=0)
    return torch, {
        "batch_norm": ([conv, t.Flatten(), t.BatchNorm1d(120)], [ours, nn.flatten, nn.BatchNorm()], (8, 7, 3)),
        "layer_norm": ([conv, t.Flatten(), t.LayerNorm(120)], [ours, nn.flatten, nn.LayerNorm()], (8, 7, 3)),
        "rms_norm": ([conv, t.Flatten(), t.RMSNorm(120, 1e-6)], [ours, nn.flatten, nn.RMSNorm()], (8, 7, 3)),
        "prelu": ([conv, t.PReLU(4), t.Flatten()], [ours, nn.PReLU(), nn.flatten], (8, 7, 3)),
        "dense": ([conv, t.Flatten(), t.Linear(120, 2)], [ours, nn.flatten, nn.Dense(2)], (8, 7, 3)),
        "group_norm": ([conv, t.GroupNorm(2, 4), t.Flatten()], [ours, nn.GroupNorm(2), nn.flatten], (8, 7, 3)),
        "instance_norm": (
            [conv, t.InstanceNorm2d(4, affine=True), t.Flatten()], [ours, nn.InstanceNorm(), nn.flatten], (8, 7, 3),
        ),
        "conv": ([t.Conv1d(4, 6, 3, groups=2)], [nn.Conv1d(6, 3, padding=0, groups=2)], (9, 4)),
        "conv_transpose": (
            [t.ConvTranspose2d(4, 6, 3, stride=2, padding=1, groups=2)],
            [nn.ConvTranspose(6, 3, stride=2, padding=1, groups=2)],
            (5, 4, 4),
        ),
    }  # fmt: skip


OUTPUTS = [kind for kind in layouts._TORCH_KINDS if not kind.endswith("embedding")]  # a look-up shows no layout


@pytest.mark.parametrize("kind", OUTPUTS)
def test_outputs_are_those_of_pytorch(kind):
    torch, modules = of_torch()
    theirs, ours, in_shape = modules[kind]
    if nn.flatten in ours and kind != "dense":
        theirs, ours = [*theirs, torch.nn.Linear(120, 2)], [*ours, nn.Dense(2)]
    module = torch.nn.Sequential(*theirs).eval()
    generator = torch.Generator().manual_seed(0)
    for array in module.state_dict().values():
        if array.is_floating_point():
            array.uniform_(0.2, 2, generator=generator)
    net = nn.serial(**{f"part{i}": part for i, part in enumerate(ours)})
    names = {f"part{i}": str(i) for i, part in enumerate(theirs) if part.state_dict()}
    params, state = interop.from_torch(
        {name: a.numpy() for name, a in module.state_dict().items()}, net, in_shape, names
    )
    x = np.random.default_rng(0).normal(size=(2, *in_shape)).astype(np.float32)
    with torch.no_grad():
        expected = module(torch.from_numpy(np.moveaxis(x, -1, 1).copy())).numpy()
    found, _ = jax.jit(net.apply)(params, state, x)
    found = np.moveaxis(found, -1, 1)
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_reader_of_words_is_pytorchs_and_goes_back(kind, depth, bidirectional):
    torch = pytest.importorskip("torch", reason="the outputs are PyTorch's")
    torch.manual_seed(0)
    options, t = {"bidirectional": bidirectional}, torch.nn
    recurrent = getattr(t, kind)(4, 5, num_layers=depth, batch_first=True, **options)
    module = t.ModuleDict({"embed": t.Embedding(9, 4), "rnn": recurrent, "fc": t.Linear(10 if bidirectional else 5, 2)})
    own = getattr(nn, kind)(5, depth=depth, output="last", **options)
    net, names = nn.serial(embed=nn.Embedding(9, 4), rnn=own, fc=nn.Dense(2)), ["embed", "rnn", "fc"]
    names = dict(zip(names, names, strict=True))
    tensors = {name: array.numpy() for name, array in module.state_dict().items()}
    params, state = interop.from_torch(tensors, net, (7,), names)
    words = torch.randint(0, 9, (3, 7))

    def outputs():
        with torch.no_grad():
            h_n = module["rnn"](module["embed"](words))[1]
            last = (h_n[0] if kind == "LSTM" else h_n)[-2 if bidirectional else -1 :]
            return module["fc"](torch.cat([*last], 1)).numpy()

    expected = outputs()
    np.testing.assert_allclose(net.apply(params, state, words.numpy())[0], expected, rtol=1e-5, atol=1e-6)
    back = interop.to_torch(net, params, state, (7,), names)
    module.load_state_dict({name: torch.tensor(np.asarray(array)) for name, array in back.items()})
    np.testing.assert_allclose(outputs(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("kind", "gates"), [("RNN", "n"), ("LSTM", "ifgo")])
def test_recurrent_arrays_of_keras_are_ours(kind, gates):
    columns = 3 * len(gates)
    tensors = {"rnn/cell/kernel": ramp(4, columns), "rnn/cell/recurrent_kernel": ramp(3, columns)}
    tensors["rnn/cell/bias"] = ramp(columns)
    net = nn.serial(rnn=getattr(nn, kind)(3))
    params, state = interop.from_keras(tensors, net, (6, 4), {"rnn": "rnn/cell"})
    for name, array in params["rnn"].items():
        np.testing.assert_array_equal(array, tensors[f"rnn/cell/{name}"])
    jax.tree.map(
        np.testing.assert_array_equal, interop.to_keras(net, params, state, (6, 4), {"rnn": "rnn/cell"}), tensors
    )


def test_a_gru_of_keras_is_its_formula_and_goes_back():
    random, units, names = np.random.default_rng(0), 3, {"gru": "gru/gru_cell"}
    kernel, recurrent_kernel, bias = (random.normal(size=shape).astype("f4") for shape in ((4, 9), (3, 9), (2, 9)))
    arrays = {"kernel": kernel, "recurrent_kernel": recurrent_kernel, "bias": bias}
    net = nn.serial(gru=nn.GRU(units, output="last"))
    params, state = interop.from_keras({f"gru/gru_cell/{k}": a for k, a in arrays.items()}, net, (6, 4), names)
    sigmoid = lambda z: 1 / (1 + np.exp(-z))

    def formula(x, kernel, recurrent_kernel, bias):
        h = np.zeros((2, units))
        for t in range(x.shape[1]):  # keras.layers.GRU(reset_after=True): the gates are z, r and the candidate
            of_x, of_h = x[:, t] @ kernel + bias[0], h @ recurrent_kernel + bias[1]
            z, r = (sigmoid(of_x[:, part] + of_h[:, part]) for part in (slice(0, 3), slice(3, 6)))
            h = z * h + (1 - z) * np.tanh(of_x[:, 6:] + r * of_h[:, 6:])
        return h

    x = random.normal(size=(2, 6, 4)).astype("f4")
    np.testing.assert_allclose(net.apply(params, state, x)[0], formula(x, **arrays), rtol=1e-5, atol=1e-6)
    back = interop.to_keras(net, params, state, (6, 4), names)
    again = {name.rpartition("/")[2]: np.asarray(array) for name, array in back.items()}
    np.testing.assert_array_equal(again["kernel"], kernel)
    np.testing.assert_allclose(formula(x, **again), formula(x, **arrays), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("load", [interop.from_torch, interop.from_keras])
def test_recurrent_arrays_that_do_not_fit_are_all_named(load):
    net, bias = nn.serial(gru=nn.GRU(3)), "gru.bias_ih_l0" if load is interop.from_torch else "gru/bias"
    whole = {interop.from_torch: interop.to_torch, interop.from_keras: interop.to_keras}[load]
    tensors = dict(whole(net, *net.init(KEY, (6, 4)), (6, 4), {"gru": "gru"}))
    with pytest.raises(interop.Mismatch) as caught:
        load(tensors | {bias: np.zeros(5), "gru.weight_hr_l0": np.zeros(3)}, net, (6, 4), {"gru": "gru"})
    assert (caught.value.missing, caught.value.unexpected) == ([], ["gru.weight_hr_l0"])
    assert {*caught.value.shapes} == {bias}


@pytest.mark.parametrize(("path", "name"), [("", "rnn"), ("", ""), ("rnn", "")])
def test_a_layer_alone_and_names_without_a_prefix(path, name):
    net = nn.serial(rnn=nn.LSTM(3)) if path else nn.LSTM(3)
    start = f"{name}." if name else ""
    tensors = {f"{start}weight_ih_l0": ramp(12, 4), f"{start}weight_hh_l0": ramp(12, 3)}
    tensors |= {f"{start}bias_ih_l0": ramp(12), f"{start}bias_hh_l0": 0 * ramp(12)}
    params, state = interop.from_torch(tensors, net, (6, 4), {path: name})
    own = params[path] if path else params
    np.testing.assert_array_equal(own["recurrent_kernel"], ramp(12, 3).T)
    back = interop.to_torch(net, params, state, (6, 4), {path: name})
    jax.tree.map(np.testing.assert_array_equal, back, tensors)


def test_arrays_stand_in_the_networks_order_whatever_the_order_of_the_names():  # by which Keras assigns them
    net = nn.serial(rnn=nn.GRU(3, bidirectional=True))
    names = {"rnn/backward": "bi/backward_gru", "rnn/forward": "bi/forward_gru"}
    tensors = interop.to_keras(net, *net.init(KEY, (6, 4)), (6, 4), names)
    assert [name.split("/")[1] for name in tensors] == ["forward_gru"] * 3 + ["backward_gru"] * 3


@pytest.mark.parametrize(
    ("net", "names", "message"),
    [
        (
            nn.shared(nn.serial(a=nn.LSTM(4), b=nn.LSTM(4)), {"b": "a"}),
            "ab",
            "'b', but 'b' has no parameters of its own",
        ),
        (nn.serial(a=nn.LSTM(4, depth=2)), ("a", "a/layer1"), "'a/layer1', but another path stands for 'a/layer1'"),
    ],
)
def test_a_recurrent_layer_has_one_name_where_its_parameters_are(net, names, message):
    params, state = net.init(KEY, (6, 4))
    with pytest.raises(ValueError, match=f"names: got {message}"):
        interop.to_torch(net, params, state, (6, 4), {path: path for path in names})


def test_dropout_between_layers_has_no_arrays():
    dropped = nn.serial(rnn=nn.serial(layer1=nn.GRU(3), drop=nn.Dropout(0.5), layer2=nn.GRU(3)))
    whole, names = nn.serial(rnn=nn.GRU(3, depth=2)), {"rnn": "rnn"}
    params, state = whole.init(KEY, (6, 4))
    tensors = interop.to_torch(whole, params, state, (6, 4), names)
    jax.tree.map(np.testing.assert_array_equal, interop.from_torch(tensors, dropped, (6, 4), names)[0], params)


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float64"])
def test_tensors_in_memory_may_have_any_dtype_and_a_gradient(kind):
    torch = pytest.importorskip("torch", reason="the tensors are PyTorch's")
    module = torch.nn.ModuleDict({"rnn": torch.nn.RNN(4, 3)}).to(getattr(torch, kind))
    params, _ = interop.from_torch(dict(module.named_parameters()), nn.serial(rnn=nn.RNN(3)), (6, 4), {"rnn": "rnn"})
    expected = module["rnn"].weight_hh_l0.detach().float().numpy().T
    np.testing.assert_array_equal(params["rnn"]["recurrent_kernel"], expected)


@pytest.mark.parametrize("read", [interop.from_torch, interop.from_keras])
@pytest.mark.parametrize("size", [3, 64])
def test_weights_are_copies_that_the_other_framework_does_not_change(read, size):
    """Of arrays that begin at a multiple of 64 bytes, JAX shares the memory unless it is copied before."""
    net = nn.serial(fc=nn.Dense(size), norm=nn.LayerNorm())
    params, state = net.init(jax.random.key(0), (size,))
    names = {"fc": "fc", "norm": "norm"}
    write = interop.to_torch if read is interop.from_torch else interop.to_keras
    theirs = {}
    for name, array in write(net, params, state, (size,), names).items():
        room = np.empty(array.size + 16, np.float32)
        start = -room.ctypes.data % 64 // 4
        theirs[name] = room[start : start + array.size].reshape(array.shape)
        theirs[name][...] = array
    loaded, _ = read(theirs, net, (size,), names)
    for array in theirs.values():
        array += 1
    jax.tree.map(np.testing.assert_array_equal, loaded, params)


@pytest.mark.parametrize(
    ("read", "said"), [(interop.from_torch, r"module\.state_dict\(\)"), (interop.from_keras, "dense_1/kernel")]
)
def test_a_module_in_place_of_its_arrays_is_named(read, said, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as outside of these tests
    with pytest.raises(ValueError, match=rf"tensors: got a object, allowed are arrays by their names, .*{said}"):
        read(object(), nn.serial(fc=nn.Dense(2)), (3,), {"fc": "fc"})


def test_weights_of_three_inputs_that_do_not_fit_are_named(tmp_path):
    """The hint about channels that come first asked a dict of three shapes for its first entry."""
    net = nn.parallel("sum", **{name: nn.pick(name, nn.Dense(2)) for name in "abc"})
    params, state = net.init(jax.random.key(0), dict.fromkeys("abc", (3,)))
    interop.save(tmp_path / "net.safetensors", params, state)
    with pytest.raises(ValueError, match=r"\(3, 2\).*\(4, 2\)|\(4, 2\).*\(3, 2\)"):
        interop.load(tmp_path / "net.safetensors", net, {"a": (4,), "b": (3,), "c": (3,)})


def test_an_encoder_layer_of_pytorch_gives_the_same_outputs_as_the_page_says():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    tensors = dict(module.state_dict())
    for kind, part in itertools.product(("weight", "bias"), range(3)):
        rows = module.state_dict()[f"self_attn.in_proj_{kind}"].chunk(3)[part]
        tensors.pop(f"self_attn.in_proj_{kind}", None)
        tensors[f"self_attn.{('query', 'key', 'value')[part]}.{kind}"] = rows
    mlp = nn.serial(linear1=nn.Dense(16), relu=jax.nn.relu, linear2=nn.Dense(8))
    block = nn.TransformerBlock(nn.MultiHeadAttention(8, 2), mlp, norm_first=False)
    inner = "attention/residual/body/layer"
    names = {f"{inner}/project/{part}": f"self_attn.{part}" for part in ("query", "key", "value")} | {
        f"{inner}/out": "self_attn.out_proj",
        "attention/norm": "norm1",
        "mlp/norm": "norm2",
        **{f"mlp/residual/body/layer/linear{i}": f"linear{i}" for i in (1, 2)},
    }
    params, state = interop.from_torch(tensors, block, (5, 8), names)
    x = np.random.default_rng(0).normal(size=(3, 5, 8)).astype(np.float32)
    np.testing.assert_allclose(block.apply(params, state, x)[0], module(torch.tensor(x)).detach(), atol=2e-6)
