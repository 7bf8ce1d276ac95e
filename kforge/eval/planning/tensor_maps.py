"""``k.tensor_map``: a TMA descriptor from a tensor's own shape and strides, all x first as in grids.

The kernel's coordinates, ``box``, ``dims``, ``strides`` and ``element_strides`` begin with the innermost
dimension. For a row-major tensor of shape (M, K), ``box=(BK, BM)`` moves BM rows of BK elements; a copy at
coordinates ``{k, m}`` begins at row m, column k.
"""

from __future__ import annotations

from kforge.eval.planning.launches import TensorMapValue
from kforge.eval.planning.shapes import ELEMENT_BYTES, PlanError, ShapeTensor, integer, integers, show

MAP_TYPE_BYTES = {
    "uint8": 1, "uint16": 2, "uint32": 4, "int32": 4, "uint64": 8, "int64": 8, "float16": 2, "float32": 4,
    "float64": 8, "bfloat16": 2, "float32_ftz": 4, "tfloat32": 4, "tfloat32_ftz": 4,
}  # fmt: skip
_OWN_TYPE = {"int8": "uint8", "bool": "uint8", "int16": "uint16"}
WORDS = {
    "interleave": ("none", "16b", "32b"),
    "swizzle": ("none", "32b", "64b", "128b"),
    "l2_promotion": ("none", "64b", "128b", "256b"),
    "oob_fill": ("none", "nan"),
}


def tensor_map_of(tensor: ShapeTensor, box: object, given: dict[str, object]) -> TensorMapValue:
    """A TMA descriptor.

    Args:
        tensor: whose memory it describes.
        box: elements per copy and dimension, x first.
        given: the keyword arguments of ``k.tensor_map``.

    Raises:
        PlanError: an argument is unknown or malformed.
    """
    kind = given.pop("kind", "tiled")
    if kind not in ("tiled", "im2col"):
        raise PlanError(f"k.tensor_map kind is {show(kind)}; it must be 'tiled' or 'im2col'")
    name = _map_type(given.pop("dtype", None), tensor)
    width = MAP_TYPE_BYTES[name]
    dims, strides = _geometry(tensor, given.pop("dims", None), given.pop("strides", None), width)
    steps = given.pop("element_strides", None)
    described: dict[str, object] = {
        "map_kind": kind,
        "dtype": name,
        "dims": dims,
        "strides_bytes": [stride * width for stride in strides],
        "box": [] if kind == "im2col" else integers(box, "k.tensor_map box", 1),
        "element_strides": [1] * len(dims)
        if steps is None
        else integers(steps, "k.tensor_map element_strides", 1),
        "offset_bytes": integer(given.pop("offset", 0), "k.tensor_map offset") * width,
    }
    for word, choices in WORDS.items():
        value = given.pop(word, "none")
        if value not in choices:
            raise PlanError(f"k.tensor_map {word} is {show(value)}; one of {', '.join(choices)}")
        described[word] = value
    if kind == "im2col":
        described |= _im2col(given)
    for word in given:
        raise PlanError(f"k.tensor_map has no argument {show(word)} for kind {kind!r}")
    return TensorMapValue(tensor, described)


def _map_type(dtype: object, tensor: ShapeTensor) -> str:
    name = _OWN_TYPE.get(tensor.dtype, tensor.dtype) if dtype is None else dtype
    if not isinstance(name, str) or name not in MAP_TYPE_BYTES:
        raise PlanError(f"k.tensor_map dtype is {show(name)}; one of {', '.join(MAP_TYPE_BYTES)}")
    return name


def _geometry(tensor: ShapeTensor, dims: object, strides: object, width: int) -> tuple[list[int], list[int]]:
    """Extents and strides in elements of the map's type, x first; the innermost stride is 1 and left out."""
    if dims is None:
        if ELEMENT_BYTES[tensor.dtype] != width:
            raise PlanError("k.tensor_map: give dims, since dtype is not as wide as the tensor's")
        if strides is not None:
            raise PlanError("k.tensor_map: give dims together with strides")
        if not tensor.shape or tensor.strides[-1] != 1:
            raise PlanError(
                "k.tensor_map: the tensor's last dimension must be contiguous; give dims and strides"
            )
        return list(tensor.shape[::-1]), list(tensor.strides[-2::-1])
    sizes = list(integers(dims, "k.tensor_map dims", 1))
    if strides is not None:
        return sizes, list(integers(strides, "k.tensor_map strides", 1))
    packed, step = [], 1
    for extent in sizes[:-1]:
        step *= extent
        packed.append(step)
    return sizes, packed


def _im2col(given: dict[str, object]) -> dict[str, object]:
    found: dict[str, object] = {}
    for word in ("lower_corner", "upper_corner"):
        if word not in given:
            raise PlanError(f"k.tensor_map kind 'im2col' needs {word}")
        found[word] = integers(given.pop(word), f"k.tensor_map {word}", -(2**15))
    for word in ("channels_per_pixel", "pixels_per_column"):
        if word not in given:
            raise PlanError(f"k.tensor_map kind 'im2col' needs {word}")
        found[word] = integer(given.pop(word), f"k.tensor_map {word}", 1)
    return found
