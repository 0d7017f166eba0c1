"""The same call gives the same answer in torch: batch normalisation and the rest of the convolution family."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import USABLE, normal

import pyconv
import pyconv.functional as F

torch = pytest.importorskip("torch")
TF = torch.nn.functional
pytestmark = pytest.mark.parametrize("backend", [name for name in USABLE if name != "cuda"])


def tensors(*arrays):
    return [None if array is None else torch.from_numpy(np.ascontiguousarray(array)) for array in arrays]


def close(got, wanted, terms=1):
    """As near as rounding in another order allows."""
    wanted = wanted.detach().numpy()
    assert got.shape == wanted.shape
    assert got.dtype == wanted.dtype
    error = (8 + terms) * float(np.finfo(got.dtype).eps)
    np.testing.assert_allclose(got, wanted, rtol=error, atol=error)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize(
    "shape", [(2, 3, 8, 9), (1, 5, 1, 1), (4, 7), (2, 3, 11), (2, 3, 2, 3, 4), (0, 3, 2, 2)], ids=str
)
def test_batch_norm(backend, shape, affine, dtype):
    x = normal(*shape, dtype=dtype)
    mean, weight, bias = (normal(shape[1], dtype=dtype, seed=seed) for seed in (1, 2, 3))
    variance = normal(shape[1], dtype=dtype, seed=4) ** 2 + np.dtype(dtype).type(0.1)
    numbers = (mean, variance, weight, bias) if affine else (mean, variance)
    close(F.batch_norm(x, *numbers, backend=backend), TF.batch_norm(*tensors(x, *numbers)), 16)
    places = (False, 0.2, 0.01)
    got = F.batch_norm(x, *numbers, *([] if affine else [None, None]), *places, backend=backend)
    theirs = [*tensors(x, *numbers), *([] if affine else [None, None])]
    close(got, TF.batch_norm(*theirs, *places), 16)


def test_batch_norm2d(backend):
    theirs = torch.nn.Sequential(torch.nn.Conv2d(3, 6, 3), torch.nn.BatchNorm2d(6, 1e-3), torch.nn.ReLU())
    for seed in range(3):
        theirs(*tensors(normal(4, 3, 9, 10, seed=seed)))  # in training mode, so that there are statistics
    theirs.eval()
    ours = pyconv.Sequential(pyconv.Conv2d(3, 6, 3), pyconv.BatchNorm2d(6, 1e-3), pyconv.ReLU())
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    x = normal(2, 3, 9, 10, seed=9)
    with pyconv.use_backend(backend):
        close(ours(x), theirs(*tensors(x)), 32)
    theirs.load_state_dict({name: torch.from_numpy(array) for name, array in ours.state_dict().items()})
    for arguments in ({"num_features": 3}, {"num_features": 5, "momentum": None, "affine": False}):
        mine, other = repr(pyconv.BatchNorm2d(**arguments)), repr(torch.nn.BatchNorm2d(**arguments))
        assert mine in (other, other.replace(" track", f" bias={arguments.get('affine', True)}, track"))  # torch < 2.13


TRANSPOSED = {
    "plain": ((2, 3, 5, 6), (3, 4, 3, 3), {}),
    "unet": ((1, 33, 7, 9), (33, 17, 2, 2), {"stride": 2}),
    "dcgan": ((2, 17, 4, 5), (17, 9, 4, 4), {"stride": 2, "padding": 1}),
    "output_padding": ((2, 5, 6, 7), (5, 3, 3, 3), {"stride": 2, "padding": 1, "output_padding": 1}),
    "stride_above_kernel": ((1, 3, 4, 5), (3, 2, 2, 2), {"stride": (5, 3), "output_padding": (4, 2)}),
    "dilation": ((1, 3, 5, 6), (3, 2, 3, 2), {"stride": (2, 3), "dilation": (3, 2), "padding": 1}),
    "dilation_output_padding": ((1, 3, 5, 6), (3, 2, 3, 2), {"dilation": 3, "output_padding": 2}),
    "groups": ((2, 4, 5, 6), (4, 3, 4, 3), {"groups": 2, "stride": 2, "padding": (2, 1)}),
    "unbatched": ((3, 5, 6), (3, 4, 3, 3), {"stride": 2}),
    "no_batch": ((0, 3, 5, 6), (3, 4, 3, 3), {"stride": 2}),
    "lists": ((1, 3, 5, 6), (3, 4, 3, 3), {"stride": [2, 1], "padding": [1, 0], "output_padding": [1, 0]}),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("name", TRANSPOSED)
def test_conv_transpose2d(backend, name, has_bias, dtype):
    shape, weight_shape, parameters = TRANSPOSED[name]
    x, weight = normal(*shape, dtype=dtype), normal(*weight_shape, dtype=dtype, seed=1)
    bias = normal(weight_shape[1] * parameters.get("groups", 1), dtype=dtype, seed=2) if has_bias else None
    got = F.conv_transpose2d(x, weight, bias, **parameters, backend=backend)
    close(got, TF.conv_transpose2d(*tensors(x, weight, bias), **parameters), weight[:, 0].size)


def test_conv_transpose2d_takes_the_same_places(backend):
    x, weight, bias = normal(1, 4, 9, 10), normal(4, 3, 3, 3), normal(6)
    places = (3, 2, 1, 2, 2)
    with pyconv.use_backend(backend):
        got = F.conv_transpose2d(x, weight, bias, *places)
    close(got, TF.conv_transpose2d(*tensors(x, weight, bias), *places), 36)


LINES = {
    "plain": ((2, 3, 19), (4, 3, 3), {}),
    "all": ((2, 4, 31), (6, 2, 3), {"stride": 2, "padding": (3,), "dilation": [2], "groups": 2}),
    "same": ((1, 3, 33), (5, 3, 4), {"padding": "same", "dilation": 2}),
    "valid": ((1, 3, 33), (5, 3, 4), {"padding": "valid"}),
    "unbatched": ((3, 19), (4, 3, 3), {"padding": 1}),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", LINES)
def test_conv1d(backend, name):
    shape, weight_shape, parameters = LINES[name]
    x, weight, bias = normal(*shape), normal(*weight_shape, seed=1), normal(weight_shape[0], seed=2)
    got = F.conv1d(x, weight, bias, **parameters, backend=backend)
    close(got, TF.conv1d(*tensors(x, weight, bias), **parameters), weight[0].size)


@pytest.mark.parametrize("parameters", [{}, {"stride": 3, "padding": 2, "output_padding": 1, "dilation": 2}], ids=str)
@pytest.mark.parametrize("shape", [(2, 4, 11), (4, 11)], ids=str)
def test_conv_transpose1d(backend, shape, parameters):
    x, weight, bias = normal(*shape), normal(4, 3, 5, seed=1), normal(6, seed=2)
    got = F.conv_transpose1d(x, weight, bias, groups=2, **parameters, backend=backend)
    close(got, TF.conv_transpose1d(*tensors(x, weight, bias), groups=2, **parameters), 40)


MODULES = {
    "ConvTranspose2d": (
        (4, 6, 3),
        {"stride": 2, "padding": 1, "output_padding": 1, "groups": 2, "dilation": (1, 2)},
        (2, 4, 7, 8),
    ),
    "ConvTranspose1d": ((4, 6, 4), {"stride": 2, "padding": 1, "bias": False}, (2, 4, 9)),
    "Conv1d": ((4, 6, 3), {"padding": 2, "dilation": 2, "padding_mode": "reflect", "groups": 2}, (2, 4, 9)),
}


@pytest.mark.parametrize("name", MODULES)
def test_modules(backend, name):
    places, named, shape = MODULES[name]
    ours = getattr(pyconv, name)(*places, **named, backend=backend)
    theirs = getattr(torch.nn, name)(*places, **named)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    x = normal(*shape)
    close(ours(x), theirs(*tensors(x)), 40)
    close(ours(x[0]), theirs(*tensors(x[0])), 40)
    fresh = getattr(pyconv, name)(*places, **named, rng=0).weight
    assert np.abs(fresh).max() == pytest.approx(np.abs(theirs.weight.detach().numpy()).max(), rel=0.2)


def test_output_size(backend):
    ours = pyconv.ConvTranspose2d(3, 4, 3, 2, 1, backend=backend)
    theirs = torch.nn.ConvTranspose2d(3, 4, 3, 2, 1)
    ours.load_state_dict(theirs.state_dict())
    x = normal(2, 3, 5, 6)
    for size in ([9, 11], [10, 12]):
        close(ours(x, size), theirs(*tensors(x), size), 27)


def test_output_size_of_lines(backend):
    ours = pyconv.ConvTranspose1d(3, 4, 3, 2, 1, backend=backend)
    theirs = torch.nn.ConvTranspose1d(3, 4, 3, 2, 1)
    ours.load_state_dict(theirs.state_dict())
    x = normal(2, 3, 5)
    for size in ([9], [10]):
        close(ours(x, size), theirs(*tensors(x), size), 27)


WINDOWS = [
    {"kernel_size": 2},
    {"kernel_size": (3, 2), "dilation": (1, 2), "padding": (2, 1), "stride": (2, 3)},
    {"kernel_size": [3, 1], "padding": 4, "stride": 2},
]


@pytest.mark.parametrize("shape", [(2, 3, 9, 10), (3, 8, 7)], ids=str)
@pytest.mark.parametrize("parameters", WINDOWS, ids=str)
def test_unfold_and_fold(backend, parameters, shape):
    x = normal(*shape)
    columns = TF.unfold(*tensors(x), **parameters)
    np.testing.assert_array_equal(F.unfold(x, **parameters, backend=backend), columns.numpy())
    y = normal(*columns.shape, seed=1)
    size = shape[-2:]
    close(F.fold(y, size, **parameters, backend=backend), TF.fold(*tensors(y), size, **parameters), 9)
    ours, theirs = pyconv.Unfold(**parameters, backend=backend), torch.nn.Unfold(**parameters)
    np.testing.assert_array_equal(ours(x), theirs(*tensors(x)).numpy())
    if not isinstance(parameters["kernel_size"], list):
        assert repr(ours) == repr(theirs)
        assert repr(pyconv.Fold(size, **parameters)) == repr(torch.nn.Fold(size, **parameters))


def blocks(nn, kind, channels, out_channels, stride):
    """Layers of a ResNet's block in a package's own classes, by torchvision's names: the body and the shortcut."""
    width = out_channels // 4 if kind == "bottleneck" else out_channels
    sizes = [(1, 1), (3, stride), (1, 1)] if kind == "bottleneck" else [(3, stride), (3, 1)]
    body, before = {}, channels
    for place, (kernel, step) in enumerate(sizes, start=1):
        after = out_channels if place == len(sizes) else width
        body[f"conv{place}"] = nn.Conv2d(before, after, kernel, step, kernel // 2, bias=False)
        body[f"bn{place}"] = nn.BatchNorm2d(after)
        before = after
    shortcut = nn.Sequential(nn.Conv2d(channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels))
    return body, shortcut if (stride, channels) != (1, out_channels) else None


class TorchBlock(torch.nn.Module):
    """As torchvision writes it: one relu for all."""

    def __init__(self, body, downsample):
        super().__init__()
        self.steps = [name for name in body if name.startswith("conv")]
        for name, layer in body.items():
            setattr(self, name, layer)
        self.downsample = downsample

    def forward(self, x):
        out = x
        for step in self.steps:
            out = getattr(self, step.replace("conv", "bn"))(getattr(self, step)(out))
            out = torch.relu(out) if step != self.steps[-1] else out
        return torch.relu(out + (x if self.downsample is None else self.downsample(x)))


@pytest.mark.parametrize("shape", [(2, 17, 16), (17, 16)], ids=["batch", "image"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("out_channels", [16, 32])
@pytest.mark.parametrize("kind", ["basic", "bottleneck"])
def test_residual_blocks(backend, kind, out_channels, stride, shape):
    """Of torch's weights, under torchvision's names; a few hundred roundings of numbers around one."""
    torch.manual_seed(0)
    theirs = TorchBlock(*blocks(torch.nn, kind, 16, out_channels, stride)).eval()
    for layer in theirs.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            for array, low, high in (
                (layer.weight, 0.5, 2), (layer.bias, -1, 1), (layer.running_mean, -1, 1), (layer.running_var, 0.3, 3),
            ):  # fmt: skip
                torch.nn.init.uniform_(array, low, high)
    body, shortcut = blocks(pyconv, kind, 16, out_channels, stride)
    layers: dict[str, pyconv.Module] = {}
    for name, layer in body.items():
        layers |= {f"relu before {name}": pyconv.ReLU()} if name.startswith("conv") and layers else {}
        layers[name] = layer
    ours = pyconv.Residual(layers, downsample=shortcut, activation=pyconv.ReLU(inplace=True))
    ours.load_state_dict(theirs.state_dict())
    assert set(ours.state_dict()) == set(theirs.state_dict())
    x = normal(*shape[:-2], 16, *shape[-2:])
    with torch.inference_mode():
        right = theirs(torch.from_numpy(x if x.ndim == 4 else x[None])).numpy()
    with pyconv.use_backend(backend):
        for _ in range(3):
            np.testing.assert_allclose(ours(x), right if x.ndim == 4 else right[0], rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("fuse", [True, False])
def test_a_residual_block_that_writes_over_its_input(backend, fuse):
    """torch's sum takes what the body's first layer left there."""
    x, added = normal(1, 8, 9, 10), pyconv.Conv2d(8, 8, 3, padding=1, rng=0)
    tensor = torch.from_numpy(x.copy())
    with torch.inference_mode():
        right = TF.conv2d(tensor.relu_(), *tensors(added.weight.copy(), added.bias.copy()), padding=1) + tensor
    block = pyconv.Residual(pyconv.ReLU(inplace=True), added, fuse=fuse)
    with pyconv.use_backend(backend):
        for _ in range(4):
            given = x.copy()
            close(block(given), right, 72)
            assert (given == tensor.numpy()).all()
