"""Reads the SPIR-V out of a SYCLBIN.

Format: LLVM's OffloadBinary (magic 0x10FF10AD, version 2) around a SYCLBIN block
(https://intel.github.io/llvm/design/SYCLBINDesign.html). Every offset is checked: the file comes from a
compiler that read hostile source.
"""

from __future__ import annotations

import struct

_OFFLOAD_MAGIC = b"\x10\xff\x10\xad"
_SYCLBIN_MAGIC = 0x53594249
_SPIRV_MAGIC = b"\x03\x02\x23\x07"


def spirv_modules(data: bytes) -> tuple[bytes, ...]:
    """All SPIR-V modules of a SYCLBIN in object state.

    Raises:
        ValueError: the bytes are not a SYCLBIN, or hold no SPIR-V.
    """
    start = _syclbin_start(data)
    try:
        magic, _version, n_abstract, n_ir, n_native, _pad = struct.unpack_from("<6I", data, start)
        metadata_bytes, binary_bytes, _offset, _size = struct.unpack_from("<4Q", data, start + 24)
    except (struct.error, OverflowError) as error:
        raise ValueError(f"truncated SYCLBIN header: {error}") from error
    if magic != _SYCLBIN_MAGIC:
        raise ValueError(f"not a SYCLBIN: magic {magic:#x}")
    ir_headers = start + 56 + 32 * n_abstract
    # Each table starts at a multiple of 8 bytes from the start of the block.
    metadata_start = _align8(ir_headers + 32 * (n_ir + n_native) - start) + start
    binary_start = _align8(metadata_start + metadata_bytes - start) + start
    modules = []
    for index in range(n_ir):
        try:
            _mo, _ms, offset, size = struct.unpack_from("<4Q", data, ir_headers + 32 * index)
        except (struct.error, OverflowError) as error:
            raise ValueError(f"truncated SYCLBIN module header {index}") from error
        if offset + size > binary_bytes or binary_start + offset + size > len(data):
            raise ValueError(f"SYCLBIN module {index} lies outside the file")
        module = data[binary_start + offset : binary_start + offset + size]
        if module.startswith(_SPIRV_MAGIC):
            modules.append(module)
    if not modules:
        raise ValueError("the SYCLBIN holds no SPIR-V module")
    return tuple(modules)


def _syclbin_start(data: bytes) -> int:
    if not data.startswith(_OFFLOAD_MAGIC):
        return 0
    try:
        (entries,) = struct.unpack_from("<Q", data, 16)
        image_offset, _image_size = struct.unpack_from("<2Q", data, entries + 24)
    except (struct.error, OverflowError) as error:
        raise ValueError("truncated offload binary") from error
    return int(image_offset)


def _align8(value: int) -> int:
    return (value + 7) & ~7
