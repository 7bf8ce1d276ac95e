"""TMA descriptors, encoded by the driver from a plan's validated description.

Source: CUDA driver API, "Tensor Map Object Management".
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any

from kforge.eval.cuda_driver import call, driver

TENSOR_MAP_BYTES = 128


def encode(described: Mapping[str, Any], address: int) -> bytes:
    """The 128 bytes of a tensor map.

    Args:
        described: a plan's ``TensorMap`` as JSON data; extents were checked against the buffer.
        address: of the tensor's first element.

    Raises:
        CudaFailed: the driver refuses the combination.
    """
    api = driver()
    words = {
        "dtype": getattr(api.CUtensorMapDataType, f"CU_TENSOR_MAP_DATA_TYPE_{described['dtype'].upper()}"),
        "interleave": _member(api.CUtensorMapInterleave, "CU_TENSOR_MAP_INTERLEAVE", described["interleave"]),
        "swizzle": _member(api.CUtensorMapSwizzle, "CU_TENSOR_MAP_SWIZZLE", described["swizzle"]),
        "l2": _member(api.CUtensorMapL2promotion, "CU_TENSOR_MAP_L2_PROMOTION", described["l2_promotion"]),
        "oob": {
            "none": api.CUtensorMapFloatOOBfill.CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
            "nan": api.CUtensorMapFloatOOBfill.CU_TENSOR_MAP_FLOAT_OOB_FILL_NAN_REQUEST_ZERO_FMA,
        }[described["oob_fill"]],
    }
    rank, start = len(described["dims"]), address + int(described["offset_bytes"])
    dims = [api.cuuint64_t(int(n)) for n in described["dims"]]
    strides = [api.cuuint64_t(int(n)) for n in described["strides_bytes"]]
    steps = [api.cuuint32_t(int(n)) for n in described["element_strides"]]
    if described["map_kind"] == "tiled":
        box = [api.cuuint32_t(int(n)) for n in described["box"]]
        result = api.cuTensorMapEncodeTiled(
            words["dtype"], rank, start, dims, strides, box, steps,
            words["interleave"], words["swizzle"], words["l2"], words["oob"],
        )  # fmt: skip
    else:
        result = api.cuTensorMapEncodeIm2col(
            words["dtype"], rank, start, dims, strides,
            [int(n) for n in described["lower_corner"]], [int(n) for n in described["upper_corner"]],
            int(described["channels_per_pixel"]), int(described["pixels_per_column"]), steps,
            words["interleave"], words["swizzle"], words["l2"], words["oob"],
        )  # fmt: skip
    made = call(result, f"encoding a {described['map_kind']} tensor map")
    return ctypes.string_at(made.getPtr(), TENSOR_MAP_BYTES)


def _member(kind: Any, prefix: str, word: str) -> Any:  # noqa: ANN401
    """``"128b"`` is ``PREFIX_128B``; L2 promotions are written ``L2_128B`` there."""
    name = word.upper()
    if prefix.endswith("L2_PROMOTION") and word != "none":
        name = f"L2_{name}"
    return getattr(kind, f"{prefix}_{name}")
