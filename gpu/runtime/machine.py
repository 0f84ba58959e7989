"""The description of the machine and of the versions that a record was measured with."""

import importlib.metadata
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

CPUINFO = Path("/proc/cpuinfo")


def describe_hardware(device: torch.device) -> dict[str, Any]:
    """Return the hardware of a measurement: processor, cores, threads, and the GPU if the device is one."""
    hardware: dict[str, Any] = {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "device": str(device),
    }
    if device.type == "cuda":
        hardware["gpu"] = torch.cuda.get_device_name(device)
    return hardware


def describe_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that compute.

    A package without metadata, as that of a checkout that runs without having been installed, is "not installed".
    """
    packages = ("linalg_cnn", "numpy", "scipy", "sympy", "torch", "torchvision")
    return {"python": platform.python_version()} | {name: _version(name) for name in packages}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def describe_machine(record: dict[str, Any], packages: Sequence[str] = ("numpy", "scipy", "torch")) -> str:
    """Return the hardware and the versions of a record in one line.

    Parameters
    ----------
    record : dict
        Record with ``hardware`` and ``versions``.
    packages : sequence of str
        Names of the packages whose versions are shown.
    """
    hardware, versions = record["hardware"], record["versions"]
    processor = hardware.get("gpu", hardware["processor"])
    if "cpu_capability" in hardware:
        processor += f" ({hardware['cpu_capability']})"
    numbers = ", ".join(f"{name} {versions[name]}" for name in packages)
    return (
        f"{processor}, {hardware['cores']} cores, {hardware['threads']} threads; Python {versions['python']}, {numbers}"
    )


def _processor() -> str:
    if CPUINFO.exists():
        for line in CPUINFO.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
