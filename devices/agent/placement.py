"""What ran on an accelerator, and what its runtime says of that."""

import os
import subprocess
import sys
import tempfile
from typing import Any, Dict, List, Optional, Tuple


class CapturedErrors:
    """Collects what is written to standard error inside a ``with`` into `text`. It is written there too, by ``tee``.

    Runtimes say what they refused, and on which device they run, in their logs alone. If one takes this process down,
    its last words are still in standard error.
    """

    text = ""

    def __enter__(self) -> "CapturedErrors":
        self.file: Any = tempfile.NamedTemporaryFile()
        sys.stderr.flush()
        self.errors = os.dup(2)
        read, write = os.pipe()
        self.tee = subprocess.Popen(["tee", self.file.name], stdin=read, stdout=self.errors)
        os.close(read)
        os.dup2(write, 2)
        os.close(write)
        return self

    def __exit__(self, *_: Any) -> None:
        sys.stderr.flush()
        os.dup2(self.errors, 2)
        os.close(self.errors)
        self.tee.wait()
        self.text = self.file.read().decode("utf-8", "replace")
        self.file.close()


def placed(
    delegated: int, operators: int, partitions: Optional[int], kept: List[str], adapters: List[Tuple[str, bool]]
) -> Dict[str, Any]:
    """Return a placement as core.measurement.Placement has it. `adapters` are GPUs: name, whether it is emulated."""
    counts: Dict[str, int] = {}
    for op in kept:
        counts[op] = counts.get(op, 0) + 1
    return {
        "delegated": delegated,
        "operators": operators,
        "partitions": partitions,
        "kept": counts,
        "adapter": ", ".join(name for name, _ in adapters),
        # Of several, runtimes take a real one.
        "software": bool(adapters) and all(software for _, software in adapters),
    }


def vulkan_adapters() -> List[Tuple[str, bool]]:
    """Return the GPUs that Vulkan lists: name, and whether a processor emulates it. Empty without Vulkan.

    The structures are those of Vulkan 1.0 (VkInstanceCreateInfo, VkPhysicalDeviceProperties).
    """
    import ctypes

    try:
        vulkan: Any = ctypes.CDLL("libvulkan.so.1")
    except OSError:
        return []

    class InstanceInfo(ctypes.Structure):
        _fields_ = [
            ("type", ctypes.c_int),
            ("next", ctypes.c_void_p),
            ("flags", ctypes.c_uint),
            ("application", ctypes.c_void_p),
            ("layers", ctypes.c_uint),
            ("layer_names", ctypes.c_void_p),
            ("extensions", ctypes.c_uint),
            ("extension_names", ctypes.c_void_p),
        ]

    instance, count = ctypes.c_void_p(), ctypes.c_uint()
    if vulkan.vkCreateInstance(ctypes.byref(InstanceInfo(type=1)), None, ctypes.byref(instance)):
        return []
    vulkan.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), None)
    handles = (ctypes.c_void_p * count.value)()
    vulkan.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), handles)
    adapters = []
    for handle in handles:
        properties = ctypes.create_string_buffer(4096)  # 824 bytes are written
        vulkan.vkGetPhysicalDeviceProperties(ctypes.c_void_p(handle), properties)
        kind = int.from_bytes(properties.raw[16:20], sys.byteorder)  # 4: VK_PHYSICAL_DEVICE_TYPE_CPU
        name = properties.raw[20:276].split(b"\0")[0].decode("utf-8", "replace")
        adapters.append((name, kind == 4))
    vulkan.vkDestroyInstance(instance, None)
    return adapters
