"""What a task file declares about itself, read from its syntax tree: nothing of the file runs here."""

from __future__ import annotations

import ast
import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from kforge.errors import TaskError
from kforge.types import InputKind

Family = Literal[
    "elementwise", "reduction", "scan", "pooling", "norm", "softmax", "loss",
    "matmul", "gemm_tail", "conv", "conv_tail", "attention", "network",
]  # fmt: skip
FULL = "full"
DECLARATIONS = ("TITLE", "FAMILY", "SIZES", "WORKLOADS", "TOLERANCES", "INPUT_KINDS")
REQUIRED = {
    "Model": "class Model(torch.nn.Module): ... with the reference computation in forward()",
    "get_inputs": "def get_inputs(): return [torch.rand(1024, 1024)]  # the arguments of forward()",
    "get_init_inputs": "def get_init_inputs(): return []  # the arguments of Model()",
}
_INNER_SCOPES = (
    ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda,
    ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp,
)  # fmt: skip
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")

Overrides = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Tolerances:
    """Bounds of the KernelBench verdict: ``|c - r| <= atol + rtol * |r|``."""

    atol: float
    rtol: float


@dataclass(frozen=True, slots=True)
class Declared:
    """The optional declarations of a task file, checked.

    Attributes:
        sizes: size name to overrides of constants; ``full`` (no overrides) comes first.
        workloads: workload name to overrides that go on top of the size's.
        tolerances: None where the file leaves them to the output's type.
        input_kinds: argument name of ``forward`` to kind; arguments left out are inferred.
    """

    title: str
    family: Family | None
    sizes: Mapping[str, Overrides]
    workloads: Mapping[str, Overrides]
    tolerances: Tolerances | None
    input_kinds: Mapping[str, InputKind]


def assigned_names(statement: ast.stmt) -> frozenset[str]:
    """Module-level variables that one top-level statement assigns, blocks of ``if`` and ``for`` included."""
    found: set[str] = set()
    pending: list[ast.AST] = [statement]
    while pending:  # a stack, not recursion: the nesting depth is the file's choice
        node = pending.pop()
        if isinstance(node, _INNER_SCOPES):
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        pending.extend(ast.iter_child_nodes(node))
    return frozenset(found)


def declared(tree: ast.Module, path: Path) -> Declared:
    """Read and check every declaration of a parsed task file.

    Raises:
        TaskError: a required name is missing, or a declaration is not a literal of the right form.
    """
    _require_names(tree, path)
    constants = frozenset(name for statement in tree.body for name in assigned_names(statement))
    reader = _Reader(path, _literals(tree, path), constants - frozenset(DECLARATIONS))
    sizes = reader.overrides("SIZES")
    if FULL in sizes:
        raise reader.wrong("SIZES", f"{FULL!r} is the file as written", f"remove {FULL!r} from SIZES")
    return Declared(
        title=reader.title() or _docstring_title(tree) or path.stem,
        family=reader.family(),
        sizes={FULL: {}, **sizes},
        workloads=reader.overrides("WORKLOADS") or {"default": {}},
        tolerances=reader.tolerances(),
        input_kinds=reader.input_kinds(),
    )


def _require_names(tree: ast.Module, path: Path) -> None:
    bound: set[str] = set()
    for statement in tree.body:
        bound |= assigned_names(statement)
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            bound.add(statement.name)
        elif isinstance(statement, ast.Import | ast.ImportFrom):
            bound |= {alias.asname or alias.name for alias in statement.names}
    missing = [name for name in REQUIRED if name not in bound]
    if missing:
        raise TaskError(
            f"{path} is no task: it does not define {', '.join(missing)} at the top level.",
            "Add: " + "; ".join(REQUIRED[name] for name in missing) + ". See docs/tasks.md.",
        )


def _literals(tree: ast.Module, path: Path) -> dict[str, tuple[int, object]]:
    """Declaration name to (line, value)."""
    found: dict[str, tuple[int, object]] = {}
    for statement in tree.body:
        if not isinstance(statement, ast.Assign | ast.AnnAssign) or statement.value is None:
            continue
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        names = [
            target.id for target in targets if isinstance(target, ast.Name) and target.id in DECLARATIONS
        ]
        for name in names:
            try:
                found[name] = (statement.lineno, ast.literal_eval(statement.value))
            except (ValueError, TypeError, SyntaxError, RecursionError) as error:
                raise TaskError(
                    f"{path}:{statement.lineno}: {name} is no literal; it is read without running the file.",
                    f"Write {name} with plain numbers, strings, tuples and dictionaries only.",
                ) from error
    return found


def _docstring_title(tree: ast.Module) -> str:
    """First line of the docstring of ``Model``, else of the file."""
    models = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Model"]
    nodes: list[ast.ClassDef | ast.Module] = [*models, tree]
    for node in nodes:
        text = (ast.get_docstring(node) or "").strip()
        if text:
            return text.splitlines()[0][:120]
    return ""


@dataclass(frozen=True, slots=True)
class _Reader:
    path: Path
    literals: Mapping[str, tuple[int, object]]
    constants: frozenset[str]

    def wrong(self, name: str, what: str, next_step: str) -> TaskError:
        return TaskError(
            f"{self.path}:{self.literals[name][0]}: {name}: {what}.",
            next_step[:1].upper() + next_step[1:] + ".",
        )

    def value(self, name: str) -> object:
        return self.literals[name][1] if name in self.literals else None

    def title(self) -> str:
        value = self.value("TITLE")
        if value is None:
            return ""
        if not isinstance(value, str) or not value.strip() or "\n" in value:
            raise self.wrong(
                "TITLE", f"{value!r} is no one-line text", 'write TITLE = "what the task computes"'
            )
        return value.strip()[:120]

    def family(self) -> Family | None:
        value = self.value("FAMILY")
        for family in get_args(Family):
            if value == family:
                known: Family = family
                return known
        if value is not None:
            choices = ", ".join(get_args(Family))
            raise self.wrong(
                "FAMILY", f"{value!r} is no family", f"use one of {choices}, or leave FAMILY out"
            )
        return None

    def overrides(self, name: str) -> dict[str, Overrides]:
        value = self.value(name)
        if value is None:
            return {}
        form = f'write {name} = {{"small": {{"batch_size": 4}}}}'
        if not isinstance(value, dict) or not value:
            raise self.wrong(name, "it is no dictionary of names to overrides", form)
        for key, changes in value.items():
            if not isinstance(key, str) or not _NAME.fullmatch(key):
                raise self.wrong(
                    name, f"{key!r} is no name", "use letters, digits, '_', '-' and '.' (at most 64)"
                )
            if not isinstance(changes, dict):
                raise self.wrong(name, f"the value of {key!r} is no dictionary of constants", form)
            for constant in changes:
                self._known_constant(name, key, constant)
        return value

    def _known_constant(self, name: str, key: str, constant: object) -> None:
        if constant in self.constants:
            return
        near = difflib.get_close_matches(str(constant), sorted(self.constants), n=3)
        names = ", ".join(near or sorted(self.constants)[:10]) or "none"
        raise self.wrong(
            name,
            f"{key!r} overrides {constant!r}, which the file does not assign at the top level",
            f"override one of its constants ({names}), or assign {constant} above get_inputs()",
        )

    def tolerances(self) -> Tolerances | None:
        value = self.value("TOLERANCES")
        if value is None:
            return None
        form = 'write TOLERANCES = {"atol": 1e-4, "rtol": 1e-4}'
        if not isinstance(value, dict) or set(value) != {"atol", "rtol"}:
            raise self.wrong("TOLERANCES", "it needs exactly the keys 'atol' and 'rtol'", form)
        for key, bound in value.items():
            if not isinstance(bound, int | float) or isinstance(bound, bool) or not 0 <= bound < math.inf:
                raise self.wrong("TOLERANCES", f"{key} is {bound!r}, not a finite number >= 0", form)
        return Tolerances(atol=float(value["atol"]), rtol=float(value["rtol"]))

    def input_kinds(self) -> dict[str, InputKind]:
        value = self.value("INPUT_KINDS")
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.wrong("INPUT_KINDS", "it is no dictionary", 'write INPUT_KINDS = {"x": "probability"}')
        for argument, kind in value.items():
            if not isinstance(argument, str) or kind not in get_args(InputKind):
                choices = ", ".join(get_args(InputKind))
                raise self.wrong("INPUT_KINDS", f"{argument!r}: {kind!r} is no kind", f"use one of {choices}")
        return value
