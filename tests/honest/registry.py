"""Every honest candidate of the tests by id, track, language and style: what the referee must accept."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

from kforge.types import Language, Track
from tests.gpu.test_features import EXAMPLES

HERE = Path(__file__).parent
GPU_CANDIDATES = HERE.parent / "gpu" / "candidates"


@dataclass(frozen=True, slots=True)
class Honest:
    """One candidate.

    Attributes:
        id: language or track, then the file's name.
        style: first line of the file's docstring.
        task: id of a task, or the path of one.
        quick: whether it runs in the default tests rather than among the slow ones.
    """

    id: str
    track: Track
    language: Language | None
    style: str
    path: Path
    task: str
    size: str
    quick: bool


ROWS = str(HERE.parent / "eval" / "rows_task.py")
MOMENTS = str(HERE / "tasks" / "moments.py")
LARGEST = str(HERE / "tasks" / "largest.py")
HALF = str(HERE / "tasks" / "half_product.py")
# (task, size): file names below sycl/.
SYCL: dict[tuple[str, str], tuple[str, ...]] = {
    (ROWS, "full"): (
        "rows_local_tree", "rows_subgroup", "rows_two_kernels", "rows_one_item", "rows_vec_cast",
        "rows_in_place", "rows_many_launches", "rows_pointer_walk", "rows_welford", "rows_tune",
    ),
    ("kb/L1/19", "small"): ("relu_bits", "relu_copy_in_place"),
    ("kb/L1/91", "small"): ("scan_serial", "scan_blocks"),
    ("kb/L1/47", "small"): ("sum_columns", "sum_halving"),
    ("kb/L1/3", "small"): (
        "bmm_plain", "bmm_fp16", "bmm_bf16", "bmm_tf32", "bmm_double", "bmm_memset_slices", "bmm_atomics",
        "bmm_library",
    ),
    ("kb/L1/42", "small"): ("pool_direct",),
    ("kb/L2/76", "small"): ("linear_library_tail", "linear_own"),
    (MOMENTS, "full"): ("moments_two_outputs",),
    (LARGEST, "full"): ("largest_last",),
    (HALF, "full"): ("half_product",),
}  # fmt: skip
QUICK = frozenset(["rows_in_place", "rows_many_launches", "rows_welford"])
# (task, size): file names below cuda/; those of tests/gpu/candidates come from its own table.
CUDA: dict[tuple[str, str], tuple[str, ...]] = {
    ("kb/L1/19", "small"): (
        "relu_grid_stride", "relu_ptx", "relu_two_halves",
        "relu_in_place_passes", "relu_async_copy",
    ),
    ("kb/L1/23", "small"): (
        "softmax_online", "softmax_three_kernels", "softmax_cooperative",
        "softmax_tune",
    ),
    ("kb/L1/1", "small"): (
        "matmul_plain", "matmul_tiles", "matmul_atomics",
        "matmul_half2", "matmul_kahan",
    ),
    ("kb/L1/91", "small"): (
        "scan_warp", "scan_cub",
    ),
    ("kb/L2/76", "small"): (
        "linear_library_tail", "linear_warp_dots",
    ),
}  # fmt: skip
# (task, size): file names below open/, each with a ModelNew.
OPEN: dict[tuple[str, str], tuple[str, ...]] = {
    ("kb/L1/19", "small"): ("relu_clamp", "relu_where_functional", "relu_chunks_out",),
    ("kb/L1/23", "small"): ("softmax_by_hand", "softmax_logsumexp", "softmax_script",),
    ("kb/L1/36", "small"): ("rms_flat",),
    ("kb/L1/91", "small"): ("scan_by_total",),
    ("kb/L2/76", "small"): ("linear_functional", "linear_addmm",),
}  # fmt: skip


def style(path: Path) -> str:
    """What a file says of itself."""
    return (ast.get_docstring(ast.parse(path.read_text())) or "").splitlines()[0]


def _sealed(language: Language, path: Path, pool: tuple[str, str], *, quick: bool = False) -> Honest:
    return Honest(f"{language}/{path.stem}", "sealed", language, style(path), path, *pool, quick)


def honest() -> tuple[Honest, ...]:
    """All of them."""
    found = [
        _sealed("sycl", HERE / "sycl" / f"{name}.py", pool, quick=name in QUICK)
        for pool, names in SYCL.items()
        for name in names
    ]
    for table, folder in ((EXAMPLES, GPU_CANDIDATES), (CUDA, HERE / "cuda")):
        found += [_sealed("cuda", folder / f"{n}.py", pool) for pool, names in table.items() for n in names]
    for pool, names in OPEN.items():
        for name in names:
            path = HERE / "open" / f"{name}.py"
            found.append(Honest(f"open/{name}", "open", None, style(path), path, *pool, False))
    return tuple(found)
