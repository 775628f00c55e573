"""The tuned numbers by which kernels decide how to compute on CPU. GPU and TPU use none of those of convolutions.

Measured on 28 and 30 November 2026 on two processors, two cores each, with jax 0.10.2 in float32; where the processors
disagreed, neither loses against XLA's own. `python -m benchmarks.conv_methods` measures every method on 35 shapes and
writes `benchmarks/conv_methods.md`; after a change of machine or version, run it and adjust the numbers here. Sizes
count array entries.
"""

# the choice of a method
FEW_GROUPS = 8  # largest number of groups to run one after the other
FOLD_INPUTS = 16  # most input channels for which the forward pass folds columns
FOLD_OUTPUTS = 8  # most output channels for which it does
PAD_INPUTS = range(20, 128)  # input channels for which XLA calls YNNPACK, on one core, unless rows are appended
PAD_PRODUCTS = 150_000_000  # fewest multiplications that are worth a second core
PAD_ROWS = 0.3  # largest share of the outputs to compute and drop
WASTED = 1.7  # multiplications per necessary one above which the input gradient leaves XLA's convolution
UNFOLD_INPUTS = 6  # fewest input channels for an input gradient by matrix products
UNFOLD_ROW = 16  # smallest row of a window, channels included, for one
UNFOLD_OUTPUTS = 16  # fewest output channels for one where the input has fewer channels than that
UNFOLDED_IN_CACHE = 3 << 18  # largest unfolded input for a kernel gradient by one product; 3 MB
LARGE_KERNEL = 100_000  # smallest kernel for which adding blocks takes longer than multiplying them
FOLD_BLOCK_INPUTS = 8  # most input channels for which a block folds its columns
FOLD_BLOCK_WINDOW = 5  # narrowest window for which it does, whatever the channels
NARROW_OUTPUTS = 16  # most output channels that make the product of a block too thin without folding

# oneDNN, where it is available
NATIVE_PRODUCTS = 5_000_000  # fewest multiplications that are worth a call; twice as many for small images
NATIVE_DEPTHWISE = 1_000_000  # the same for depthwise convolutions, which are slow otherwise
NATIVE_TERMS = 16  # fewest multiplications per output for its forward pass
NATIVE_PLACES = 64  # most outputs per image and channel of a small image, whose strided input gradient stays "patches"
NATIVE_INPUTS = 16  # most input channels for which it does, too

# parameters of the methods
FOLD_FORWARD = 4  # most columns to fold into one in the forward pass
FOLD_KERNEL = 2  # the same for the kernel gradient
SLICES = 4  # 8 ran up to a quarter faster on some shapes, slower on others, and compiled 1.5 to 2 times as long
BLOCK = 5 << 17  # unfolded entries per block; 2.5 MB
THIN = 8  # longest unfolded row for which one wide product beats a product per place, which reads δ each time
SIDE_BY_SIDE = 16  # longest strided window whose places are added one by one in an input gradient
WINDOW = 64  # most places of a window without a stride for matrix products of an image of few channels
UNROLLED = 32  # longest mapped axis to unroll; compile time grows with it

# pools; measured with `python -m benchmarks.speed --rows "step 20-50-500-10"`
ONE_PASS = 4  # largest window, in places, to read in one pass over both axes
