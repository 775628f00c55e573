"""Training steps of ResNet-50 at 224×224, jaxdl's and flax.linen's, in bfloat16 and float32."""

from benchmarks.on_gpu import steps
from benchmarks.on_gpu.record import Record


def measure(record: Record, dry_run: bool) -> None:
    """Add a row per missing dtype; bfloat16 comes first, since it matters more."""
    net = steps.imagenet(dry_run)
    for dtype in ("bfloat16",) if dry_run else ("bfloat16", "float32"):
        if not record.has(dtype=dtype):
            record.add(net="resnet50", **steps.compare(net, net.batch, dtype, 0.0 if dry_run else 4.0))
    steps.check(record)
