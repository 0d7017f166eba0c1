"""The twins of tensor-core and copy instructions on the host, against NumPy and PTX's tables of fragments."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import numpy as np
import pytest

from pyconv.backends.cuda.kernel import Kernel, Launch
from pyconv.errors import DeviceError

sys.path.insert(0, str(Path(__file__).parent / "cuda_host"))
from places import OWN_ARGUMENTS, own_kernel
from stand_in import StandIn, missing

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))

LANE, REGISTER = np.arange(32)[:, None], np.arange(4)
ROW, COLUMN = LANE // 4, LANE % 4
C_PLACE = (ROW + REGISTER // 2 * 8) * 8 + COLUMN * 2 + REGISTER % 2


def run(own: Kernel, x: np.ndarray, outputs: int, threads: int = 32, seed: int = 0, room: StandIn | None = None):
    room = room or StandIn(seed)
    source, out = room.array(x), room.empty((outputs,), np.dtype("f4"))
    arguments = np.zeros(1, OWN_ARGUMENTS)
    arguments["x"], arguments["out"], arguments["size"] = room.address(source), room.address(out), x.size
    room.launch(Launch(own, 1, threads), arguments)
    return out.host


MMA = """
    unsigned w[4], v[2];
    float c[4];
    for (int i = 0; i < 4; i++) w[i] = ((const unsigned *)a.x)[threadIdx.x * 4 + i];
    for (int i = 0; i < 2; i++) v[i] = ((const unsigned *)a.x)[128 + threadIdx.x * 2 + i];
    for (int i = 0; i < 4; i++) c[i] = a.x[192 + threadIdx.x * 4 + i];
    %s(c, w, v);
    for (int i = 0; i < 4; i++) a.out[threadIdx.x * 4 + i] = c[i];
"""


@pytest.mark.parametrize(("name", "dtype"), [("mma_tf32", "float32"), ("mma_f16", "float16"), ("mma_bf16", "bfloat16")])
def test_a_product_of_fragments(monkeypatch, tmp_path, name, dtype):
    """Element by element where PTX's documentation has it: "Matrix Fragments for mma.m16n8k8" and "m16n8k16"."""
    if dtype == "bfloat16":
        dtype = pytest.importorskip("ml_dtypes").bfloat16
    rng, depth = np.random.default_rng(0), 8 if dtype == "float32" else 16
    a, b = (rng.integers(-8, 9, shape).astype(dtype) for shape in ((16, depth), (depth, 8)))
    c = rng.integers(-8, 9, (16, 8)).astype("f4")
    if dtype == "float32":
        a_part = a[ROW + REGISTER % 2 * 8, COLUMN + REGISTER // 2 * 4]
        b_part = b[COLUMN + REGISTER[:2] * 4, ROW]
    else:
        pair = np.arange(2)
        a_part = a[(ROW + REGISTER % 2 * 8)[..., None], (COLUMN * 2 + REGISTER // 2 * 8)[..., None] + pair]
        b_part = b[(COLUMN * 2 + REGISTER[:2] * 8)[..., None] + pair, ROW[..., None]]
    packed = [np.ascontiguousarray(part).view("u4").ravel() for part in (a_part, b_part)]
    x = np.concatenate([*packed, c.ravel()[C_PLACE].view("u4").ravel()]).view("f4")
    got = run(own_kernel(monkeypatch, tmp_path, MMA % name, "mma.cuh"), x, 128, seed=3)
    wanted = c + a.astype("f4") @ b.astype("f4")
    np.testing.assert_array_equal(got.reshape(32, 4), wanted.ravel()[C_PLACE])


def test_tf32_ignores_low_bits_and_sums_are_truncated(monkeypatch, tmp_path):
    x = np.zeros(320, "f4")
    x[:128] = np.float32(1 + 2**-23)  # counts as 1
    x[128:192] = 1
    x[192:] = np.float32(2**-23)
    got = run(own_kernel(monkeypatch, tmp_path, MMA % "mma_tf32", "mma.cuh"), x, 128)
    np.testing.assert_array_equal(got, 8)  # 8 + 2**-23, towards zero


def test_loading_matrices(monkeypatch, tmp_path):
    body = """
    alignas(16) __shared__ unsigned table[128];
    for (int i = 0; i < 4; i++) table[threadIdx.x * 4 + i] = ((const unsigned *)a.x)[threadIdx.x * 4 + i];
    __syncthreads();
    unsigned words[4];
    load_matrices(words, table + (threadIdx.x ^ 5) * 4);
    for (int i = 0; i < 4; i++) a.out[threadIdx.x * 4 + i] = __int_as_float((int)words[i]);
"""
    x = np.arange(128, dtype="f4")
    got = run(own_kernel(monkeypatch, tmp_path, body, "mma.cuh"), x, 128, seed=1).reshape(32, 4)
    rows = x.reshape(32, 4)[np.arange(32) ^ 5].reshape(4, 8, 4)
    for matrix in range(4):
        np.testing.assert_array_equal(got[:, matrix], rows[matrix].ravel())


def test_rounding_to_tf32(monkeypatch, tmp_path):
    body = "    a.out[threadIdx.x] = __int_as_float((int)tf32_of(a.x[threadIdx.x]));"
    x = np.zeros(32, "f4")
    x[:8] = 1, 1 + 2**-11, 1 + 2**-11 - 2**-23, -1 - 2**-11, np.inf, -np.inf, np.nan, np.finfo("f4").max
    x[8:] = np.random.default_rng(0).standard_normal(24)
    got = run(own_kernel(monkeypatch, tmp_path, body, "mma.cuh"), x, 32)
    np.testing.assert_array_equal(got[:8], [1, 1 + 2**-10, 1, -1 - 2**-10, np.inf, -np.inf, np.nan, np.inf])
    assert (np.abs(got[8:] - x[8:]) <= 2**-11 * np.abs(x[8:])).all()
    assert not (got[8:].view("u4") & 0x1FFF).any()


COPIES = """
    alignas(16) __shared__ float held[256];
    copy_async<%d>(held + threadIdx.x * 4, a.x + threadIdx.x * 4, true);
    commit_copies();
    copy_async<16>(held + 128 + threadIdx.x * 4, threadIdx.x %% 2 ? a.x : (const float *)16, threadIdx.x %% 2);
    commit_copies();
    %s
    __syncthreads();
    for (int i = 0; i < 8; i++) a.out[threadIdx.x + i * 32] = held[threadIdx.x + i * 32];
"""


@pytest.mark.parametrize("size", [4, 8, 16])
def test_copies_land_at_their_wait(monkeypatch, tmp_path, size):
    """NaN before; zeros where nothing is to be read, and that address is not read."""
    x = np.arange(128, dtype="f4")
    first = np.where(np.arange(128) % 4 < size // 4, x, np.nan)
    second = np.tile(np.concatenate([np.zeros(4), x[:4]]), 16)
    nothing = np.full(128, np.nan)
    for wait, wanted in (
        ("", (nothing, nothing)),
        ("wait_for_copies<2>();", (nothing, nothing)),
        ("wait_for_copies<1>();", (first, nothing)),
        ("wait_for_copies<0>();", (first, second)),
    ):
        got = run(own_kernel(monkeypatch, tmp_path, COPIES % (size, wait), "mma.cuh"), x, 256)
        np.testing.assert_array_equal(got, np.concatenate(wanted))


def test_a_copy_to_an_odd_place_is_seen(monkeypatch, tmp_path):
    body = "    alignas(16) __shared__ float held[256]; copy_async<16>(held + threadIdx.x, a.x, true); *a.out = 0;"
    with pytest.raises(DeviceError, match=r"thread .*: an access to shared memory that is not aligned"):
        run(own_kernel(monkeypatch, tmp_path, body, "mma.cuh"), np.zeros(64, "f4"), 1)


@pytest.mark.parametrize(
    "body",
    ["if (threadIdx.x < 31) mma_tf32(c, w, v);", "if (threadIdx.x < 5) mma_tf32(c, w, v); else mma_f16(c, w, v);"],
)
def test_a_warp_that_does_not_come_together_is_seen(monkeypatch, tmp_path, body):
    body = f"    unsigned w[4] = {{}}, v[2] = {{}}; float c[4] = {{}}; {body} *a.out = c[0];"
    with pytest.raises(DeviceError, match="not all threads of a warp come to the same instruction"):
        run(own_kernel(monkeypatch, tmp_path, body, "mma.cuh"), np.zeros(64, "f4"), 1)


WGMMA = """
    alignas(1024) __shared__ unsigned panel[64 * 32];
    const unsigned *in = (const unsigned *)a.x;
    for (int i = threadIdx.x; i < 64 * 32; i += 128)
        panel[i / 32 * 32 + ((i / 4 %% 8 ^ i / 32 %% 8) * 4 + i %% 4)] = in[i];
    __syncthreads();
    unsigned w[4];
    float c[8][4];
    for (int i = 0; i < 4; i++) w[i] = in[2048 + threadIdx.x * 4 + i];
    for (int i = 0; i < 32; i++) c[i / 4][i %% 4] = a.x[2560 + threadIdx.x * 32 + i];
    %s
    for (int i = 0; i < 32; i++) a.out[threadIdx.x * 32 + i] = c[i / 4][i %% 4];
"""
ALL = "begin_products(); {0}(c, w, words_of(columns_at(panel), 2), {1}); commit_products(); wait_for_products();"


@pytest.mark.parametrize(("name", "dtype"), [("wgmma_tf32", "f4"), ("wgmma_f16", "f2"), ("wgmma_bf16", "bfloat16")])
@pytest.mark.parametrize("added", [True, False])
def test_a_product_of_a_warpgroup(monkeypatch, tmp_path, name, dtype, added):
    """Element by element where PTX's documentation has it: "Register Fragments for wgmma.mma_async.m64n64k8".

    The third of the four parts of 128 bytes, which lie as the 128-byte swizzle has them.
    """
    kind = pytest.importorskip("ml_dtypes").bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    rng, each = np.random.default_rng(0), 1 if dtype == "f4" else 2
    columns, rows = (rng.integers(-8, 9, shape).astype(kind) for shape in ((64, 32 * each), (64, 8 * each)))
    c = rng.integers(-8, 9, (64, 64)).astype("f4")
    thread, register = np.arange(128)[:, None], np.arange(4)
    row, column = thread // 32 * 16 + thread % 32 // 4, thread % 4
    words = rows.view("u4")[row + register % 2 * 8, column + register // 2 * 4]
    place = np.arange(32)
    sums = (row + place % 4 // 2 * 8) * 64 + place // 4 * 8 + column * 2 + place % 2
    parts = [columns.view("u4"), np.ascontiguousarray(words), c.ravel()[sums].view("u4")]
    x = np.concatenate([part.ravel() for part in parts]).view("f4")
    own = own_kernel(monkeypatch, tmp_path, WGMMA % ALL.format(name, int(added)), "mma.cuh", "wgmma.cuh")
    got = run(own, x, 4096, threads=128, seed=5).reshape(128, 32)
    part = slice(16 * each, 24 * each)
    wanted = c * added + rows.astype("f4") @ columns.astype("f4")[:, part].T
    np.testing.assert_array_equal(got, wanted.ravel()[sums])


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("begin_products(); {0}; commit_products();", None),  # NaN, since nothing waits
        ("begin_products(); {0}; wait_for_products();", None),  # nor for what is not committed
        ("{0}; commit_products(); wait_for_products();", "a product without begin_products"),
        ("if (threadIdx.x < 64) {{ begin_products(); {0}; }}", "come to the same instruction"),
    ],
)
def test_products_that_are_not_waited_for(monkeypatch, tmp_path, body, words):
    body = WGMMA % body.format("wgmma_tf32(c, w, columns_at(panel), true)")
    own, x = own_kernel(monkeypatch, tmp_path, body, "mma.cuh", "wgmma.cuh"), np.ones(2560 + 4096, "f4")
    if words is None:
        assert np.isnan(run(own, x, 4096, threads=128)).all()
    else:
        with pytest.raises(DeviceError, match=words):
            run(own, x, 4096, threads=128)


RING = """
    alignas(16) __shared__ float held[64];
    __shared__ Barrier barrier;
    if (threadIdx.x == 0) { begin_barrier(&barrier, %d); publish_shared(); }
    __syncthreads();
    if (threadIdx.x == 0) { arrive_expecting(&barrier, 128); copy_bulk(held, a.x, 128, &barrier); }
    copy_async<4>(held + 32 + threadIdx.x, a.x + 32 + threadIdx.x, true);
    arrive_after_copies(&barrier);
    %s
    a.out[threadIdx.x] = held[threadIdx.x];
    a.out[32 + threadIdx.x] = held[32 + threadIdx.x];
    %s
"""


def test_a_barrier_hears_of_copies(monkeypatch, tmp_path):
    """Everything has landed when its phase has ended, and before that some is NaN; all arrivals are waited for."""
    x, ended = np.arange(64, dtype="f4"), "while (!has_ended(&barrier, 0)) {}"
    own = own_kernel(monkeypatch, tmp_path, RING % (33, ended, ""), "mma.cuh", "wgmma.cuh")
    for seed in range(5):
        np.testing.assert_array_equal(run(own, x, 64, seed=seed), x)
    own = own_kernel(monkeypatch, tmp_path, RING % (33, "", ended), "mma.cuh", "wgmma.cuh")
    assert np.isnan(run(own, x, 64)).any()
    for count, after, words in (
        (34, ended, "the end of a phase that does not come"),
        (33, "", "while copies are on their way"),
    ):
        own = own_kernel(monkeypatch, tmp_path, RING % (count, after, ""), "mma.cuh", "wgmma.cuh")
        with pytest.raises(DeviceError, match=words):
            run(own, x, 64)


def test_any_thread_of_the_block(monkeypatch, tmp_path):
    body = """    int first = __syncthreads_or(threadIdx.x == 40), second = __syncthreads_or(threadIdx.x > 64);
    a.out[threadIdx.x] = first * 2 + second;"""
    got = run(own_kernel(monkeypatch, tmp_path, body, "mma.cuh"), np.zeros(64, "f4"), 64, threads=64)
    np.testing.assert_array_equal(got, 2)


@pytest.mark.parametrize(("place", "extra"), [("threadIdx.x", 0), ("threadIdx.x * 2", 16), ("threadIdx.x * 32", 31)])
def test_bank_conflicts_are_counted(monkeypatch, tmp_path, place, extra):
    body = f"""    __shared__ unsigned held[1024]; held[{place}] = 1;
    a.out[threadIdx.x] = load_word(held + {place}) + load_word(held + {place} % 32 * 0);"""
    own, room = own_kernel(monkeypatch, tmp_path, body, "mma.cuh"), StandIn()
    library = room._library(own)
    library.pyconv_count_conflicts.restype = ctypes.c_ulonglong
    library.pyconv_count_conflicts(1)
    run(own, np.zeros(64, "f4"), 32, room=room)
    assert library.pyconv_count_conflicts(0) == extra
