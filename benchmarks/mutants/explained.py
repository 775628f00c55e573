"""The surviving mutants, each with the reason why no input can tell it from the original."""

__all__ = ["EXPLAINED"]

# function -> reason -> changes; if only other callers can tell the difference, the reason names the test that fails
_REASONS: dict[str, dict[str, list[str]]] = {
    "backprop.activations.elu_backward": {
        "stands where z > 0, in the branch of the outer `where` not taken": [
            "`0` → `1.0` (2)",
        ],
        "differs for 0 < z ≤ 1, in the branch of the outer `where` not taken": [
            "`0` → `1.0` (3)",
        ],
        "differs at z = 0 only, where both branches give 0": [
            "`z > 0` → `z >= 0` (2)",
        ],
    },
    "backprop.activations.gelu_backward": {
        "beyond 30 the derivative is 0 or 1 to the last digit of float64": [
            "`30` → `60`",
        ],
        "the same below −30": [
            "`30` → `60` (2)",
        ],
    },
    "kernels.forms._by_slices": {
        "one slice, whose sum is the same": [
            "`-x.shape[0] // tuned.SLICES` → `-x.shape[0]`",
        ],
        "another size of the slices, whose sum is the same": [
            "`0` → `1` (3)",
        ],
    },
    "kernels.choice.folds_blocks": {
        "the other form of a block's product, which is the same": [
            "`-1` → `1`",
            "`1` → `2`",
            "`axes[-1].size >= tuned.FOLD_BLOCK_WINDOW` → `axes[-1].size > tuned.FOLD_BLOCK_WINDOW`",
            "`c_in <= tuned.FOLD_BLOCK_INPUTS` → `c_in < tuned.FOLD_BLOCK_INPUTS`",
        ],
    },
    "kernels.forms._by_blocks": {
        "the other form of a block's product, which is the same": [
            "`-1` → `1`",
            "`1` → `2`",
        ],
    },
    "kernels.forms._input_gradient": {
        "another form of the same convolution": [
            "`method == 'xla'` → `method != 'xla'`",
        ],
    },
    "kernels.forms._block_size": {
        "other blocks, whose sum is the same; tests/test_kernels.py fails": [
            "`-1` → `1`",
            "`-1` → `1` (2)",
            "`-x.shape[0] // -(-x.shape[0] // most)` → `-x.shape[0]`",
            "`-x.shape[0] // most` → `-x.shape[0]`",
            "`0` → `1`",
            "`0` → `1` (3)",
            "`0` → `1` (4)",
            "`0` → `1` (5)",
            "`1` → `2`",
            "`1` → `2` (3)",
            "`1` → `2` (4)",
            "`1` → `2` (5)",
            "`2 * divisor > most` → `2 * divisor >= most`",
            "`2 * divisor` → `2 / divisor`",
            "`2 * divisor` → `2`",
            "`2` → `4`",
            "`tuned.BLOCK // (lines * axes[-1].outputs * axes[-1].size * x.shape[-1])` → `tuned.BLOCK`",
            "`axis.length + axis.low + axis.high` → `axis.length + axis.low - axis.high`",
            "`axis.length + axis.low` → `axis.length - axis.low`",
            "`lines * axes[-1].outputs * axes[-1].size * x.shape[-1]` → `lines * axes[-1].outputs * axes[-1].size`",
            "`lines * axes[-1].outputs * axes[-1].size` → `lines * axes[-1].outputs / axes[-1].size`",
            "`lines * axes[-1].outputs * axes[-1].size` → `lines * axes[-1].outputs`",
            "`lines * axes[-1].outputs` → `lines / axes[-1].outputs`",
            "`lines * axes[-1].outputs` → `lines`",
        ],
    },
    "kernels.forms._zeros": {
        "another number, which does not count": [
            "`0` → `1`",
        ],
    },
    "kernels.forms._kernel_gradient": {
        "one group, split off by itself, is the whole": [
            "`groups > 1` → `groups >= 1`",
        ],
    },
    "kernels.folding._blocks": {
        "more columns of zeros than are needed, whose products are cut off": [
            "`-(size + columns - 1) // columns` → `-(size + columns - 1)`",
            "`size + columns - 1` → `size + columns + 1`",
        ],
    },
    "backprop.normalization._sum_like": {
        "the reshape that follows gives the shape in either case": [
            "`True` → `False`",
        ],
    },
    "kernels.reading.passes": {
        "one pass over both axes or one along each: the same sums, and the same first maximum": [
            "`axes[0].size * axes[1].size <= tuned.ONE_PASS` → `axes[0].size * axes[1].size < tuned.ONE_PASS`",
            "`axes[0].size * axes[1].size` → `axes[0].size / axes[1].size`",
            "`axes[0].size * axes[1].size` → `axes[0].size`",
            "`0` → `1`",
            "`axis.stride == axis.size` → `axis.stride != axis.size`",
        ],
    },
    "kernels.reading._interleave": {
        "more zeros at the end, which are cropped": [
            "`-(-axis.size // axis.stride) - 1` → `-(-axis.size // axis.stride) + 1`",
        ],
        "the same": [
            "`-axis.size // axis.stride` → `-axis.size`",
        ],
    },
    "kernels.pooling._each": {
        "weights of a pair have no leading axes; those of a mapped layer have, and tests/test_laws.py fails": [
            "`ndim - len(lead)` → `ndim + len(lead)`",
            "`2` → `3`",
            "`-1` → `1`",
        ],
    },
    "kernels.pooling._over_norm": {
        "multiplies inputs that are 0, as their window's norm is 0": [
            "`0` → `1.0` (2)",
        ],
        "divisor in place of a 0, in the branch of the outer `where` not taken": [
            "`1` → `2`",
        ],
    },
    "kernels.unfolding.unfolded_kernel_gradient": {
        "one product for all places or one for each: the same sums": [
            "`rows[0].shape[-1] <= tuned.THIN` → `rows[0].shape[-1] < tuned.THIN`",
            "`1` → `2` (2)",
        ],
        "the same: a matrix's second axis is its last": [
            "`-1` → `1`",
            "`-1` → `1` (4)",
        ],
    },
}
EXPLAINED = {
    f"{function}: {change}": reason
    for function, reasons in _REASONS.items()
    for reason, changes in reasons.items()
    for change in changes
}
