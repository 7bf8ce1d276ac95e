"""A call of ``load_inline`` or ``load`` as plain data, told apart by its content.

The recorder, the candidate's process and the driver must agree on what a call is, so all three build it here.
Standard library only: it runs before torch is imported.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

HEADER_SUFFIXES = (".h", ".hpp", ".hh", ".hxx", ".cuh", ".inl", ".inc")
CUDA_SUFFIXES = (".cu",)
CXX_SUFFIXES = (".cpp", ".cc", ".cxx", ".c")
MAX_FILES = 200
MAX_BYTES = 4 << 20
_NAME = re.compile(r"[A-Za-z_]\w{0,199}", re.ASCII)


class UnusableCall(ValueError):
    """The arguments make no extension; the message is for the candidate's author."""


@dataclass(frozen=True, slots=True)
class InlineSources:
    """What ``load_inline`` is given.

    Attributes:
        cpp: C++ texts, joined into one file.
        cuda: CUDA texts, joined into one file; empty: none.
        functions: (name, docstring) of functions to bind; None: the text holds its own PYBIND11_MODULE.
        implicit_headers: torch's headers are put before the text.
        wrap_errors: bound functions translate torch's exceptions.
    """

    cpp: tuple[str, ...]
    cuda: tuple[str, ...]
    functions: tuple[tuple[str, str], ...] | None
    implicit_headers: bool
    wrap_errors: bool


@dataclass(frozen=True, slots=True)
class FileSources:
    """What ``load`` finds: the candidate's own files.

    Attributes:
        files: (path, text) of sources and of the headers beside them; paths are relative.
        compiled: paths among ``files`` that are compiled.
        include: relative directories that the compiler searches.
    """

    files: tuple[tuple[str, str], ...]
    compiled: tuple[str, ...]
    include: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ExtensionCall:
    """One extension as the candidate asks for it."""

    name: str
    sources: InlineSources | FileSources
    cflags: tuple[str, ...]
    cuda_cflags: tuple[str, ...]
    ldflags: tuple[str, ...]
    with_cuda: bool
    python_module: bool

    @property
    def digest(self) -> str:
        """Content address of the call: equal arguments, equal digest, in every process."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    @property
    def uses_cuda(self) -> bool:
        """Whether nvcc has anything to do."""
        match self.sources:
            case InlineSources():
                return bool(self.sources.cuda)
            case FileSources():
                return any(path.endswith(CUDA_SUFFIXES) for path in self.sources.compiled)

    def to_json(self) -> dict[str, object]:
        """Plain data; ``extensions.read_call`` reads it again."""
        return asdict(self)


def inline_call(  # noqa: PLR0917 - torch's own signature: candidates pass arguments by position
    name: object,
    cpp_sources: object,
    cuda_sources: object = None,
    sycl_sources: object = None,
    functions: object = None,
    extra_cflags: object = None,
    extra_cuda_cflags: object = None,
    extra_sycl_cflags: object = None,
    extra_ldflags: object = None,
    extra_include_paths: object = None,
    build_directory: object = None,
    verbose: object = False,
    with_cuda: object = None,
    with_sycl: object = None,
    is_python_module: object = True,
    with_pytorch_error_handling: object = True,
    keep_intermediates: object = True,
    use_pch: object = False,
    no_implicit_headers: object = False,
) -> ExtensionCall:
    """The call that ``torch.utils.cpp_extension.load_inline`` with these arguments is.

    Raises:
        UnusableCall: an argument has the wrong type, or asks for what this track does not build.
    """
    if sycl_sources or with_sycl:
        raise UnusableCall("load_inline: SYCL extensions are not built in the open track; use --track sealed")
    if _texts("extra_include_paths", extra_include_paths):
        raise UnusableCall("load_inline: extra_include_paths names directories that do not exist here")
    cuda = _texts("cuda_sources", cuda_sources)
    sources = InlineSources(
        cpp=_texts("cpp_sources", cpp_sources),
        cuda=cuda if any(text.strip() for text in cuda) else (),
        functions=_functions(functions),
        implicit_headers=not no_implicit_headers,
        wrap_errors=bool(with_pytorch_error_handling),
    )
    return ExtensionCall(
        name=_checked_name(name),
        sources=sources,
        cflags=_flags("extra_cflags", extra_cflags),
        cuda_cflags=_flags("extra_cuda_cflags", extra_cuda_cflags),
        ldflags=_flags("extra_ldflags", extra_ldflags),
        with_cuda=bool(sources.cuda) if with_cuda is None else bool(with_cuda),
        python_module=bool(is_python_module),
    )


def files_call(  # noqa: PLR0917 - torch's own signature
    name: object,
    sources: object,
    extra_cflags: object = None,
    extra_cuda_cflags: object = None,
    extra_sycl_cflags: object = None,
    extra_ldflags: object = None,
    extra_include_paths: object = None,
    build_directory: object = None,
    verbose: object = False,
    with_cuda: object = None,
    with_sycl: object = None,
    is_python_module: object = True,
    is_standalone: object = False,
    keep_intermediates: object = True,
) -> ExtensionCall:
    """The call that ``torch.utils.cpp_extension.load`` with these arguments is; reads the files it names.

    Raises:
        UnusableCall: an argument has the wrong type, a file cannot be read, or there is too much of it.
    """
    if is_standalone or with_sycl:
        raise UnusableCall("load: only extension modules for CPU and CUDA are built")
    compiled = [Path(os.path.abspath(path)) for path in _texts("sources", sources)]
    if not compiled:
        raise UnusableCall("load: sources is empty")
    include = [Path(os.path.abspath(path)) for path in _texts("extra_include_paths", extra_include_paths)]
    found = _read_tree(compiled, include)
    cuda = any(path.suffix in CUDA_SUFFIXES for path in compiled)
    return ExtensionCall(
        name=_checked_name(name),
        sources=found,
        cflags=_flags("extra_cflags", extra_cflags),
        cuda_cflags=_flags("extra_cuda_cflags", extra_cuda_cflags),
        ldflags=_flags("extra_ldflags", extra_ldflags),
        with_cuda=cuda if with_cuda is None else bool(with_cuda),
        python_module=bool(is_python_module),
    )


def _read_tree(compiled: Sequence[Path], include: Sequence[Path]) -> FileSources:
    """Sources and the headers beside them and in the include directories, below their common directory.

    Paths become relative, so that the same files in another scratch directory are the same call.
    """
    folders = [path.parent for path in compiled] + list(include)
    root = Path(os.path.commonpath([str(folder) for folder in folders]))
    wanted = dict.fromkeys(compiled)
    for folder in dict.fromkeys(folders):
        if folder == Path("/"):
            continue
        wanted.update(dict.fromkeys(sorted(p for p in folder.rglob("*") if p.suffix in HEADER_SUFFIXES)))
        if len(wanted) > MAX_FILES:
            raise UnusableCall(f"load: more than {MAX_FILES} files beside the sources")
    files: dict[str, str] = {}
    for path in wanted:
        if path.suffix not in (*HEADER_SUFFIXES, *CUDA_SUFFIXES, *CXX_SUFFIXES):
            raise UnusableCall(f"load: {path.name} is no C++ or CUDA source")
        try:
            files[str(path.relative_to(root))] = path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise UnusableCall(f"load: {path.name} cannot be read: {error}") from error
        if sum(map(len, files.values())) > MAX_BYTES:
            raise UnusableCall(f"load: more than {MAX_BYTES >> 20} MiB of sources")
    return FileSources(
        files=tuple(sorted(files.items())),
        compiled=tuple(str(path.relative_to(root)) for path in compiled),
        include=tuple(dict.fromkeys(str(folder.relative_to(root)) for folder in folders)),
    )


def _checked_name(name: object) -> str:
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise UnusableCall(f"the extension's name {str(name)[:80]!r} is no identifier")
    return name


def _texts(what: str, value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,)
    if isinstance(value, os.PathLike):
        return (os.fspath(value),)
    if not isinstance(value, Iterable):
        raise UnusableCall(f"{what} is a {type(value).__name__}; give a string or a list of strings")
    texts = tuple(os.fspath(item) if isinstance(item, os.PathLike) else item for item in value)
    if not all(isinstance(item, str) for item in texts):
        raise UnusableCall(f"{what} holds something that is no string")
    if sum(map(len, texts)) > MAX_BYTES:
        raise UnusableCall(f"{what} is longer than {MAX_BYTES >> 20} MiB")
    return tuple(str(item) for item in texts)


def _flags(what: str, value: object) -> tuple[str, ...]:
    """Flags without blanks around them; empty ones are dropped, as a shell would."""
    return tuple(flag.strip() for flag in _texts(what, value) if flag.strip())


def _functions(value: object) -> tuple[tuple[str, str], ...] | None:
    if value is None:
        return None
    pairs = (
        tuple((str(name), str(text)) for name, text in value.items())
        if isinstance(value, Mapping)
        else tuple((name, name) for name in _texts("functions", value))
    )
    for name, _ in pairs:
        if _NAME.fullmatch(name) is None:
            raise UnusableCall(f"functions: {name[:80]!r} is no function name")
    return pairs
