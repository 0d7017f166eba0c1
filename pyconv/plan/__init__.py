"""All shape arithmetic and all argument checking, done once, before anything is allocated.

A plan is frozen and hashable: backends receive nothing but valid plans, compute no sizes and check nothing again.
"""

from .activations import ACTIVATIONS, MEASURED, Activation, activation_parameters, number
from .arguments import LIMIT, PADDING_FORMS, Pads, Pair, check_bytes, check_flag, index, pads, pair, span
from .arrays import (
    DTYPES,
    HALF_DTYPES,
    array_kind,
    as_array,
    as_batch,
    cast,
    check_out,
    dtype_name,
    dtype_of,
    empty_in_order,
    from_tensor,
    layout_of,
    same_dtype,
)
from .axis import AXIS_OPS, AxisPlan, axis_of, flattened, plan_axis
from .channels import shown
from .conv import (
    ALGORITHMS,
    PADDING_MODES,
    PRECISIONS,
    ConvPlan,
    check_algorithm,
    check_padded,
    check_precision,
    conv_parameters,
    padding_amounts,
    plan_conv2d,
)
from .cost import Cost, Traffic, traffic
from .describe import describe
from .elementwise import ElementwisePlan, plan_batch_norm, plan_elementwise, plan_prelu
from .fold import FoldPlan, fold_parameters, plan_fold, plan_unfold
from .fused import FusedPlan, plan_fused
from .lines import as_lines, line_padding, single
from .pool import PoolPlan, plan_adaptive_pool2d, plan_avg_pool2d, plan_lp_pool2d, plan_max_pool2d
from .pool_arguments import adaptive_parameters, avg_pool_parameters, lp_pool_parameters, pool_parameters
from .transposed import (
    PhasePart,
    Reach,
    TapsPart,
    TransposedPlan,
    output_padding_for,
    phase_parts,
    plan_conv_transpose2d,
    taps_part,
    transposed_parameters,
)
from .unpool import UnpoolPlan, check_places, plan_max_unpool2d, unpool_output, unpool_parameters

Plan = ConvPlan | TransposedPlan | FoldPlan | PoolPlan | UnpoolPlan | ElementwisePlan | AxisPlan | FusedPlan

__all__ = [
    "ACTIVATIONS",
    "ALGORITHMS",
    "AXIS_OPS",
    "DTYPES",
    "HALF_DTYPES",
    "LIMIT",
    "MEASURED",
    "PADDING_FORMS",
    "PADDING_MODES",
    "PRECISIONS",
    "Activation",
    "AxisPlan",
    "ConvPlan",
    "Cost",
    "ElementwisePlan",
    "FoldPlan",
    "FusedPlan",
    "Pads",
    "Pair",
    "PhasePart",
    "Plan",
    "PoolPlan",
    "Reach",
    "TapsPart",
    "Traffic",
    "TransposedPlan",
    "UnpoolPlan",
    "activation_parameters",
    "adaptive_parameters",
    "array_kind",
    "as_array",
    "as_batch",
    "as_lines",
    "avg_pool_parameters",
    "axis_of",
    "cast",
    "check_algorithm",
    "check_bytes",
    "check_flag",
    "check_out",
    "check_padded",
    "check_places",
    "check_precision",
    "conv_parameters",
    "describe",
    "dtype_name",
    "dtype_of",
    "empty_in_order",
    "flattened",
    "fold_parameters",
    "from_tensor",
    "index",
    "layout_of",
    "line_padding",
    "lp_pool_parameters",
    "number",
    "output_padding_for",
    "padding_amounts",
    "pads",
    "pair",
    "phase_parts",
    "plan_adaptive_pool2d",
    "plan_avg_pool2d",
    "plan_axis",
    "plan_batch_norm",
    "plan_conv2d",
    "plan_conv_transpose2d",
    "plan_elementwise",
    "plan_fold",
    "plan_fused",
    "plan_lp_pool2d",
    "plan_max_pool2d",
    "plan_max_unpool2d",
    "plan_prelu",
    "plan_unfold",
    "pool_parameters",
    "same_dtype",
    "shown",
    "single",
    "span",
    "taps_part",
    "traffic",
    "transposed_parameters",
    "unpool_output",
    "unpool_parameters",
]
