"""All shape arithmetic and all argument checking, done once, before anything is allocated.

A plan is frozen and hashable: backends receive nothing but valid plans, compute no sizes and check nothing again.
"""

from .arguments import LIMIT, PADDING_FORMS, Pads, Pair, check_bytes, check_flag, index, pads, pair, span
from .arrays import DTYPES, HALF_DTYPES, array_kind, as_array, as_batch, check_out, dtype_name, layout_of, same_dtype
from .conv import (
    ALGORITHMS,
    PADDING_MODES,
    ConvPlan,
    check_algorithm,
    check_padded,
    conv_parameters,
    padding_amounts,
    plan_conv2d,
)
from .cost import Cost, Traffic, traffic
from .describe import describe
from .elementwise import ACTIVATIONS, ElementwisePlan, plan_elementwise
from .pool import PoolPlan, plan_max_pool2d, pool_parameters

Plan = ConvPlan | PoolPlan | ElementwisePlan

__all__ = [
    "ACTIVATIONS",
    "ALGORITHMS",
    "DTYPES",
    "HALF_DTYPES",
    "LIMIT",
    "PADDING_FORMS",
    "PADDING_MODES",
    "ConvPlan",
    "Cost",
    "ElementwisePlan",
    "Pads",
    "Pair",
    "Plan",
    "PoolPlan",
    "Traffic",
    "array_kind",
    "as_array",
    "as_batch",
    "check_algorithm",
    "check_bytes",
    "check_flag",
    "check_out",
    "check_padded",
    "conv_parameters",
    "describe",
    "dtype_name",
    "index",
    "layout_of",
    "padding_amounts",
    "pads",
    "pair",
    "plan_conv2d",
    "plan_elementwise",
    "plan_max_pool2d",
    "pool_parameters",
    "same_dtype",
    "span",
    "traffic",
]
