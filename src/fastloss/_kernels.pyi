from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any, TypedDict, final

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

class _Row(TypedDict):
    kind: str
    element: str
    parameters: tuple[str, ...]

ROWS: dict[str, int]
_context_threads: ContextVar[int]

def isas() -> list[str]: ...
def set_isa(name: str) -> None: ...
def get_isa() -> str: ...
def get_num_threads() -> int: ...
def set_num_threads(n: int | None) -> None: ...
def build_info() -> dict[str, str]: ...
def registry() -> dict[str, _Row]: ...

@final
class Kernel:
    @property
    def axis(self) -> int | tuple[int, ...] | None: ...
    def __init__(
        self,
        name: str,
        parameters: Sequence[float] = (),
        *,
        axis: int | tuple[int, ...] | None = -1,
        dtype: DTypeLike | None = None,
        label_scale: float = 1.0,
        label_shift: float = 0.0,
        shift_per_class: bool = False,
        sign_labels: bool = False,
        labels: bool = False,
        ignore_class: int | None = None,
        class_weight: ArrayLike | None = None,
        weight_name: str = "class_weight",
        true_bounds: tuple[float, float] = ...,
        pred_bounds: tuple[float, float] = ...,
        references: tuple[ArrayLike, ArrayLike] | None = None,
    ) -> None: ...
    def describe(self) -> dict[str, Any]: ...
    def value(
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        sample_weight: ArrayLike | None,
        mask: ArrayLike | None,
        reduction: int,
    ) -> Any: ...
    def value_and_grad(
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        sample_weight: ArrayLike | None,
        mask: ArrayLike | None,
        reduction: int,
        out: NDArray[Any] | None,
    ) -> tuple[Any, NDArray[Any]]: ...
    def grad_and_hess(
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        sample_weight: ArrayLike | None,
        out: tuple[NDArray[Any], NDArray[Any]] | None,
    ) -> tuple[NDArray[Any], NDArray[Any]]: ...

class Native:
    @property
    def _native(self) -> Kernel: ...
    def _call(
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        sample_weight: ArrayLike | None = None,
        mask: ArrayLike | None = None,
    ) -> Any: ...
    def value_and_grad(
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        sample_weight: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        out: NDArray[Any] | None = None,
    ) -> tuple[Any, NDArray[Any]]: ...
    def _accumulator(self) -> Accumulator: ...

def per_sample(y_true: ArrayLike, y_pred: ArrayLike, loss_class: type, *arguments: Any, **keywords: Any) -> Any: ...

class Accumulator:
    @property
    def needs_labels(self) -> bool: ...
    @property
    def count(self) -> int: ...
    def __init__(self, kernel: Kernel, reduction: int) -> None: ...
    def scan_labels(self, y_true: ArrayLike, sample_weight: ArrayLike | None = None) -> None: ...
    def block_rows(self, shape: tuple[int, ...]) -> int: ...
    def update(
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        sample_weight: ArrayLike | None = None,
        losses: NDArray[Any] | None = None,
    ) -> None: ...
    def gradient(
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        sample_weight: ArrayLike | None = None,
        out: NDArray[Any] | None = None,
    ) -> NDArray[Any]: ...
    def value(self) -> np.floating[Any]: ...
