"""Stands where ComfyUI looks for a Cambricon card, and registers an emulated one with torch.

EMULATED_DEVICE_BYTES: its memory. g++ compiles it when it is first imported.
"""

import ctypes
import hashlib
import os
import subprocess
import types
from pathlib import Path

import torch

TORCH = Path(torch.__file__).parent
SOURCE = Path(__file__).with_name("device.cpp")
BUILT = SOURCE.parents[2] / ".host" / "emulated_device"  # ignored by git


def _compiled() -> str:
    """The library of this source for this torch, built if it is not there."""
    made_of = SOURCE.read_bytes() + Path(__file__).read_bytes() + torch.__version__.encode()
    library = BUILT / f"{hashlib.sha256(made_of).hexdigest()[:16]}.so"
    if not library.exists():
        BUILT.mkdir(parents=True, exist_ok=True)
        unfinished = library.with_suffix(f".{os.getpid()}")
        command = ["g++", "-std=c++20", "-O1", "-shared", "-fPIC", str(SOURCE), "-o", unfinished]
        command += [f"-I{TORCH / 'include'}", f"-L{TORCH / 'lib'}", "-ltorch_cpu", "-lc10"]
        subprocess.run(command, check=True)
        unfinished.rename(library)
    return str(library)


def _module(device, total) -> types.ModuleType:
    """`torch.mlu`: as much of it as ComfyUI and torch ask for."""
    module, used = types.ModuleType("torch.mlu"), device.emulated_used
    module.max_memory_allocated = lambda of=None: device.emulated_most()
    module.reset_peak_memory_stats = lambda of=None: device.emulated_forget_most()
    module.memory_stats = lambda device=None: {
        "reserved_bytes.all.current": used(),
        "active_bytes.all.current": used(),
    }
    module.mem_get_info = lambda device=None: (total - used(), total)
    module.is_available = module.is_initialized = lambda: True
    module.device_count = lambda: 1
    module.current_device = lambda: 0
    module.get_device_name = lambda device=None: "emulated device"
    module.get_amp_supported_dtype = lambda: [torch.float16, torch.bfloat16]
    module._is_in_bad_fork = lambda: False
    for name in ("empty_cache", "synchronize", "set_device", "manual_seed_all", "manual_seed"):
        setattr(module, name, lambda *args: None)
    return module


_path = _compiled()
torch.ops.load_library(_path)
_device = ctypes.CDLL(_path)
_device.emulated_used.restype = _device.emulated_most.restype = ctypes.c_int64
_total = int(os.environ.get("EMULATED_DEVICE_BYTES", 2**34))
torch.utils.rename_privateuse1_backend("mlu")
torch._register_device_module("mlu", _module(_device, _total))
torch.utils.generate_methods_for_privateuse1_backend()
_device.emulated_start(ctypes.c_int64(_total))
torch.version.cuda = None  # as in a torch that was built for another card
