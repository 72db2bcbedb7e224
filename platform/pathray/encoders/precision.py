"""Which number format an encoder runs in.

Low precision runs under autocast: matrix products in bf16 or fp16, the residual stream and
normalisation in float32. Weights of linear and convolution layers are stored in the low
precision once, so that autocast does not cast them again for every batch.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from pathray.encoders.spec import Precision
from pathray.errors import RequestError

if TYPE_CHECKING:
    import torch
    from torch import nn

# x86 (AVX512-BF16, AMX) and Arm (BF16) as Linux names them.
_NATIVE_BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}
_CPUINFO = Path("/proc/cpuinfo")


def resolve_precision(asked: str, device: "torch.device") -> Precision:
    """The precision that `auto` means on a device, or the one asked for.

    auto: bf16 where the hardware multiplies it natively (about 3 times as fast on a CPU that
    does, and many times slower on one that only emulates it), else fp32.
    """
    if asked in get_args(Precision):
        return asked  # type: ignore[return-value]
    if asked != "auto":
        known = ", ".join(("auto", *get_args(Precision)))
        raise RequestError(f"unknown precision {asked!r}; known: {known}")
    return "bf16" if _native_bf16(device) else "fp32"


def _native_bf16(device: "torch.device") -> bool:
    if device.type == "cuda":
        import torch

        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(_cpu_flags() & _NATIVE_BF16_FLAGS)


def _cpu_flags() -> set[str]:
    """Instruction-set flags of this CPU; empty where the system does not list them."""
    try:
        lines = _CPUINFO.read_text().splitlines()
    except OSError:
        return set()
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return set(value.split())
    return set()


def prepare(model: "nn.Module", precision: Precision) -> "nn.Module":
    """Store the weights of matrix products in the running precision, in place."""
    import torch

    if precision != "fp32":
        dtype = _dtype(precision)
        for module in model.modules():
            if isinstance(module, torch.nn.Linear | torch.nn.Conv2d):
                module.to(dtype)
    return model


@contextmanager
def running(precision: Precision, device: "torch.device") -> Iterator[None]:
    """The context in which a model prepared for `precision` runs: repeatable, to the byte."""
    import torch

    with ExitStack() as stack:
        if precision != "fp32":
            stack.enter_context(torch.autocast(device.type, _dtype(precision)))
        if device.type == "cuda":
            # cuDNN would choose kernels by timing them, and run fp32 convolutions in TF32.
            stack.enter_context(
                torch.backends.cudnn.flags(
                    enabled=True, benchmark=False, deterministic=True, allow_tf32=False
                )
            )
        yield


def _dtype(precision: Precision) -> "torch.dtype":
    import torch

    return {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[precision]
