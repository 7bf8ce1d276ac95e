"""What a cubin says of itself: kernels, parameters as compiled, resources, symbols. Safe on hostile input.

ELF64 with NVIDIA's ``.nv.info`` attributes, laid out as the CUDA binary utilities print them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_SYMTAB = 2
_OBJECT, _FUNCTION = 1, 2
_FORMAT_SIZED = 4
_PARAMETER, _REGISTERS, _FRAME, _MAX_THREADS, _PARAMETER_BANK = 0x17, 0x2F, 0x11, 0x05, 0x0A
MAX_SECTIONS = 65_535
# Every Hopper kernel reports this much shared memory even if it uses none.
RESERVED_SHARED_BYTES = 1024


@dataclass(frozen=True, slots=True)
class CompiledParameter:
    """One kernel parameter: where it lies in the parameter block, and its size, in bytes."""

    offset: int
    size: int


@dataclass(slots=True)
class CompiledKernel:
    """One kernel as compiled.

    Attributes:
        parameters: in declaration order.
        frame_bytes: stack per thread: local arrays and spilled registers.
        static_shared_bytes: without the reserved kilobyte.
        max_threads: of ``__launch_bounds__``; None without.
        parameter_base: byte offset of the first parameter in constant bank 0; None where it is not said.
    """

    parameters: list[CompiledParameter] = field(default_factory=list)
    registers: int = 0
    frame_bytes: int = 0
    static_shared_bytes: int = 0
    max_threads: int | None = None
    parameter_base: int | None = None


@dataclass(frozen=True, slots=True)
class Variable:
    """A named object in device memory that the module itself defines."""

    name: str
    section: str
    size: int

    @property
    def in_memory(self) -> bool:
        """Whether it lies in device memory: global or constant, not shared, local or debugging data."""
        return self.section.startswith((".nv.global", ".nv.constant"))


@dataclass(frozen=True, slots=True)
class Cubin:
    """A parsed cubin.

    Attributes:
        undefined: names it calls and does not define, such as ``malloc``.
    """

    kernels: dict[str, CompiledKernel]
    variables: tuple[Variable, ...]
    undefined: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Section:
    name: str
    kind: int
    size: int
    data: bytes
    link: int


def parse(image: bytes, reserved_bytes: int = RESERVED_SHARED_BYTES) -> Cubin:
    """Read a cubin.

    Args:
        image: the file.
        reserved_bytes: of every kernel's shared memory that are the system's: none before Hopper.

    Raises:
        ValueError: it is not well-formed.
    """
    try:
        sections = _sections(image)
        return _read(sections, reserved_bytes)
    except (struct.error, IndexError, OverflowError) as error:
        raise ValueError(f"not a well-formed cubin: {error}") from error


def _sections(image: bytes) -> list[_Section]:
    header = _HEADER.unpack_from(image)
    if header[0][:5] != b"\x7fELF\x02":
        raise ValueError("not a 64-bit ELF file")
    start, count, names_at = header[6], header[12], header[13]
    if not 0 < count <= MAX_SECTIONS:
        raise ValueError(f"{count} sections")
    raw = [_SECTION.unpack_from(image, start + index * _SECTION.size) for index in range(count)]
    names = _content(image, raw[names_at])
    # Uninitialised sections have a size and no content.
    return [
        _Section(_text(names, r[0]), r[1], r[5], b"" if r[1] == 8 else _content(image, r), r[6]) for r in raw
    ]


def _content(image: bytes, raw: tuple[int, ...]) -> bytes:
    if raw[1] == 8:
        return b""
    if raw[4] + raw[5] > len(image):
        raise ValueError("a section ends behind the file")
    return image[raw[4] : raw[4] + raw[5]]


def _text(table: bytes, offset: int) -> str:
    end = table.find(b"\0", offset)
    if end < 0:
        raise ValueError("a name is not terminated")
    return table[offset:end].decode("utf-8", "replace")


def _read(sections: list[_Section], reserved_bytes: int) -> Cubin:
    kernels = {s.name[6:]: CompiledKernel() for s in sections if s.name.startswith(".text.")}
    symbols = [entry for s in sections if s.kind == _SYMTAB for entry in _symbols(s, sections)]
    for section in sections:
        if section.name.startswith(".nv.info."):
            _read_kernel(section.data, kernels.setdefault(section.name[9:], CompiledKernel()))
        elif section.name == ".nv.info":
            _read_resources(section.data, kernels, symbols)
        elif section.name.startswith(".nv.shared.") and section.name[11:] in kernels:
            static = max(0, section.size - reserved_bytes)
            kernels[section.name[11:]].static_shared_bytes = static
    variables = tuple(Variable(name, place, size) for name, kind, place, size in symbols if kind == _OBJECT)
    undefined = tuple(
        name for name, kind, place, _ in symbols if place == "" and name and kind in (0, _FUNCTION)
    )
    return Cubin(kernels, variables, undefined)


def _symbols(section: _Section, sections: list[_Section]) -> Iterator[tuple[str, int, str, int]]:
    """(name, type, section name, size); the section is empty for undefined symbols."""
    names = sections[section.link].data
    for at in range(0, len(section.data), _SYMBOL.size):
        name, info, _, index, _, size = _SYMBOL.unpack_from(section.data, at)
        place = sections[index].name if 0 < index < len(sections) else ""
        yield _text(names, name), info & 0xF, place, size


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(data):
        form, attribute, value = struct.unpack_from("<BBH", data, at)
        at += 4
        if form == _FORMAT_SIZED:
            yield attribute, data[at : at + value]
            at += value


def _read_kernel(data: bytes, kernel: CompiledKernel) -> None:
    found: dict[int, CompiledParameter] = {}
    for attribute, payload in _attributes(data):
        if attribute == _PARAMETER:
            _, ordinal, offset, flags = struct.unpack("<IHHI", payload)
            found[ordinal] = CompiledParameter(offset, flags >> 18)
        elif attribute == _MAX_THREADS:
            x, y, z = struct.unpack("<III", payload)
            kernel.max_threads = x * y * z
        elif attribute == _PARAMETER_BANK:
            _, kernel.parameter_base, _ = struct.unpack("<IHH", payload)
    kernel.parameters = [found[ordinal] for ordinal in sorted(found)]


def _read_resources(
    data: bytes, kernels: dict[str, CompiledKernel], symbols: list[tuple[str, int, str, int]]
) -> None:
    for attribute, payload in _attributes(data):
        if attribute not in (_REGISTERS, _FRAME):
            continue
        index, value = struct.unpack("<II", payload)
        kernel = kernels.get(symbols[index][0])
        if kernel is None:
            continue
        if attribute == _REGISTERS:
            kernel.registers = value
        else:
            kernel.frame_bytes = value
