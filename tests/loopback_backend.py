"""A backend for pyconv: convolution tap by tap, the rest as the reference backend does it."""

import numpy as np

from pyconv.backends import BackendInfo
from pyconv.backends.reference import ReferenceBackend
from pyconv.plan import ConvPlan

info = BackendInfo(name="loopback", target="loopback_backend:Loopback", summary="one matrix product for each tap")


class Loopback(ReferenceBackend):
    name = "loopback"

    def supports(self, plan):
        return None  # it can run every plan; otherwise the reason why not, for people to read

    def prepare(self, plan, weight=None, bias=None):
        """Once for a layer: taps first, so that each tap's matrices lie together; one matrix a group."""
        if not isinstance(plan, ConvPlan):
            return super().prepare(plan, weight, bias)
        taps = np.moveaxis(weight.astype(plan.dtype), (2, 3), (0, 1))
        return taps.reshape(*plan.kernel, plan.groups, -1, taps.shape[-1]), 0 if bias is None else bias[:, None, None]

    def run(self, plan, x, prepared, out=None):
        """The plan is valid and holds every size; x may have any strides and byte order; out, if given, is filled."""
        if not isinstance(plan, ConvPlan):
            return super().run(plan, x, prepared, out)
        taps, bias = prepared
        padded = np.pad(x.astype(plan.dtype), ((0, 0), (0, 0), *plan.padding))
        total = np.zeros((plan.batch, plan.groups, plan.out_channels // plan.groups, *plan.out_size), plan.dtype)
        for i, j in np.ndindex(plan.kernel):
            seen = padded[:, :, i * plan.dilation[0] :: plan.stride[0], j * plan.dilation[1] :: plan.stride[1]]
            seen = seen[:, :, : plan.out_size[0], : plan.out_size[1]]
            seen = seen.reshape(plan.batch, plan.groups, taps.shape[-1], *plan.out_size)
            total += np.einsum("gkc,ngcyx->ngkyx", taps[i, j], seen)
        return np.add(total.reshape(plan.out_shape), bias, out=out, dtype=plan.dtype)
