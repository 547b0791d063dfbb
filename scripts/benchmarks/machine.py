"""The machine and the versions a number belongs to."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

import torch

PACKAGES = ("torch", "torchvision", "numpy", "pillow", "pyarrow", "open_clip_torch")


def cpu_flags() -> set[str]:
    """Instruction set flags of the first core; empty where the system does not tell."""
    source = Path("/proc/cpuinfo")
    if not source.exists():
        return set()
    for line in source.read_text().splitlines():
        if line.startswith(("flags", "Features")):
            return set(line.split(":", 1)[1].split())
    return set()


def has_bf16() -> bool:
    """True when the CPU multiplies bf16 numbers in hardware, and torch may."""
    return bool(cpu_flags() & {"avx512_bf16", "amx_bf16", "bf16"}) and not is_held_back()


def is_held_back() -> bool:
    """True where ATEN_CPU_CAPABILITY keeps torch from the AVX-512 there is: its bf16 attention fails then."""
    return "avx512f" in cpu_flags() and torch.backends.cpu.get_cpu_capability() != "AVX512"


def count_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe_versions() -> str:
    """Python and the libraries that the numbers depend on."""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return f"Python {platform.python_version()}, {versions}"


def describe_machine() -> str:
    """Cores, instruction sets, threads and versions in one line."""
    flags = cpu_flags()
    sets = [name for name, flag in (("AVX2", "avx2"), ("AVX-512", "avx512f")) if flag in flags][-1:]
    sets += ["bf16 instructions"] if has_bf16() else []
    machine = f"{count_cores()} {platform.machine()} cores" + (f" with {' and '.join(sets)}" if sets else "")
    return f"{machine}, {torch.get_num_threads()} threads, no GPU used; {describe_versions()}"
