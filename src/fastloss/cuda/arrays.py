# SPDX-License-Identifier: BSD-3-Clause
"""Arrays on a device: whose they are, where they lie, and new ones of the same kind.

An array is described by a NumPy view with its address, shape and strides, which is never read: so shapes are
checked and aligned by the same code as those of arrays in memory. Libraries are found by the objects that arrive, never
imported.
"""

import ctypes
import sys
import threading
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np

from fastloss import _validate
from fastloss.cuda import _numba, launch
from fastloss.cuda._numba import STORAGES, cuda

# Of what bfloat16 is a NumPy dtype of two bytes without a name.
_TYPESTR = {np.dtype(dtype).str[1:]: name for name, dtype in STORAGES.items() if name not in ("bfloat16", "bool")}
_TYPESTR |= {"b1": "bool", "V2": "bfloat16"}
_DLPACK_CODES = {0: "int", 1: "uint", 2: "float", 4: "bfloat", 6: "bool"}
_DLPACK_CUDA = (2, 13)


class _DLTensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p), ("device", ctypes.c_int32), ("ordinal", ctypes.c_int32), ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)), ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )  # fmt: skip


ctypes.pythonapi.PyCapsule_GetPointer.restype = ctypes.c_void_p
ctypes.pythonapi.PyCapsule_GetPointer.argtypes = (ctypes.py_object, ctypes.c_char_p)


class Array:
    """An array on a device.

    Attributes:
        given: What the caller passed.
        library: "numba", "cupy", "torch", or "other".
        storage: Name of the element type.
        view: NumPy array of the same address, shape and strides; not to be read.
        owner: What keeps the memory alive.
        device: Number of the device.
    """

    __slots__ = ("device", "given", "library", "owner", "storage", "view", "writeable")

    def __init__(self, given, library, storage, view, owner, device, writeable=True):
        self.given, self.library, self.storage, self.view = given, library, storage, view
        self.owner, self.device, self.writeable = owner, device, writeable


def at_address(address, shape, strides, dtype):
    """A NumPy array at an address."""
    if address == 0 or 0 in shape:
        return np.empty(shape, dtype)
    interface = {"data": (address, False), "shape": shape, "strides": strides, "typestr": dtype.str, "version": 3}
    return np.asarray(SimpleNamespace(__array_interface__=interface))


def _library_of(value):
    """By the modules of the type and of what it derives from, of which the library itself is imported."""
    names = (base.__module__.partition(".")[0] for base in type(value).__mro__)
    return next((name for name in names if name in ("numba", "cupy", "torch")), "other")


def is_array(value):
    """Whether this lies on a device."""
    if _numba.SIMULATED and hasattr(type(value), "__cuda_ndarray__"):
        return True
    return _validate.is_on_device(value)


def array(name, value, beside=None):
    """`value` as an Array, on the device of another one."""
    if value is None:
        raise TypeError(f"{name}: expected an array, got None")
    if not is_array(value):
        raise _validate.not_on_device(name, value)
    if _numba.SIMULATED:
        view = value._ary
        storage = view.dtype.name
        found = Array(value, "numba", storage, view if storage != "bfloat16" else view.view(np.uint16), value, 0)
    else:
        try:
            found = _from_interface(value) or _from_dlpack(value)
        except (BufferError, RuntimeError) as error:
            raise TypeError(f"{name}: {error}") from None
    if found.storage not in STORAGES:
        raise _validate.not_supported(name, found.storage)
    if found.view.size and found.view.__array_interface__["data"][0] % found.view.itemsize:
        raise ValueError(f"{name}: does not begin at a multiple of {found.view.itemsize} bytes")
    if any(stride % found.view.itemsize for stride in found.view.strides):
        raise ValueError(f"{name}: strides {found.view.strides}, expected multiples of {found.view.itemsize} bytes")
    if beside is not None and found.view.size and beside.view.size and found.device != beside.device:
        raise ValueError(f"{name}: on device {found.device}, expected device {beside.device}, where y_pred is")
    return found


def _from_interface(value):
    try:
        interface = value.__cuda_array_interface__
    except (AttributeError, KeyError, RuntimeError, TypeError):
        # Not for all dtypes, and libraries differ in how they say so; DLPack says why.
        return None
    address, read_only = interface["data"]
    typestr = interface["typestr"]
    storage = _TYPESTR.get(typestr[1:], typestr)
    dtype = STORAGES.get(storage, np.dtype(np.uint8))
    shape = tuple(interface["shape"])
    view = at_address(address or 0, shape, interface.get("strides"), dtype)
    library = _library_of(value)
    if library == "other" and interface.get("version", 0) < 3 and hasattr(value, "__dlpack__"):
        # Such an interface does not say what it is ordered after.
        found = _from_dlpack(value)
        found.writeable = not read_only
        return found
    return Array(value, library, storage, view, value, _device_of(value, library, address), not read_only)


def _device_of(value, library, address):
    """The number of the device; what the library knows needs no driver."""
    if library == "torch":
        return value.device.index
    if library == "cupy":
        return value.device.id
    if library == "numba":
        # Views of the memory of others have the context that was current where they were made.
        return launch.device_of(address) if address else value.gpu_data.context.device.id
    if hasattr(value, "__dlpack_device__"):
        return int(value.__dlpack_device__()[1])
    return launch.device_of(address) if address else 0


def _from_dlpack(value):
    # Where the library's current stream is used, nothing is to wait for; others are to be ordered before the default one.
    library = _library_of(value)
    # The capsule frees what it describes when it goes.
    capsule = value.__dlpack__(stream=1 if library == "other" else -1)
    tensor = _DLTensor.from_address(ctypes.pythonapi.PyCapsule_GetPointer(capsule, b"dltensor"))
    storage = f"{_DLPACK_CODES.get(tensor.code, 'unknown')}{tensor.bits}"
    storage = "bool" if tensor.code == 6 else storage
    dtype = STORAGES.get(storage, np.dtype(np.uint8))
    shape = tuple(tensor.shape[d] for d in range(tensor.ndim))
    strides = tuple(tensor.strides[d] * dtype.itemsize for d in range(tensor.ndim)) if tensor.strides else None
    address = (tensor.data or 0) + tensor.byte_offset
    view = at_address(address, shape, strides, dtype)
    return Array(value, library, storage, view, (value, capsule), tensor.ordinal)


def stream_of(found):
    """The stream that is current for the library of an array, as a number."""
    if found.library == "torch":
        return sys.modules["torch"].cuda.current_stream(found.device).cuda_stream
    if found.library == "cupy":
        cupy = sys.modules["cupy"]
        # Every device has its own.
        with cupy.cuda.Device(found.device):
            return cupy.cuda.get_current_stream().ptr
    if found.library == "numba":
        return 0 if _numba.SIMULATED else int(found.given.stream)
    interface = getattr(found.given, "__cuda_array_interface__", None) or {}
    return interface.get("stream") or 0


def empty(shape, storage, like):
    """A new array of the same kind on the same device, C-contiguous."""
    if like.library == "torch":
        torch = sys.modules["torch"]
        made = torch.empty(shape, dtype=getattr(torch, storage), device=f"cuda:{like.device}")
        view = at_address(made.data_ptr(), shape, None, STORAGES[storage])
        return Array(made, "torch", storage, view, made, like.device)
    if like.library == "cupy":
        cupy = sys.modules["cupy"]
        with cupy.cuda.Device(like.device):
            made = cupy.empty(shape, storage)
        view = at_address(made.data.ptr, shape, None, STORAGES[storage])
        return Array(made, "cupy", storage, view, made, like.device)
    dtype = STORAGES[storage]
    if storage == "bfloat16":
        # The name is known where such arrays come from.
        dtype = np.dtype(sys.modules["ml_dtypes"].bfloat16) if "ml_dtypes" in sys.modules else dtype
    elif storage == "bool":
        dtype = np.dtype(np.bool_)
    if _numba.SIMULATED:
        made = cuda.device_array(shape, dtype)
        return Array(made, "numba", storage, made._ary if storage != "bfloat16" else made._ary.view(np.uint16), made, 0)
    # What is read later goes through the same stream.
    stream = stream_of(like)
    with cuda.gpus[like.device]:
        made = cuda.device_array(shape, dtype, stream=cuda.external_stream(stream) if stream else 0)
    view = at_address(made.device_ctypes_pointer.value or 0, shape, None, STORAGES[storage])
    return Array(made, "numba", storage, view, made, like.device)


def _current(ordinal):
    """Within the block Numba allocates on this device."""
    return nullcontext() if _numba.SIMULATED else cuda.gpus[ordinal]


_kept = threading.local()


def scratch(size, like, stream):
    """(address, owner) of memory that the kernels of one call share, from the allocator of the caller's library.

    CuPy and PyTorch know streams, and give memory back without waiting. Numba's arrays wait when they are freed: there a
    block is kept for each thread and stream, whose kernels run one after the other.
    """
    if like.library == "torch":
        torch = sys.modules["torch"]
        made = torch.empty(size, dtype=torch.uint8, device=f"cuda:{like.device}")
        return made.data_ptr(), made
    if like.library == "cupy":
        cupy = sys.modules["cupy"]
        with cupy.cuda.Device(like.device):
            made = cupy.empty(size, "uint8")
        return made.data.ptr, made
    blocks = _kept.__dict__.setdefault("blocks", {})
    made, address = blocks.get((like.device, stream), (None, 0))
    if made is None or made.nbytes < size:
        with _current(like.device):
            made = cuda.device_array(size, np.uint8)
        address = made._ary.ctypes.data if _numba.SIMULATED else made.device_ctypes_pointer.value
        blocks[like.device, stream] = made, address
    return address, made


def memory_of(view, owner):
    """The memory of a view for a kernel, and at which of its elements the view begins."""
    if view.size == 0:
        return launch.NOTHING, 0
    address = view.__array_interface__["data"][0]
    if view.flags.c_contiguous:
        return launch.Memory(address, view.size, owner), 0
    reach = [stride * (extent - 1) for stride, extent in zip(view.strides, view.shape, strict=True)]
    low, high = sum(min(r, 0) for r in reach), sum(max(r, 0) for r in reach)
    return launch.Memory(address + low, (high - low) // view.itemsize + 1, owner), -low // view.itemsize


def described(view, shape, strides, dtype):
    """Another view of where one begins."""
    return at_address(view.__array_interface__["data"][0] if view.size else 0, shape, strides, dtype)


def filled(values, like):
    """A copy of a small float64 array of NumPy, of the same kind and on the same device as another array."""
    if like.library == "torch":
        torch = sys.modules["torch"]
        made = torch.tensor(values.tolist(), dtype=torch.float64, device=f"cuda:{like.device}")
        view = at_address(made.data_ptr(), values.shape, None, values.dtype)
        return Array(made, "torch", "float64", view, made, like.device)
    if like.library == "cupy":
        cupy = sys.modules["cupy"]
        with cupy.cuda.Device(like.device):
            made = cupy.asarray(values)
            # It is kept, and used on other streams.
            cupy.cuda.get_current_stream().synchronize()
        view = at_address(made.data.ptr, values.shape, None, values.dtype)
        return Array(made, "cupy", "float64", view, made, like.device)
    with _current(like.device):
        return array("class_weight", cuda.to_device(values))
