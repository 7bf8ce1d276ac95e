"""Does the compiled kernel take what the source declares? Parameters of the SPIR-V entry points.

The signature is parsed from text, which macros can bend; the compiled module cannot lie. A launch is bound to
the declared types, so both must agree parameter by parameter.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

from kforge.eval import spirv
from kforge.eval.facts import KERNEL_PREFIX
from kforge.eval.parameter_types import (
    SCALAR_BYTES,
    ArrayType,
    LocalType,
    ParameterType,
    PointerType,
    ScalarParameter,
    StructType,
    TensorMapType,
)
from kforge.eval.signature import Signature
from kforge.types import ScreenedOut

_BY_VALUE = "by value"  # a class type: the parameter is a pointer to a private copy
_STORAGE = {5: "global pointer", 8: "global pointer", 4: "local pointer", 7: _BY_VALUE}
# The runtime passes a local_accessor as its memory, two ranges and an id.
_LOCAL_ACCESSOR = ("local pointer", _BY_VALUE, _BY_VALUE, _BY_VALUE)


def compiled_parameters(data: bytes) -> dict[str, tuple[str, ...]]:
    """Kernel name to its parameters as compiled, such as ``("global pointer", "i32")``.

    Raises:
        ValueError: not a well-formed module.
    """
    module = spirv.parse(data)
    names = {function: name.removeprefix(KERNEL_PREFIX) for name, function in module.entry_points.items()}
    found: dict[str, list[str]] = {name: [] for name in names.values()}
    current: str | None = None
    for instruction in spirv.instructions(data):
        if instruction.opcode == spirv.Op.Function:
            current = names.get(instruction.words[1])
        elif instruction.opcode == spirv.Op.FunctionParameter and current is not None:
            found[current].append(_compiled(module, instruction.words[0]))
    return {name: tuple(parameters) for name, parameters in found.items()}


def _compiled(module: spirv.Module, type_id: int) -> str:
    opcode, words = module.types.get(type_id, (0, ()))
    if opcode == spirv.Op.TypeInt:
        return f"i{words[0]}"
    if opcode == spirv.Op.TypeFloat:
        return f"f{words[0]}"
    if opcode in spirv.POINTER_TYPES and words:
        return _STORAGE.get(words[0], f"pointer of class {words[0]}")
    return f"type {opcode}"


def _declared(parameter: ParameterType) -> tuple[tuple[str, ...], ...]:
    """The compiled forms that a declared type may take."""
    match parameter:
        case PointerType():
            return (("global pointer",),)
        case LocalType(form="local_accessor"):
            return (_LOCAL_ACCESSOR,)
        case LocalType():
            return (("local pointer",),)
        case ScalarParameter(type="f16" | "bf16"):
            return ((_BY_VALUE,), ("f16",), ("i16",))
        case ScalarParameter(type="f32" | "f64" as kind):
            return ((kind,),)
        case ScalarParameter(type=kind):
            return ((f"i{8 * SCALAR_BYTES[kind]}",),)
        case TensorMapType() | StructType() | ArrayType():
            raise AssertionError("the SYCL signature parser resolves to no such type")
        case _:
            assert_never(parameter)


def check_layout(modules: Iterable[bytes], launched: Iterable[Signature]) -> ScreenedOut | None:
    """Compare every launched kernel's declared parameters with its compiled ones.

    Raises:
        ValueError: a module is not well-formed SPIR-V.
    """
    compiled: dict[str, tuple[str, ...]] = {}
    for data in modules:
        compiled |= compiled_parameters(data)
    for signature in launched:
        rest = compiled.get(signature.name)
        if rest is None:
            return ScreenedOut(f"the compiled module has no kernel {signature.name!r}", "layout")
        for position, parameter in enumerate(signature.parameters):
            form = next((f for f in _declared(parameter.type) if rest[: len(f)] == f), None)
            if form is None:
                got = rest[0] if rest else "nothing"
                return ScreenedOut(
                    f"kernel {signature.name}: parameter {position} ({parameter.text}) was compiled as "
                    f"{got}; write the type out, without macros that change it",
                    "layout",
                )
            rest = rest[len(form) :]
        if rest:
            extra = f"was compiled with {len(rest)} more parameters than it declares"
            return ScreenedOut(f"kernel {signature.name} {extra}", "layout")
    return None
