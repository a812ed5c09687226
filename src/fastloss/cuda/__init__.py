# SPDX-License-Identifier: BSD-3-Clause
"""The losses on CUDA devices.

Functions and classes of fastloss take arrays that lie on a device as they take NumPy's: Numba's device arrays, CuPy's,
PyTorch's tensors, anything with ``__cuda_array_interface__`` or DLPack. They compute on the stream that is current for the
caller, wait for nothing, and return arrays on the device, also for a reduced value: of the caller's kind, which is Numba's
for libraries other than these three.

A wrong label, weight or element makes the value NaN, and `check` raises the error that a NumPy array would have given. So
does the next call, if the device is that far, and an array of Numba's when the value is read.
"""

from fastloss.cuda._available import describe, reason

__all__ = ["check", "describe", "is_available", "reason", "set_check_labels"]


def is_available():
    """Whether there is a package, a driver and a device to compute with; `reason` says what is missing.

    >>> is_available() == (reason() is None)
    True
    """
    return reason() is None


def check(*arrays):
    """Waits for the calls on the devices that hold these arrays, or on all, and raises the error of one that was wrong.

    Raises:
        InputError: A label, a weight or an element of an earlier call is out of range.
        RuntimeError: There is no GPU, or no package for it, but there are arrays.

    >>> check() if is_available() else None
    """
    if not arrays and reason() is not None:
        # Nothing was computed.
        return
    _require()
    from fastloss.cuda import call

    call.check(arrays)


def set_check_labels(enabled):
    """Whether labels, weights and elements out of range raise an error; else they make the value NaN and nothing more.

    Raises:
        RuntimeError: There is no GPU, or no package for it.

    >>> set_check_labels(True) if is_available() else None
    """
    _require()
    from fastloss.cuda import call

    call.set_check_labels(enabled)


def _require():
    missing = reason()
    if missing is not None:
        raise RuntimeError(missing)


def kernel_on_device(about):
    """The kernel of a native loss for arrays on a device; see `fastloss.cuda.call.DeviceKernel`.

    >>> kernel_on_device.__name__
    'kernel_on_device'
    """
    missing = reason()
    if missing is not None:
        raise RuntimeError(f"y_pred: an array on a GPU, but {missing}")
    from fastloss.cuda import call

    return call.DeviceKernel(about)
