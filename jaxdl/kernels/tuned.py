"""The numbers by which `choice` and `forms` decide how a convolution is computed on CPU.

Measured on 21 November 2026 on two cores, jax 0.10.2, float32, by `python -m benchmarks.conv_methods`, which writes
`benchmarks/conv_methods.md`; on another machine or version, run it and change the numbers here. A size is a number of
array entries unless it says otherwise. GPU and TPU read none of them.
"""

# which method is chosen
FEW_GROUPS = 8  # groups up to which they are computed one after the other
FOLD_INPUTS = 16  # input channels up to which columns are folded, forward
FOLD_OUTPUTS = 8  # output channels up to which columns are folded, forward
PAD_INPUTS = range(20, 128)  # input channels for which XLA calls YNNPACK, which runs on one core, unless it is padded
PAD_PRODUCTS = 76_000_000  # multiplications below which a second core does not pay
PAD_ROWS = 0.3  # share of the outputs that may be computed and dropped
WASTED = 1.7  # multiplications of XLA's input gradient per necessary one, above which products are added up instead
UNFOLD_INPUTS = 6  # input channels from which the input gradient is such products
UNFOLD_ROW = 16  # entries of one row of a window from which it is
UNFOLDED_IN_CACHE = 3 << 18  # unfolded rows up to which the kernel gradient is one product; 3 MB
LARGE_KERNEL = 100_000  # kernel entries from which adding blocks takes longer than multiplying them
FOLD_BLOCK_INPUTS = 8  # input channels up to which a block's columns are folded,
FOLD_BLOCK_WINDOW = 5  # as they are with windows of so many places
NARROW_OUTPUTS = 16  # output channels up to which blocks that are not folded are too narrow for a product

# how a method computes
FOLD_FORWARD = 4  # columns that become one, forward
FOLD_KERNEL = 2  # columns that become one, kernel gradient
SLICES = 4  # 8 ran up to a quarter faster on some shapes, slower on others, and compiled 1.5 to 2 times as long
BLOCK = 5 << 17  # unfolded rows of one block; 2.5 MB
THIN = 8  # entries of an unfolded row up to which a product per place would read δ once more for little
UNROLLED = 32  # members of a mapped axis that are computed one by one

# pools; `python -m benchmarks.speed --rows "step 20-50-500-10"` shows them
ONE_PASS = 4  # places of a window up to which they are read in one pass over both axes
