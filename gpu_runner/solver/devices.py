"""Whether this torch can run on the GPU at hand, and how products are computed there."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .errors import UnsupportedDevice

NEXT_STEP = (
    "install the torch build for its CUDA version (https://pytorch.org/get-started/locally lists them), "
    'choose an instance type with a newer card, or run with the device "cpu"'
)


def check_architecture(name: str, capability: tuple[int, int], known: Sequence[str]) -> str:
    """Which of the wheel's architectures the card runs, such as "sm_75".

    `known` is torch.cuda.get_arch_list(). A binary (sm_) runs on cards of the same major capability and the
    same or a later minor one, PTX (compute_) is compiled for every later card; "sm_90a" and the like, built
    for one architecture only, run on exactly that (CUDA C++ Programming Guide, Compute Capability). Raises
    UnsupportedDevice.
    """
    fitting = [arch for arch in known if _runs(arch, capability)]
    if not fitting:
        wanted = "sm_{}{}".format(*capability)
        raise UnsupportedDevice(
            f"this torch has no code for {name} ({wanted}); it has: {', '.join(known) or 'none at all'}. "
            f"Next: {NEXT_STEP}"
        )
    return max(fitting, key=lambda arch: (arch.startswith("sm_"), _capability(arch)))


def has_gpu() -> bool:
    return torch.cuda.is_available()


def check_device(device: str) -> str:
    """A sentence about the device. Raises UnsupportedDevice where nothing could be computed on it."""
    if not device.startswith("cuda"):
        return "a CPU"
    if not has_gpu():
        raise UnsupportedDevice(
            f"torch {torch.__version__} sees no GPU (nvidia-smi shows whether the driver does). "
            f"Next: {NEXT_STEP}"
        )
    name, capability = torch.cuda.get_device_name(device), torch.cuda.get_device_capability(device)
    arch = check_architecture(name, capability, torch.cuda.get_arch_list())
    return f"{name} (sm_{capability[0]}{capability[1]}, code for {arch})"


def allow_tf32() -> None:
    """Let fp32 products (Muon's) use TF32 where the card has it, from compute capability 8.0 on."""
    torch.set_float32_matmul_precision("high")


def _runs(arch: str, capability: tuple[int, int]) -> bool:
    kind, _, digits = arch.partition("_")
    if not digits.rstrip("af").isdigit():
        return False
    theirs = _capability(arch)
    if digits.endswith("a"):
        return theirs == capability
    if kind == "sm" or digits.endswith("f"):
        return theirs[0] == capability[0] and theirs <= capability
    return kind == "compute" and theirs <= capability


def _capability(arch: str) -> tuple[int, int]:
    digits = arch.partition("_")[2].rstrip("af")
    return int(digits[:-1] or 0), int(digits[-1])
