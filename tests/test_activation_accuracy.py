"""How far the compiled activations are from the truth, in units in the last place of the result.

The kernels of float64 are first compared with values worked out to many digits; then they are the truth for those of
float32, which are swept: a sample in every run, every float32 in the slow one.
"""

from __future__ import annotations

import itertools
import platform

import numpy as np
import pytest

import pyconv.functional as F
from pyconv.backends.cpu import isa
from pyconv.plan import ACTIVATIONS, MEASURED

ROUNDED = [op for op, entry in ACTIVATIONS.items() if entry.ulps[0]]


@pytest.fixture(params=isa.names())
def level(request):
    """An instruction set, in use during the test."""
    isa.use(request.param)
    yield request.param
    isa.use(None)


def function(op, backend="cpu"):
    """The function of an entry of the table, on a backend."""
    if op == "gelu_tanh":
        return lambda x: F.gelu(x, "tanh", backend=backend)
    return lambda x: getattr(F, op)(x, backend=backend)


def units(got, exact, dtype):
    """Errors in units of the exact result's last place; below the normal numbers in units of the smallest."""
    limits = np.finfo(dtype)
    size = np.abs(exact)
    with np.errstate(invalid="ignore", over="ignore"):
        unit = np.spacing(np.clip(size, float(limits.tiny), float(limits.max)).astype(dtype)).astype(np.float64)
        error = np.abs(got.astype(np.float64) - exact) / unit
    return np.where(size > float(limits.max), 0.0, error)  # beyond the largest number


# At these arguments, to the last digit of float64: from mpmath 1.3 with 60 digits.
POINTS = (-700.0, -30.0, -8.25, -2.5, -0.75, -1e-3, -1e-9, 1e-9, 1e-3, 0.4, 1.25, 6.0, 30.0)
EXACT = {
    "elu": """
        -0x1.p+0 -0x1.ffffffffffcb5p-1 -0x1.ffddc19e14c82p-1 -0x1.d5f8f47ed617bp-1
        -0x1.0e25f8a081941p-1 -0x1.0603521cac48cp-10 -0x1.12e0be801f1d9p-30 0x1.12e0be826d695p-30
        0x1.0624dd2f1a9fcp-10 0x1.999999999999ap-2 0x1.4000000000000p+0 0x1.8000000000000p+2 0x1.e000000000000p+4
    """,
    "selu": """
        -0x1.c212cc640f031p+0 -0x1.c212cc640ed4cp+0 -0x1.c1f4b24e22498p+0 -0x1.9d2110411c724p+0
        -0x1.daf2956577dbdp-1 -0x1.cca513c33af43p-10 -0x1.e3433e21236b3p-30 0x1.20d0824cef642p-30
        0x1.136f5983a6fd1p-10 0x1.ae5dfbddb4eb7p-2 0x1.50396cc53557fp+0 0x1.93781c1fd99cbp+2 0x1.f8562327d003ep+4
    """,
    "celu": """
        -0x1.p+0 -0x1.ffffffffffcb5p-1 -0x1.ffddc19e14c82p-1 -0x1.d5f8f47ed617bp-1
        -0x1.0e25f8a081941p-1 -0x1.0603521cac48cp-10 -0x1.12e0be801f1d9p-30 0x1.12e0be826d695p-30
        0x1.0624dd2f1a9fcp-10 0x1.999999999999ap-2 0x1.4000000000000p+0 0x1.8000000000000p+2 0x1.e000000000000p+4
    """,
    "gelu": """
        -0x0.0p+0 -0x1.601c52358b95dp-651 -0x1.78a57d1131dd6p-51 -0x1.fcb21edddc41dp-7
        -0x1.5c19804106bbap-3 -0x1.05ef51a247ab0p-11 -0x1.12e0be7ebf6f8p-31 0x1.12e0be861b632p-31
        0x1.065a68bbed948p-11 0x1.0c75f3687c65cp-2 0x1.1e312ba896bcdp+0 0x1.7ffffff9a4da6p+2 0x1.e000000000000p+4
    """,
    "gelu_tanh": """
        -0x0.0p+0 -0x0.0p+0 -0x1.2fcab162c37d5p-74 -0x1.ee47fec535d83p-7
        -0x1.5c3da3f4bfcf3p-3 -0x1.05ef51a24868bp-11 -0x1.12e0be7ebf6f8p-31 0x1.12e0be861b632p-31
        0x1.065a68bbecd6dp-11 0x1.0c73fa43e2edbp-2 0x1.1e22849c0795ep+0 0x1.7fffffffe8cd2p+2 0x1.e000000000000p+4
    """,
    "silu": """
        -0x1.7aa3cdf7f304ep-1001 -0x1.8b172b681b4f3p-39 -0x1.1a6fc3fefc857p-9 -0x1.8464d56e81a59p-3
        -0x1.ecc811916943cp-3 -0x1.06034f40081d8p-11 -0x1.12e0be801f1d9p-31 0x1.12e0be84bbb51p-31
        0x1.06466b1e2d220p-11 0x1.ea71e7023edeap-3 0x1.f178cf2b539bdp-1 0x1.7f0cee669c420p+2 0x1.dfffffffffceap+4
    """,
    "mish": """
        -0x1.7aa3cdf7f304ep-1001 -0x1.8b172b681b638p-39 -0x1.1a7935481308ep-9 -0x1.93145fb8cfb99p-3
        -0x1.1b216e3145753p-2 -0x1.3a67af5b39411p-11 -0x1.49da7e332950ap-31 0x1.49da7e391078ep-31
        0x1.3abd9595f372ap-11 0x1.27f79ecd8b7b9p-2 0x1.21c240940761ap+0 0x1.7ffecc47ed6a7p+2 0x1.e000000000000p+4
    """,
    "sigmoid": """
        0x1.14f2b0fb9307fp-1010 0x1.a56e0c2ac7cbfp-44 0x1.11e0be0e88435p-12 0x1.36b7112534847p-4
        0x1.4885610b9b828p-2 0x1.ffbe76c90fd99p-2 0x1.fffffffbb47d0p-2 0x1.0000000225c18p-1
        0x1.0020c49b78133p-1 0x1.32873061674b2p-1 0x1.8dfa3f55dc7cbp-1 0x1.febbe888d0580p-1 0x1.ffffffffffcb5p-1
    """,
    "logsigmoid": """
        -0x1.5e00000000000p+9 -0x1.e00000000001ap+4 -0x1.080223d3ccffcp+3 -0x1.4a190f0e6368ap+1
        -0x1.2309fa6f08bb8p+0 -0x1.6325bd58ad4aep-1 -0x1.62e42ff3ef21fp-1 -0x1.62e42feb581c0p-1
        -0x1.62a2aaea15bd9p-1 -0x1.06a9ef66d05ffp-1 -0x1.01f9b27528a73p-2 -0x1.447e35674b30ep-9 -0x1.a56e0c2ac7e1ap-44
    """,
    "tanh": """
        -0x1.p+0 -0x1.p+0 -0x1.fffffb6b5ecf3p-1 -0x1.f9258260a71c2p-1
        -0x1.45323e552f228p-1 -0x1.0624d77516ce2p-10 -0x1.12e0be826d695p-30 0x1.12e0be826d695p-30
        0x1.0624d77516ce2p-10 0x1.8511573c242d6p-2 0x1.b2523bb6b2deep-1 0x1.fffe63abe253cp-1 0x1.p+0
    """,
    "tanhshrink": """
        -0x1.5d80000000000p+9 -0x1.d000000000000p+4 -0x1.d000009294262p+2 -0x1.836d3ecfac71fp+0
        -0x1.d66e0d5686ebfp-4 -0x1.6e80f467abf06p-32 -0x1.a68cd9e985016p-92 0x1.a68cd9e985016p-92
        0x1.6e80f467abf06p-32 0x1.488425d756c3ep-6 0x1.9b5b88929a424p-2 0x1.4000338a83b59p+2 0x1.d000000000000p+4
    """,
    "hardsigmoid": """
        0x0.0p+0 0x0.0p+0 0x0.0p+0 0x1.5555555555555p-4
        0x1.8000000000000p-2 0x1.ffd44f3078264p-2 0x1.fffffffd22fe0p-2 0x1.000000016e810p-1
        0x1.0015d867c3ecep-1 0x1.2222222222222p-1 0x1.6aaaaaaaaaaabp-1 0x1.p+0 0x1.p+0
    """,
    "hardswish": """
        0x0.0p+0 0x0.0p+0 0x0.0p+0 -0x1.aaaaaaaaaaaabp-3
        -0x1.2000000000000p-2 -0x1.060e7e8f99ad3p-11 -0x1.12e0be80e3e18p-31 0x1.12e0be83f6f12p-31
        0x1.063b3bce9b925p-11 0x1.d0369d0369d04p-3 0x1.c555555555555p-1 0x1.8000000000000p+2 0x1.e000000000000p+4
    """,
    "softplus": """
        0x1.14f2b0fb9307fp-1010 0x1.a56e0c2ac7e1ap-44 0x1.11e9e67fdfe4dp-12 0x1.4321e1cc6d13fp-4
        0x1.8c27e9bc22ee1p-2 0x1.62a2aaea15bd9p-1 0x1.62e42feb581c0p-1 0x1.62e42ff3ef21fp-1
        0x1.6325bd58ad4aep-1 0x1.d376bc339d2ccp-1 0x1.807e6c9d4a29dp+0 0x1.80288fc6ace96p+2 0x1.e000000000000p+4
    """,
    "softsign": """
        -0x1.ff45057a56ea7p-1 -0x1.ef7bdef7bdef8p-1 -0x1.c8a60dd67c8a6p-1 -0x1.6db6db6db6db7p-1
        -0x1.b6db6db6db6dbp-2 -0x1.05e1d27a3ee9cp-10 -0x1.12e0be7dd0d1ep-30 0x1.12e0be7dd0d1ep-30
        0x1.05e1d27a3ee9cp-10 0x1.2492492492492p-2 0x1.1c71c71c71c72p-1 0x1.b6db6db6db6dbp-1 0x1.ef7bdef7bdef8p-1
    """,
}


@pytest.mark.parametrize("op", EXACT)
def test_float64_at_points(level, op):
    got = function(op)(np.array(POINTS))
    error = units(got, np.array([float.fromhex(value) for value in EXACT[op].split()]), np.float64)
    assert error.max() <= ACTIVATIONS[op].ulps[1], dict(zip(POINTS, error, strict=True))


def test_every_rounded_function_has_points():
    assert set(EXACT) == set(ROUNDED)


def worst(op, bits):
    """The largest error over the finite float32 with these bit patterns."""
    x = bits.astype(np.uint32).view(np.float32)
    x = x[np.isfinite(x)]
    if not x.size:
        return 0.0, 0.0
    exact = function(op)(x.astype(np.float64))
    size = np.abs(exact)
    # units in the last place as 2**-e, by the bits of the exact result's exponent; 2**-149 below the normal numbers
    exponent = np.maximum(size, float(np.finfo(np.float32).tiny)).view(np.uint64) & np.uint64(0x7FF << 52)
    per_unit = (np.uint64((2046 + 23) << 52) - exponent).view(np.float64)
    error = np.abs(function(op)(x).astype(np.float64) - exact) * per_unit
    error[size > float(np.finfo(np.float32).max)] = 0.0
    place = int(error.argmax())
    return float(error[place]), float(x[place])


# A processor's estimates of reciprocals may differ in their last bits, and after a step of Newton's little of that is
# left.
OTHER_PROCESSORS = 0.1


# Whether this machine's kernels are those of which the table speaks: elsewhere the portable ones fuse multiply-adds.
AS_MEASURED = platform.machine() in ("x86_64", "AMD64")


def most(op, level):
    """The largest error that an instruction set's kernel may have: what was measured, else what is promised."""
    promised = ACTIVATIONS[op].ulps[0]
    return min(promised, MEASURED[op][level][0] + OTHER_PROCESSORS) if AS_MEASURED else promised


@pytest.mark.parametrize("op", ROUNDED)
def test_sample_of_float32(level, op):
    """Every 20011th float32: both signs, every exponent."""
    found, at = worst(op, np.arange(0, 2**32, 20011, dtype=np.uint64))
    assert found <= most(op, level), f"{op}({at!r})"


@pytest.mark.slow
@pytest.mark.parametrize("op", ROUNDED)
def test_every_float32(level, op):
    """All of them; with -s it prints the largest error."""
    step = 2**18  # what belongs to so many stays in the cache
    found, at = max(worst(op, np.arange(low, low + step, dtype=np.uint64)) for low in range(0, 2**32, step))
    print(f"{level} {op}: {found:.3f} ulp at {at.hex()}")
    assert found <= most(op, level)


def test_every_rounded_function_was_swept():
    assert set(MEASURED) == set(ROUNDED)
    for op, found in MEASURED.items():
        assert set(found) == {"baseline", "x86-64-v3", "x86-64-v4"}
        assert max(error for error, _ in found.values()) <= ACTIVATIONS[op].ulps[0]


@pytest.mark.parametrize("op", MEASURED)
def test_largest_errors_are_what_was_measured(level, op):
    """Each at its own argument; and where other instruction sets have theirs, it is not larger."""
    for name, (error, at) in MEASURED[op].items():
        found, _ = worst(op, np.array([float.fromhex(at)], np.float32).view(np.uint32))
        assert found <= most(op, level), f"{op}({at})"
        if name == level and AS_MEASURED:
            assert found > error - OTHER_PROCESSORS, f"{op}({at}): sweep again, and write down what is found"


# Where sweeps found the largest errors of formulas that were here before.
FORMER = {
    "sigmoid": ("-0x1.0afdfap4", "-0x1.6d3fb8p-12", "-0x1.19d4b8p0"),
    "gelu": ("-0x1.9f9d3ep3", "-0x1.d34714p0", "-0x1.180f2ep-3"),
    "silu": ("-0x1.f9ff54p-17", "-0x1.cf29a6p3"),
    "mish": ("-0x1.0d10ccp2", "-0x1.086916p1", "-0x1.a3eb7p1"),
    "tanhshrink": ("0x1.01d528p0",),
}


@pytest.mark.parametrize("op", FORMER)
def test_places_of_former_errors(level, op):
    found, at = worst(op, np.array([float.fromhex(value) for value in FORMER[op]], np.float32).view(np.uint32))
    assert found <= ACTIVATIONS[op].ulps[0], f"{op}({at!r})"


@pytest.mark.parametrize("bits", [0x7F800001, 0x7FC00001, 0x7FFFFFFF, 0xFF800123, 0xFFC12345])
@pytest.mark.parametrize("op", ACTIVATIONS)
def test_every_nan_stays_nan(level, op, bits):
    """Whatever it carries: the bits of a NaN are no part of an exponent."""
    x = np.full(37, bits, np.uint32).view(np.float32)
    parameters = (0.0, 1.0) if op == "threshold" else ()
    got = function(op)(x) if not parameters else F.threshold(x, *parameters, backend="cpu")
    assert np.isnan(got).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("op", ROUNDED)
def test_rare_numbers_do_not_touch_their_neighbours(level, op, dtype):
    """Vectors that hold one take another path; the other lanes have the same bits all the same."""
    x = np.random.default_rng(3).standard_normal(500).astype(dtype) * 4
    plain, limits = function(op)(x), np.finfo(dtype)
    for rare in (limits.smallest_subnormal * 5, -limits.tiny / 2, np.nan, np.inf, -np.inf, -90, -800, 14, 1e30):
        mixed = x.copy()
        mixed[::7] = rare
        with np.errstate(all="ignore"):
            got = function(op)(mixed)
        same = np.arange(500) % 7 != 0
        np.testing.assert_array_equal(got[same].view(np.uint8), plain[same].view(np.uint8))


@pytest.mark.parametrize("slope", [0.01, 0.5, 1.0, 1e-30, 3.0, 1e10, 1e25, -0.25])
def test_slopes_below_the_normal_numbers(level, slope):
    """A product that is below them is rounded as any other."""
    count = np.array([1, 2, 3, 5, 12345, 2**22 + 1, 2**23 - 1])
    x = np.concatenate([count, -count]) * 2.0**-149
    exact = np.where(x > 0, x, x * np.float64(np.float32(slope)))
    np.testing.assert_array_equal(F.leaky_relu(np.float32(x), slope, backend="cpu"), np.float32(exact))


def test_denormals_stay_as_they_are(level):
    values = np.float32([1e-42, -1e-42, 1e-45])
    for op in ("tanh", "elu", "relu6", "softsign"):
        np.testing.assert_array_equal(function(op)(np.abs(values)), np.abs(values))
    np.testing.assert_array_equal(function("tanh")(values), values)
    assert (function("sigmoid")(np.float32([-100, -103])) > 0).all()


@pytest.mark.parametrize("rare", [0.0, 5.0, 1e-42, -1e4])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("op", ["silu", "mish", "gelu", "gelu_tanh"])
def test_negative_zero_stays(level, op, dtype, rare):
    x = np.zeros(41, dtype)
    x[::2] = -0.0
    x[::7] = rare
    zero = x == 0
    got = function(op)(x)
    assert (got[zero] == 0).all()
    np.testing.assert_array_equal(np.signbit(got), np.signbit(x))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("op", ["silu", "mish", "gelu", "gelu_tanh"])
def test_zero_at_the_far_left_is_negative(level, op, dtype):
    """On every instruction set, and as torch has it: it is x times a number above zero that is rounded to zero."""
    x = np.repeat(np.array([-1e3, -1e4, -1e30, -3.0], dtype), 33)
    if op.startswith("gelu"):
        x = np.concatenate([x, np.linspace(-900, -40, 1001, dtype=dtype)])
    for backend in ("cpu", "reference"):
        got = function(op, backend)(x)
        assert (got[x < -39] == 0).all()
        assert np.signbit(got).all()


def error_of_long_sums(op, dtype, backend):
    """The largest error of sums of a hundred thousand terms, along each axis, in units in the last place."""
    x = np.random.default_rng(0).standard_normal((2, 100_000)).astype(dtype)
    wide = x.astype(np.longdouble)
    wide = wide - wide.max(axis=1, keepdims=True)
    total = np.exp(wide).sum(axis=1, keepdims=True)
    exact = np.exp(wide) / total if op == "softmax" else wide - np.log(total)
    unit = np.spacing(np.abs(exact).astype(dtype))
    along_rows = getattr(F, op)(x, 1, backend=backend)
    along_columns = getattr(F, op)(np.ascontiguousarray(x.T), 0, backend=backend).T
    return max(float((np.abs(got - exact) / unit).max()) for got in (along_rows, along_columns))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("op", ["softmax", "log_softmax"])
def test_long_sums_stay_exact(level, op, dtype):
    """The error of a sum of a hundred thousand terms is no larger than that of one; float64 by its halves."""
    assert error_of_long_sums(op, dtype, "cpu") <= 4


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("axis", [0, 1])
def test_one_peak_above_many_small_terms(level, axis, dtype):
    """Whose sum is lost if it is what rounding loses beside the peak; the reference's longdouble is the oracle."""
    for length, gap in itertools.product((100, 1000, 100_003), (10, 14, 16, 17, 18, 20, 25, 30)):
        x = np.full((length, 3), -gap, dtype)
        x[length // 3] = 0
        small = np.exp(np.longdouble(-gap))
        rest = (length - 1) * small
        given = np.ascontiguousarray(x.T) if axis else x
        for op, place, wanted in (
            (F.log_softmax, length // 3, -np.log1p(rest)),
            (F.softmax, length - 1, small / (1 + rest)),
        ):
            got = np.moveaxis(op(given, axis, backend="cpu"), axis, 0)[place].astype(np.longdouble)
            assert (abs(got - wanted) <= 4 * np.spacing(abs(wanted).astype(dtype))).all(), (op, length, gap)


@pytest.mark.parametrize("op", ["silu", "mish"])
@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_where_the_exponential_is_below_the_normal_numbers(backend, op):
    """And the result, some hundred times that, has all of its bits: on the reference too, which others answer to."""
    x = np.linspace(-745, -700, 2001)
    wanted = x * np.exp(x.astype(np.longdouble))  # what is left out is far below the last bit
    got = getattr(F, op)(x, backend=backend)
    assert (np.abs(got - wanted) <= ACTIVATIONS[op].ulps[1] * np.spacing(np.abs(wanted).astype(np.float64))).all()


# Lines and their length: at the edges of vectors, of what is turned (up to three vectors), and of what is done at once.
LINES = (
    *((1, 1), (3, 2), (7, 5), (17, 7), (5, 11), (33, 12), (4, 13), (17, 15), (16, 16), (33, 17), (15, 23), (31, 24)),
    *((18, 25), (9, 31), (17, 47), (16, 48), (35, 49), (3, 63), (5, 112), (40, 1000), (2, 3001)),
)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("op", ["softmax", "softmin", "log_softmax"])
def test_softmax_of_lines_of_every_length(level, op, dtype):
    """Along the last axis and another; near zero and far from it; some elements minus infinity."""
    rng = np.random.default_rng(8)
    for lines, length in LINES:
        for offset in (0.0, 30.0, -4095.5, 4096.25, -1e7):
            x = (rng.standard_normal((lines, length)) * 9 + offset).astype(dtype)
            if op != "softmin" and length > 2:
                x[:, 1] = -np.inf
            wide = -x.astype(np.longdouble) if op == "softmin" else x.astype(np.longdouble)
            wide = wide - wide.max(axis=1, keepdims=True)
            total = np.exp(wide).sum(axis=1, keepdims=True)
            exact = wide - np.log(total) if op == "log_softmax" else np.exp(wide) / total
            for got in (
                getattr(F, op)(x, 1, backend="cpu"),
                getattr(F, op)(np.ascontiguousarray(x.T), 0, backend="cpu").T,
            ):
                # a logarithm near zero is not known to the last bit of float64 either
                least = 1e-2 if (op, dtype) == ("log_softmax", "float64") else np.finfo(dtype).tiny
                known = np.isfinite(exact) & (np.abs(exact) > least)
                unit = np.spacing(np.abs(exact[known]).astype(dtype))
                assert float((np.abs(got[known] - exact[known]) / unit).max(initial=0)) <= 4
                np.testing.assert_array_equal(got[exact == 0], 0)
                np.testing.assert_array_equal(np.isinf(got), np.isinf(exact))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("axis", [0, 1])
def test_softmax_down_to_the_smallest_normal_number(level, axis, dtype):
    """Of which it gives every one, within its units; the others may be zero."""
    least = np.finfo(dtype).tiny
    edge = np.log(np.longdouble(least))
    for peak in (0, 3.5, -700, 5000):
        x = np.full((200, 1), 0, dtype)
        x[:, 0] = peak + edge + np.linspace(-0.3, 1.5, 200)
        x[7] = peak
        wide = x.astype(np.longdouble) - x[7]
        wanted = np.exp(wide) / np.exp(wide).sum()
        given = np.ascontiguousarray(x.T) if axis else x
        got = F.softmax(given, axis, backend="cpu").reshape(-1, 1)
        normal = wanted >= least
        error = np.abs(got - wanted) / np.spacing(wanted.astype(dtype))
        assert 50 < normal.sum() < 190
        assert (error[normal] <= 4).all(), peak


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_largest_elements_that_are_equal(level, dtype):
    """They are counted: some, or all, near zero and far from it; infinite ones make their line NaN."""
    rng = np.random.default_rng(12)
    for (lines, length), offset in itertools.product(LINES, (0, 3, -5000)):
        x = (rng.integers(-3, 1, (lines, length)) + offset).astype(dtype)
        x[0] = offset
        wide = x.astype(np.longdouble) - x.max(axis=1, keepdims=True)
        exact = wide - np.log(np.exp(wide).sum(axis=1, keepdims=True))
        if length > 1:
            x[-1, [0, -1]] = np.inf
            exact[-1] = np.nan
        for got in (
            F.log_softmax(x, 1, backend="cpu"),
            F.log_softmax(np.ascontiguousarray(x.T), 0, backend="cpu").T,
        ):
            np.testing.assert_array_equal(np.isnan(got), np.isnan(exact))
            known = np.isfinite(exact)
            error = np.abs(got[known] - exact[known]) / np.spacing(np.abs(exact[known]).astype(dtype))
            assert error.max(initial=0) <= 4


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("op", ["softmax", "softmin", "log_softmax"])
def test_softmax_of_a_line_is_the_same_bits_in_any_company(level, op, dtype):
    """However many lines there are beside it, and wherever among them it lies."""
    rng = np.random.default_rng(10)
    for lines, length in LINES:
        x = (rng.standard_normal((lines, length)) * 9).astype(dtype)
        along = getattr(F, op)(x, 1, backend="cpu")
        across = getattr(F, op)(np.ascontiguousarray(x.T), 0, backend="cpu")
        for k in {0, lines // 2, lines - 1}:
            np.testing.assert_array_equal(getattr(F, op)(x[k : k + 1], 1, backend="cpu"), along[k : k + 1])
            pair = np.repeat(x[k], 2).reshape(length, 2)  # its elements are no neighbours here either
            np.testing.assert_array_equal(getattr(F, op)(pair, 0, backend="cpu")[:, 0], across[:, k])


@pytest.mark.parametrize("op", ["softmax", "softmin", "log_softmax"])
def test_softmax_keeps_nan_in_its_line(level, op):
    x = np.random.default_rng(9).standard_normal((40, 37)).astype(np.float32)
    x[3, 36] = x[17, 0] = np.nan
    x[20] = np.inf if op == "softmin" else -np.inf
    for got in (getattr(F, op)(x, 1, backend="cpu"), getattr(F, op)(np.ascontiguousarray(x.T), 0, backend="cpu").T):
        assert np.isnan(got[[3, 17, 20]]).all()
        assert not np.isnan(np.delete(got, [3, 17, 20], axis=0)).any()
