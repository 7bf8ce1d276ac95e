"""Every launch argument against its kernel's parameter: exact types, or a reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import assert_never

from kforge.eval.launch_check import Refused
from kforge.eval.parameter_types import (
    ELEMENTS,
    SCALAR_BYTES,
    ArrayType,
    LocalType,
    ParameterType,
    PointerType,
    ScalarParameter,
    StructType,
    TensorMapType,
    alignment_bytes,
)
from kforge.eval.plan import (
    GIVEN_ROLES,
    ArrayArg,
    BoolArg,
    BoundArg,
    BoundArray,
    BoundField,
    BoundLocal,
    BoundPlan,
    BoundScalar,
    BoundStruct,
    BoundTensor,
    BoundTensorMap,
    CopyStep,
    FloatArg,
    IntArg,
    LaunchArg,
    LaunchPlan,
    LaunchStep,
    LocalArg,
    MemsetStep,
    OpStep,
    ScalarType,
    Step,
    StructArg,
    TensorArg,
    TensorMapArg,
    TypedArg,
)
from kforge.eval.signature import Signature, Signatures
from kforge.types import DTYPE_BYTES, ScreenedOut

_FLOAT_LIMITS = {"f16": 65504.0, "bf16": 3.3895313892515355e38, "f32": 3.4028234663852886e38}


def check_arguments(plan: LaunchPlan, signatures: Signatures) -> BoundPlan | ScreenedOut:
    """Resolve every launch argument to exactly what its kernel declares.

    Also decides what only const-ness can tell: inputs go to const pointers only, a kernel reads nothing
    that was never written, and every output is written by a launch.

    Args:
        plan: a validated plan.
        signatures: of the device code that it launches.
    """
    written = {s.id for s in plan.storages if s.role in (*GIVEN_ROLES, "zeros")}
    launched: set[int] = set()
    launches = []
    try:
        for step in plan.steps:
            if isinstance(step, LaunchStep):
                bound = _bind(plan, step, _find(step, signatures))
                _follow(plan, step, bound, written)
                launched |= {
                    plan.tensors[tensor].storage
                    for arg in bound
                    for tensor, writable in _given(arg)
                    if writable
                }
                launches.append(bound)
            else:
                written.add(_target(plan, step))
    except Refused as refusal:
        return refusal.outcome
    for index, output in enumerate(plan.outputs):
        if plan.tensors[output].storage not in launched:
            return ScreenedOut(
                f"output {index} is written by no kernel: it only goes to const pointers", "outputs"
            )
    return BoundPlan(plan, tuple(launches))


def _target(plan: LaunchPlan, step: Step) -> int:
    match step:
        case OpStep(out=tensor) | MemsetStep(tensor=tensor) | CopyStep(dst=tensor):
            return plan.tensors[tensor].storage
        case LaunchStep():
            raise AssertionError("launches are followed by their arguments")
        case _:
            assert_never(step)


def _find(step: LaunchStep, signatures: Signatures) -> Signature:
    what = f"k.launch({step.kernel!r})"
    found = signatures.kernels.get(step.kernel)
    if found is None:
        if step.kernel in signatures.skipped:
            raise Refused("signature", f"{what}: {signatures.skipped[step.kernel]}")
        names = ", ".join(signatures.kernels) or "none"
        why = "".join(f"; {reason}" for reason in list(signatures.skipped.values())[:3])
        raise Refused("kernel_name", f"{what}: SOURCE has no such kernel; its kernels are: {names}{why}")
    if found.dimensions is not None and isinstance(step.grid, tuple) and len(step.grid) != found.dimensions:
        raise Refused("grid", f"{what}: grid has {len(step.grid)} dimensions, the kernel is declared "
                       f"nd_range_kernel<{found.dimensions}>")  # fmt: skip
    if len(step.args) != len(found.parameters):
        listed = ", ".join(parameter.text for parameter in found.parameters)
        raise Refused("arguments", f"{what}: {len(step.args)} arguments for {len(found.parameters)} "
                       f"parameters ({listed})")  # fmt: skip
    return found


def _bind(plan: LaunchPlan, step: LaunchStep, signature: Signature) -> tuple[BoundArg, ...]:
    bound = []
    for index, (arg, parameter) in enumerate(zip(step.args, signature.parameters, strict=True)):
        what = f"k.launch({step.kernel!r}) argument {index} (`{parameter.text}`)"
        bound.append(_argument(plan, arg, parameter.type, what))
    return tuple(bound)


def _argument(plan: LaunchPlan, arg: LaunchArg, kind: ParameterType, what: str) -> BoundArg:
    match kind:
        case PointerType():
            if not isinstance(arg, TensorArg):
                raise Refused("arguments", f"{what} is a pointer and gets {_show(arg)}; pass a tensor")
            return _tensor(plan, arg, kind, what)
        case LocalType():
            if not isinstance(arg, LocalArg):
                raise Refused(
                    "arguments", f"{what} is local memory and gets {_show(arg)}; pass k.local(dtype, n)"
                )
            if kind.element not in ELEMENTS[arg.dtype]:
                raise Refused(
                    "arguments", f"{what} gets k.local of {arg.dtype}, which is not its element type"
                )
            return BoundLocal(kind.form, arg.dtype, arg.count, arg.count * DTYPE_BYTES[arg.dtype])
        case ScalarParameter():
            return _scalar(arg, kind.type, what)
        case TensorMapType() | StructType() | ArrayType():
            return _composite(plan, arg, kind, what)
        case _:
            assert_never(kind)


def _composite(
    plan: LaunchPlan, arg: LaunchArg, kind: TensorMapType | StructType | ArrayType, what: str
) -> BoundArg:
    match kind, arg:
        case TensorMapType(), TensorMapArg():
            return _tensor_map(plan, arg, what)
        case StructType(), StructArg():
            return _struct(plan, arg, what)
        case ArrayType(), ArrayArg():
            return _array(plan, arg, kind, what)
        case TensorMapType(), _:
            wanted = "is a tensor map: pass k.tensor_map(...)"
        case StructType(), _:
            wanted = "is a struct: pass k.struct(...)"
        case _:
            wanted = "is an array: pass k.pointers([...]) or k.tensor_maps([...])"
    raise Refused("arguments", f"{what} {wanted}, not {_show(arg)}")


def _tensor_map(plan: LaunchPlan, arg: TensorMapArg, what: str) -> BoundTensorMap:
    storage = plan.storage_of(arg.id)
    tensor = plan.tensors[arg.id]
    start = tensor.offset * DTYPE_BYTES[tensor.dtype] + arg.map.offset_bytes
    if start % 16 or storage.align % 16:
        raise Refused("alignment", f"{what}: a tensor map's memory must begin at a multiple of 16 bytes")
    # Copies through a map of the task's own data can only be loads: stores are found by comparing afterwards.
    return BoundTensorMap(arg.id, arg.map, writable=storage.role not in GIVEN_ROLES)


def _struct(plan: LaunchPlan, arg: StructArg, what: str) -> BoundStruct:
    """C layout: every member at a multiple of its own size, the whole padded to the widest."""
    position, widest = 0, 1
    fields: list[BoundField] = []
    for member in arg.fields:
        bound: BoundTensor | BoundScalar
        if isinstance(member, TensorArg):
            # What a pointer in a struct points to is not in the signature, so it may be written through.
            bound, size = (
                BoundTensor(member.id, writable=plan.storage_of(member.id).role not in GIVEN_ROLES),
                8,
            )
        else:
            bound, size = _scalar(member, member.type, what), SCALAR_BYTES[member.type]
        position = -(-position // size) * size
        fields.append(BoundField(position, bound))
        position, widest = position + size, max(widest, size)
    return BoundStruct(-(-position // widest) * widest, widest, tuple(fields))


def _array(plan: LaunchPlan, arg: ArrayArg, kind: ArrayType, what: str) -> BoundArray:
    wanted = "k.pointers([...])" if kind.form == "pointer" else "k.tensor_maps([...])"
    items: list[BoundTensor | BoundTensorMap] = []
    for item in arg.items:
        if isinstance(item, TensorArg) and kind.element is not None:
            items.append(_tensor(plan, item, kind.element, what))
        elif isinstance(item, TensorMapArg) and kind.element is None:
            items.append(_tensor_map(plan, item, what))
        else:
            raise Refused("arguments", f"{what}: pass {wanted}")
    return BoundArray(tuple(items))


def _tensor(plan: LaunchPlan, arg: TensorArg, kind: PointerType, what: str) -> BoundTensor:
    tensor, storage = plan.tensors[arg.id], plan.storage_of(arg.id)
    if kind.element is not None and kind.element not in ELEMENTS[tensor.dtype]:
        raise Refused("arguments", f"{what} gets a {tensor.dtype} tensor; the element types differ")
    start_bytes = tensor.offset * DTYPE_BYTES[tensor.dtype]
    needed = alignment_bytes(kind, plan.language)
    if start_bytes % needed or storage.align % needed:
        raise Refused("alignment", f"{what} needs {needed}-byte alignment; the tensor starts at byte "
                       f"{start_bytes} of memory aligned to {storage.align}")  # fmt: skip
    if storage.role in GIVEN_ROLES and not kind.const:
        name = f"{storage.role} {storage.name}"
        raise Refused("read_only", f"{what} gets {name}: inputs are read-only, declare the parameter const")
    return BoundTensor(arg.id, writable=not kind.const)


def _given(arg: BoundArg) -> Iterator[tuple[int, bool]]:
    """(tensor id, writable) of everything that an argument gives a kernel."""
    match arg:
        case BoundTensor(id=tensor, writable=writable) | BoundTensorMap(id=tensor, writable=writable):
            yield tensor, writable
        case BoundStruct(fields=fields):
            for member in fields:
                yield from _given(member.arg)
        case BoundArray(items=items):
            for item in items:
                yield from _given(item)
        case BoundScalar() | BoundLocal():
            return
        case _:
            assert_never(arg)


def _follow(plan: LaunchPlan, step: LaunchStep, bound: Sequence[BoundArg], written: set[int]) -> None:
    tensors = [(index, *given) for index, arg in enumerate(bound) for given in _given(arg)]
    for _, tensor, writable in tensors:
        if writable:
            written.add(plan.tensors[tensor].storage)
    for index, tensor, _ in tensors:
        if plan.tensors[tensor].storage not in written:
            raise Refused("unwritten", f"k.launch({step.kernel!r}) argument {index} is read (const) and "
                           f"nothing has written it before")  # fmt: skip


# ------------------------------------------------------------------------------------------- scalars


def _scalar(arg: LaunchArg, kind: ScalarType, what: str) -> BoundScalar:
    match arg:
        case TensorArg() | LocalArg() | TensorMapArg() | StructArg() | ArrayArg():
            raise Refused("arguments", f"{what} is a scalar and gets {_show(arg)}")
        case BoolArg(value=value):
            given: ScalarType | None = "b8"
        case IntArg(value=value):
            given = kind if kind[0] in "iu" else None
        case FloatArg(value=value):
            given = kind if kind in ("f16", "bf16", "f32", "f64") else None
        case TypedArg(type=given, value=value):
            pass
        case _:
            assert_never(arg)
    if given != kind:
        raise Refused("arguments", f"{what} gets {_show(arg)}; {_advice(arg, kind)}")
    if kind == "b8":
        if not isinstance(value, bool):
            raise Refused("arguments", f"{what} gets {_show(arg)}; pass True or False")
        return BoundScalar(kind, value)
    if isinstance(value, bool) or isinstance(value, float) != (kind[0] in "fb"):
        raise Refused("arguments", f"{what} gets {_show(arg)}; {_advice(arg, kind)}")
    _in_range(value, kind, what)
    return BoundScalar(kind, value)


def _in_range(value: int | float, kind: ScalarType, what: str) -> None:
    if isinstance(value, float):
        if abs(value) > _FLOAT_LIMITS.get(kind, float("inf")):
            raise Refused("overflow", f"{what} gets {value}, which {kind} cannot hold")
        return
    bits = 8 * SCALAR_BYTES[kind]
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if kind[0] == "i" else (0, 2**bits - 1)
    if not low <= value <= high:
        raise Refused("overflow", f"{what} gets {value}; its range is {low}..{high}")


def _advice(arg: LaunchArg, kind: ScalarType) -> str:
    if kind == "b8":
        return "pass True or False"
    if kind[0] in "fb":
        return f"pass a float: write 2.0 for 2, or k.{kind}(x)"
    hint = "use // or int()" if isinstance(arg, FloatArg) else f"int(x) or k.{kind}(x)"
    return f"pass an int: {hint}"


def _show(arg: LaunchArg) -> str:
    match arg:
        case TensorArg():
            return "a tensor"
        case LocalArg():
            return "local memory"
        case TensorMapArg():
            return "a tensor map"
        case StructArg():
            return "a struct"
        case ArrayArg():
            return "an array"
        case TypedArg():
            return f"k.{arg.type}({arg.value})"
        case IntArg():
            return f"the int {arg.value}"
        case FloatArg():
            return f"the float {arg.value}"
        case BoolArg():
            return f"the bool {arg.value}"
        case _:
            assert_never(arg)
