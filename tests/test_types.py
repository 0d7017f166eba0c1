"""What type checkers see of the public names: ``make lint`` runs mypy over this file, which is run as tests too.

A comment ``type: ignore[...]`` says which error mypy must find; it complains where there is none.
"""

from __future__ import annotations

from typing import Any, assert_type

import numpy as np
import pytest
from numpy.typing import NDArray

import pyconv
import pyconv.functional as F
from pyconv import nn
from pyconv.errors import ArgumentError

Floats = NDArray[np.float32]
Image = np.ndarray[tuple[int, int, int, int], np.dtype[np.float32]]

image: Floats = np.ones((1, 2, 6, 6), np.float32)
line: Floats = np.ones((1, 2, 6), np.float32)
sized: Image = np.ones((1, 2, 6, 6), np.float32)
one: Floats = np.ones(1, np.float32)
two: Floats = np.ones(2, np.float32)


def test_activations_as_functions() -> None:
    assert_type(F.relu(image), Floats)
    assert_type(F.relu(sized), Image)
    assert_type(F.relu(image, out=np.empty_like(image)), Floats)
    assert_type(F.leaky_relu(image, 0.2, backend="reference"), Floats)
    assert_type(F.threshold(image, 0.5, value=0), Floats)
    assert_type(F.gelu(image, "tanh"), Floats)
    assert_type(F.prelu(image, one), Floats)
    assert_type(F.glu(image), Floats)
    assert_type(F.softmax(image, 1), Floats)
    assert_type(F.log_softmax(image, dim=1, dtype=np.float64), Any)
    with pytest.raises(AttributeError):
        F.rellu(image)  # type: ignore[attr-defined]
    with pytest.raises(ArgumentError):
        F.relu(image, slope=1)  # type: ignore[call-arg]
    with pytest.raises(ArgumentError):
        F.threshold(image, 0.5)  # type: ignore[call-arg]
    with pytest.raises(ArgumentError):
        F.elu(image, alpha="1")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError):
        F.relu([1.0])  # type: ignore[type-var]


def test_activations_as_layers() -> None:
    assert_type(nn.ReLU(inplace=True), nn.ReLU)
    assert_type(pyconv.ReLU(), nn.ReLU)
    assert_type(nn.ReLU(inplace=True).inplace, bool)
    assert_type(nn.LeakyReLU(0.2).negative_slope, float)
    assert_type(nn.ReLU()(image), Floats)
    assert_type(nn.ReLU()(sized, out=np.empty_like(sized)), Image)
    for layer in (nn.GELU(), nn.PReLU(), nn.Softmax(1), nn.Softmin(1), nn.LogSoftmax(1), nn.GLU(1)):
        assert_type(layer(image), Floats)
    with pytest.raises(AttributeError):
        nn.Rellu()  # type: ignore[attr-defined]
    with pytest.raises(AttributeError):
        pyconv.Rellu()  # type: ignore[attr-defined]
    with pytest.raises(ArgumentError):
        nn.ReLU(in_place=True)  # type: ignore[call-arg]
    with pytest.raises(ArgumentError):
        nn.Sigmoid(inplace=True)  # type: ignore[call-arg]


def test_convolutions() -> None:
    weight = np.ones((4, 2, 3, 3), np.float32)
    assert_type(F.conv2d(image, weight, np.ones(4, np.float32), (1, 2), ((1, 0), (0, 1))), Floats)
    assert_type(F.conv2d(sized, weight, padding="same", residual=np.ones((1, 4, 6, 6), np.float32)), Image)
    assert_type(F.conv_transpose2d(image, weight.swapaxes(0, 1), stride=2, output_padding=[1, 1]), Floats)
    assert_type(F.conv1d(line, weight[:, :, 0], padding=((1, 1),)), Floats)
    assert_type(F.conv_transpose1d(line, weight.swapaxes(0, 1)[:, :, 0], padding=(1,)), Floats)
    assert_type(nn.Conv2d(2, 4, 3, padding=[1, 1], rng=0)(sized), Image)
    assert_type(nn.Conv1d(2, 4, np.int64(3), padding="same")(line), Floats)
    assert_type(nn.ConvTranspose2d(2, 4, 3)(image, (8, 8)), Floats)
    assert_type(nn.ConvTranspose1d(2, 4, 3)(line), Floats)
    assert_type(nn.Linear(6, 3)(image), Floats)
    assert_type(F.batch_norm(image, two, two, weight=two), Floats)
    assert_type(nn.BatchNorm2d(2)(image), Floats)
    assert_type(nn.BatchNorm2d(2).weight, np.ndarray | None)
    assert_type(nn.BatchNorm2d(2).running_var, np.ndarray)
    with pytest.raises(TypeError):
        F.conv2d(image, weight, strides=2)  # type: ignore[call-arg]
    with pytest.raises(ArgumentError):
        F.conv2d(image, weight, stride="same")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError):
        nn.Conv2d(2, 4, 3.0)  # type: ignore[arg-type]


def test_poolings() -> None:
    assert_type(F.max_pool2d(image, 2), Floats)
    assert_type(F.max_pool2d(sized, (2, 3), 1, [1, 1], ceil_mode=True, return_indices=False), Image)
    assert_type(F.max_pool2d(image, 2, return_indices=True), tuple[Floats, Any])
    assert_type(F.max_pool1d(line, 2, padding=((0, 1),)), Floats)
    assert_type(F.max_pool1d(line, [2], return_indices=True), tuple[Floats, Any])
    assert_type(F.adaptive_max_pool2d(image, (None, 3)), Floats)
    assert_type(F.adaptive_max_pool2d(image, None, True), tuple[Floats, Any])
    assert_type(F.adaptive_max_pool1d(line, 3, return_indices=True), tuple[Floats, Any])
    assert_type(F.avg_pool2d(image, 2, padding=((1, 0), (0, 1)), divisor_override=3), Floats)
    assert_type(F.avg_pool1d(line, 2), Floats)
    assert_type(F.lp_pool2d(image, 2, 2), Floats)
    assert_type(F.lp_pool1d(line, 2.5, 2), Floats)
    assert_type(F.adaptive_avg_pool2d(sized, 1), Image)
    assert_type(F.adaptive_avg_pool1d(line, (3,)), Floats)
    values, indices = F.max_pool2d(image, 2, return_indices=True)
    assert_type(F.max_unpool2d(values, indices, 2, output_size=image.shape), Floats)
    assert_type(nn.MaxUnpool2d(2)(values, indices), Floats)
    values, indices = F.max_pool1d(line, 2, return_indices=True)
    assert_type(F.max_unpool1d(values, indices, 2, output_size=6), Floats)
    assert_type(nn.MaxUnpool1d(2)(values, indices), Floats)
    for layer in (nn.AvgPool2d((2, 1)), nn.LPPool2d(2, 2), nn.AdaptiveAvgPool2d((None, 1))):
        assert_type(layer(image), Floats)
    for on_lines in (nn.AvgPool1d([2]), nn.LPPool1d(2, 2), nn.AdaptiveAvgPool1d(1)):
        assert_type(on_lines(line), Floats)
    for maxima in (nn.MaxPool2d(2, return_indices=True), nn.AdaptiveMaxPool2d(1)):
        assert_type(maxima(image), Any)  # a pair, with indices
    with pytest.raises(ArgumentError):
        F.max_pool2d(image, 2, padding="same")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError):
        nn.AvgPool2d(2, padding="same")  # type: ignore[arg-type]


def test_other_shapes() -> None:
    columns = F.unfold(sized, 2)
    assert_type(columns, Floats)  # and not an Image: it has three dimensions
    assert_type(F.fold(columns, (6, 6), 2), Floats)
    assert_type(nn.Fold(6, 2)(nn.Unfold(2)(image)), Any)
    assert_type(nn.Flatten()(image), Any)
    assert_type(nn.Dropout()(nn.Identity()(sized)), Image)
    network = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten())
    assert_type(network(image), Any)
    assert_type(network[0], nn.Module)
    assert_type(network[1:], nn.Sequential)
    assert_type(network.append(nn.Identity()), nn.Sequential)
    assert_type(network.state_dict(), dict[str, np.ndarray])
    assert_type(nn.Residual(nn.ReLU())(image), Any)


def test_a_layer_of_the_users_own() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            self.convolution = nn.Conv2d(2, 2, 3, padding=1)

        def forward(self, input: Floats) -> tuple[Floats, Floats]:
            return input, self.convolution(input)

    assert_type(Block()(image), Any)  # what a class of one's own gives is not known


def test_settings() -> None:
    assert_type(pyconv.explain(F.relu, image), pyconv.Explanation)
    assert_type(pyconv.get_num_threads(), int)
    with pyconv.use_backend("reference"), pyconv.precision("fp32"):
        assert_type(F.relu(image), Floats)
