"""The machine: names, versions, peak of matrix products, bandwidth of copies."""

import torch

from benchmarks.gpu.section import Bench, Section
from benchmarks.machine import count_cores, describe_versions

COPY_BYTES = 4 * 2**30
SMALL_COPY_BYTES = 2**20


def run(bench: Bench, section: Section) -> None:
    """What the device can do at most."""
    if bench.device.type == "cuda":
        found = torch.cuda.get_device_properties(bench.device)
        section.facts["GPU"] = f"{found.name}, {found.total_memory / 2**30:.0f} GiB"
        section.facts["CUDA, cuDNN"] = f"{torch.version.cuda}, {torch.backends.cudnn.version()}"
    section.facts["processor"] = f"{count_cores()} cores"
    section.facts["versions"] = describe_versions()
    table = section.add_table("Ceilings", "what", "measured")
    table.add("bf16 matrix product, random numbers", f"{bench.peak / 1e12:,.1f} TFLOP/s")
    count = SMALL_COPY_BYTES if bench.quick else COPY_BYTES
    source = torch.zeros(count, dtype=torch.uint8, device=bench.device)
    target = torch.empty_like(source)
    seconds = bench.time(lambda: target.copy_(source))
    table.add("copy on the device, read and written", f"{2 * count / seconds / 1e12:,.2f} TB/s")
