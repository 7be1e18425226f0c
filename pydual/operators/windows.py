"""Sliding windows over the spatial axes of a tensor: what convolution and pooling share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pydual.errors import InputError
from pydual.operators.positions import check_entries, positions
from pydual.operators.primitives import Shape, Value

PADDING, BEYOND = -1, -2  # entries of a window in the padding, and beyond it (only with ``ceil_mode``)


@dataclass(frozen=True)
class Window:
    """A window of shape ``kernel`` and its path; ``pads`` lists the padding before each axis, then after each axis."""

    kernel: Shape
    strides: Shape
    dilations: Shape
    pads: Shape
    ceil_mode: bool = False

    @classmethod
    def of(
        cls,
        kernel: Sequence[int],
        strides: Sequence[int] | None = None,
        dilations: Sequence[int] | None = None,
        pads: Sequence[int] | None = None,
        ceil_mode: bool = False,
    ) -> Window:
        """Strides and dilations default to 1, pads to 0. Raises InputError for numbers that make no sense."""
        n = len(kernel)
        strides, dilations, pads = strides or (1,) * n, dilations or (1,) * n, pads or (0,) * 2 * n
        window = cls(tuple(kernel), tuple(strides), tuple(dilations), tuple(pads), ceil_mode)
        if not len(window.strides) == len(window.dilations) == n or len(window.pads) != 2 * n:
            raise InputError(f"kernel, strides, dilations and pads do not fit each other: {window}")
        if min((*window.kernel, *window.strides, *window.dilations), default=1) < 1 or min(window.pads, default=0) < 0:
            raise InputError(f"kernel, strides and dilations must be at least 1, pads at least 0: {window}")
        return window

    def padded_same(self, spatial: Shape, extra_after: bool) -> Window:
        """The same window with the padding that gives ``ceil(size / stride)`` places on each axis."""
        before, after = [], []
        for n, k, stride, dilation in zip(spatial, self.kernel, self.strides, self.dilations, strict=True):
            total = max((-(-n // stride) - 1) * stride + (k - 1) * dilation + 1 - n, 0)
            before.append(total // 2 if extra_after else total - total // 2)
            after.append(total - before[-1])
        return replace(self, pads=(*before, *after))

    def places(self, spatial: Shape) -> tuple[Shape, np.ndarray]:
        """The shape of the window's places, and an array (places, kernel entries) of positions in the spatial axes."""
        if len(spatial) != len(self.kernel):
            raise InputError(f"a window of shape {self.kernel} does not fit spatial axes of shape {spatial}")
        shape: Shape = ()
        index = np.zeros((1, 1), dtype=np.int32)
        for axis, n in enumerate(spatial):
            steps = self._axis(axis, n)
            shape += (steps.shape[0],)
            check_entries((*index.shape, *steps.shape))
            outer, inner = index[:, None, :, None], steps[None, :, None, :]
            joined = np.where((outer < 0) | (inner < 0), np.minimum(outer, inner), outer * n + inner)
            index = joined.reshape(index.shape[0] * steps.shape[0], -1)
        return shape, index

    def _axis(self, axis: int, n: int) -> np.ndarray:
        k, stride, dilation = self.kernel[axis], self.strides[axis], self.dilations[axis]
        before, after = self.pads[axis], self.pads[axis + len(self.kernel)]
        room = n + before + after - (k - 1) * dilation - 1
        if room < 0:
            raise InputError(f"the window {self} is larger than the padded input")
        count = (-(-room // stride) if self.ceil_mode else room // stride) + 1
        if self.ceil_mode and (count - 1) * stride >= n + before:
            count -= 1
        check_entries((count, k))
        at = np.arange(count, dtype=np.int32)[:, None] * stride + np.arange(k, dtype=np.int32) * dilation - before
        return np.where(at >= n + after, BEYOND, np.where((at < 0) | (at >= n), PADDING, at)).astype(np.int32)


def pooling_columns(x: Value, window: Window) -> tuple[Shape, np.ndarray]:
    """Output shape, and positions in ``x`` of the windows in each channel: (batch * channels, places, entries)."""
    channels = x.shape[:2]
    shape, index = window.places(x.shape[2:])
    maps = positions(x).reshape(channels[0] * channels[1], -1)
    check_entries((len(maps), *index.shape))
    return (*channels, *shape), np.where(index < 0, index, maps[:, np.maximum(index, 0)])
