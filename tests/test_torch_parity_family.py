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
