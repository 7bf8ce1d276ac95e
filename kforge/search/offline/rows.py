"""Loops over one row: straight from memory in packs, from a tile in local memory, or kept in registers."""

from __future__ import annotations

from textwrap import indent

from kforge.search.offline.device_code import fill

TILE_FLOATS = 2048
KEPT = 16  # floats that each work-item keeps in registers

KEEP_WORDS = {
    "none": "rows are read again from cache in each pass",
    "local": f"the first {TILE_FLOATS} floats of a row wait in local memory",
    "registers": f"each work-item keeps {KEPT} floats of its row in registers",
}

# Partial sums are folded away every FOLD steps: long rows would lose digits in one running sum.
_PACKED = """\
for (int begin = 0; begin < @n@; begin += lanes * VEC * FOLD) {
  const int end = @n@ - begin < lanes * VEC * FOLD ? @n@ : begin + lanes * VEC * FOLD;
  for (int i = begin + lane * VEC; i + VEC <= end; i += lanes * VEC) {
    const pack v = load(x + i);
@packed@
  }
@fold@}
for (int i = @n@ - @n@ % VEC + lane; i < @n@; i += lanes) {
  const float v = x[i];
@edge@
}
"""
_TILED = """\
for (int begin = 0; begin < @n@; begin += lanes * FOLD) {
  const int end = @n@ - begin < lanes * FOLD ? @n@ : begin + lanes * FOLD;
  for (int i = begin + lane; i < end; i += lanes) {
    const float v = i < TILE ? tile[i] : x[i];
@rest@
  }
@fold@}
"""
_KEPT = """\
#pragma unroll
for (int j = 0; j < KEPT; ++j) {
  const int i = lane + j * lanes;
  if (i < @n@) {
    const float v = kept[j];
@rest@
  }
}
for (int begin = KEPT * lanes; begin < @n@; begin += lanes * FOLD) {
  const int end = @n@ - begin < lanes * FOLD ? @n@ : begin + lanes * FOLD;
@fold@  for (int i = begin + lane; i < end; i += lanes) {
    const float v = x[i];
@rest@
  }
}
"""
_FILL_TILE = """\
for (int i = lane; i < n && i < TILE; i += lanes) tile[i] = x[i];
sycl::group_barrier(it.get_group());
"""
_FILL_KEPT = """\
float kept[KEPT];
#pragma unroll
for (int j = 0; j < KEPT; ++j) {
  const int i = lane + j * lanes;
  kept[j] = i < n ? x[i] : 0.0f;
}
"""


def constants(keep: str) -> str:
    """Compile-time constants that the loops of ``keep`` need."""
    own = {"none": "", "local": f"constexpr int TILE = {TILE_FLOATS};\n"}
    return "constexpr int FOLD = 64;\n" + own.get(keep, f"constexpr int KEPT = {KEPT};\n")


def prepare(keep: str) -> str:
    """Statements before the first pass over ``x``, a row of ``n`` floats."""
    return {"none": "", "local": _FILL_TILE}.get(keep, _FILL_KEPT)


def each(keep: str, packed: str, rest: str, limit: str = "n", fold: str = "") -> str:
    """A pass over the first ``limit`` floats of a row.

    Args:
        keep: where the row waits between passes.
        packed: statements on ``pack v`` at index ``i``.
        rest: statements on ``float v`` at index ``i``.
        limit: name of the bound.
        fold: statement that moves the running sums to their totals.
    """
    text = {"none": _PACKED, "local": _TILED}.get(keep, _KEPT)
    return fill(
        text,
        n=limit,
        packed=indent(packed, "    "),
        rest=indent(rest, "    "),
        edge=indent(rest, "  "),
        fold=f"  {fold}\n" if fold else "",
    )


def local_params(keep: str) -> str:
    """Extra kernel parameters, with their leading comma."""
    return ", sycl::local_accessor<float, 1> tile" if keep == "local" else ""


def local_arguments(keep: str) -> str:
    """Extra launch arguments, with their leading comma."""
    return f', k.local("float32", {TILE_FLOATS})' if keep == "local" else ""
