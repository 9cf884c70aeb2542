"""Winograd's convolution of bf16 pairs as the kernels round it: patches and weights once, after their transforms.

The transforms add floats in the order of `winograd.hpp`, so that they round the same way; sums of products are exact.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
BACK = np.array([[1, 1, 1, 0], [0, 1, -1, -1]], np.float64)


def rounded(x: Array) -> Array:
    """Round float32 to the nearest bf16, ties to even; denormal numbers become zero."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    bits = np.where(bits & np.uint32(0x7F800000), bits, bits & np.uint32(0x80000000))
    even = (bits >> np.uint32(16)) & np.uint32(1)
    upper = (bits + (even + np.uint32(0x7FFF))) & np.uint32(0xFFFF0000)
    return np.where(np.isnan(x), np.float32(np.nan), upper.view(np.float32)).astype(np.float32)


def transform_patches(x: Array) -> Array:
    """(..., 4, 4) patches d -> Bᵀ d B."""
    for axis in (-2, -1):
        a, b, c, d = np.moveaxis(x, axis, 0)
        x = np.stack([a - c, b + c, c - b, b - d], axis)
    return x


def transform_weights(weight: Array) -> Array:
    """(..., 3, 3) taps g -> G g Gᵀ."""
    half = np.float32(0.5)
    for axis in (-1, -2):
        a, b, c = np.moveaxis(weight, axis, 0)
        total = (a + c) * half
        weight = np.stack([a, b * half + total, total - b * half, c], axis)
    return weight


def correlate(x: Array, weight: Array) -> Array:
    """Bordered images (N, C, H, W) and weights (K, C, 3, 3) -> (N, K, H - 2, W - 2)."""
    height, width = x.shape[2] - 2, x.shape[3] - 2
    x = np.pad(x, ((0, 0), (0, 0), (0, height % 2), (0, width % 2)))
    patches = np.lib.stride_tricks.sliding_window_view(x, (4, 4), (2, 3))[:, :, ::2, ::2]
    left = rounded(transform_patches(patches)).astype(np.float64)
    right = rounded(transform_weights(weight)).astype(np.float64)
    products = np.einsum("nchwij,kcij->nkhwij", left, right, optimize=True)
    tiles = np.einsum("ai,nkhwij,bj->nkhawb", BACK, products, BACK, optimize=True)
    joined = tiles.reshape(*tiles.shape[:2], 2 * tiles.shape[2], 2 * tiles.shape[4])
    return joined[:, :, :height, :width].astype(np.float32)


def border(x: Array, before: tuple[int, ...], after: tuple[int, ...]) -> Array:
    """Add zeros on both sides of the last two axes; negative numbers take lines away."""
    x = np.pad(x, ((0, 0), (0, 0), *((max(b, 0), max(a, 0)) for b, a in zip(before, after, strict=True))))
    lines = tuple(
        slice(max(-b, 0), size - max(-a, 0)) for b, a, size in zip(before, after, x.shape[2:], strict=True)
    )
    return x[:, :, lines[0], lines[1]]


def input_gradient(
    dy: Array, weight: Array, size: tuple[int, ...], padding: tuple[tuple[int, int], ...]
) -> Array:
    """Return dx for dy (N, K, …) of a convolution of images of `size`: a border, and the taps turned round."""
    before = tuple(2 - first for first, _ in padding)
    after = tuple(n + 2 - b - given for n, b, given in zip(size, before, dy.shape[2:], strict=True))
    turned = weight[:, :, ::-1, ::-1].swapaxes(0, 1)
    return correlate(border(dy, before, after), np.ascontiguousarray(turned))
