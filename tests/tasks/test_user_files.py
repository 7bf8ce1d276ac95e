"""User task files: what they may declare, and what each mistake is answered with."""

from __future__ import annotations

import linecache
import random
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from kforge.data.tasks.describe import describe
from kforge.data.tasks.loader import LoadedTask, infer_kind, load_task
from kforge.data.tasks.registry import add_task, list_tasks, resolve
from kforge.errors import TaskError

PLAIN = """import torch
import torch.nn as nn

class Model(nn.Module):
    \"\"\"Scales its input.\"\"\"
    def __init__(self, features, scale=2.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(features))
        self.register_buffer("steps", torch.zeros(1, dtype=torch.int64))
        self.scale = scale
    def forward(self, x):
        return x * self.weight * self.scale

rows = 8
features = 16
shape = (rows, features)

def get_inputs():
    return [torch.rand(*shape)]

def get_init_inputs():
    return [features]
"""

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def _write(text: str) -> Path:
        path = tmp_path / "mine.py"
        path.write_text(text, encoding="utf-8")
        return path

    return _write


def load(path: Path, size: str = "full") -> LoadedTask:
    return load_task(resolve(str(path)), size)


def refusal(path: Path, size: str = "full") -> tuple[str, str]:
    """Message and next step of the error that using this task ends in."""
    with pytest.raises(TaskError) as caught:
        describe(load(path, size))
    assert caught.value.exit_code == 2
    return caught.value.message, caught.value.next_step


# ------------------------------------------------------------------------------------------ what works


def test_an_unmodified_kernelbench_file_is_a_task(write: Write) -> None:
    path = write(PLAIN)
    task = resolve(str(path))
    assert (task.id, task.title, task.family, task.sizes) == (str(path), "Scales its input.", None, ("full",))
    assert resolve(task.id) == task
    (workload,) = describe(load(path)).workloads
    assert workload.name == "default"
    assert workload.init == {"features": 16, "scale": 2.0}
    assert [(p.name, p.dtype, p.shape) for p in workload.parameters] == [("weight", "float32", (16,))]
    assert [(b.name, b.dtype) for b in workload.buffers] == [("steps", "int64")]
    assert [(o.name, o.shape, o.strides) for o in workload.outputs] == [("out0", (8, 16), (16, 1))]


def test_derived_constants_follow_sizes_and_workloads(write: Write) -> None:
    path = write(
        PLAIN
        + 'SIZES = {"small": {"rows": 2}, "wide": {"features": 32}}\n'
        + 'WORKLOADS = {"one": {}, "tall": {"rows": 5}}\n'
    )
    shapes = {}
    for size in ("full", "small", "wide"):
        for workload in load(path, size).workloads:
            (value,) = workload.inputs(seed=0)
            assert isinstance(value, Tensor)
            assert dict(workload.model(0).named_parameters())["weight"].shape == value.shape[1:]
            shapes[size, workload.name] = tuple(value.shape)
    assert shapes == {
        ("full", "one"): (8, 16),
        ("full", "tall"): (5, 16),
        ("small", "one"): (2, 16),
        ("small", "tall"): (5, 16),
        ("wide", "one"): (8, 32),
        ("wide", "tall"): (5, 32),
    }


def test_every_assignment_of_an_overridden_constant_is_overridden(write: Write) -> None:
    text = PLAIN.replace("rows = 8\n", "rows, other = 8, 3\nif other:\n    rows = 9\nrows *= 2\n")
    (value,) = load(write(text + 'SIZES = {"small": {"rows": 4}}\n'), "small").workloads[0].inputs(0)
    assert isinstance(value, Tensor)
    assert value.shape == (4, 16)


def test_seeds_decide_everything_and_leave_the_callers_generators_alone(write: Write) -> None:
    text = PLAIN.replace("import torch\n", "import torch, random\nimport numpy as np\n", 1)
    text = text.replace("[torch.rand(*shape)]", "[torch.rand(*shape) + random.random() + np.random.rand()]")
    workload = load(write(text)).workloads[0]
    torch.manual_seed(5)
    random.seed(5)
    expected = (torch.rand(3), random.random())
    torch.manual_seed(5)
    random.seed(5)
    values = [workload.inputs(seed)[0] for seed in (1, 1, 2)]
    weights = [workload.model(seed).state_dict()["weight"] for seed in (1, 1, 2)]
    for first, again, other in (values, weights):
        assert isinstance(first, Tensor)
        assert isinstance(again, Tensor)
        assert isinstance(other, Tensor)
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
    assert torch.equal(torch.rand(3), expected[0])
    assert random.random() == expected[1]


def test_a_default_dtype_set_by_the_file_stays_in_the_file(write: Write) -> None:
    text = PLAIN.replace("\nclass", "\ntorch.set_default_dtype(torch.float64)\nclass", 1)
    workload = load(write(text)).workloads[0]
    (value,) = workload.inputs(0)
    assert isinstance(value, Tensor)
    assert value.dtype == workload.model(0).state_dict()["weight"].dtype == torch.float64
    assert torch.get_default_dtype() == torch.float32


def test_tolerances_and_kinds(write: Write) -> None:
    path = write(PLAIN + 'TOLERANCES = {"atol": 1e-3, "rtol": 0}\nINPUT_KINDS = {"x": "positive"}\n')
    workload = load(path).workloads[0]
    assert (workload.tolerances(torch.float32).atol, workload.tolerances(torch.float16).rtol) == (1e-3, 0.0)
    assert workload.input_kinds == {"x": "positive"}
    plain = load(write(PLAIN)).workloads[0]
    assert [plain.tolerances(dtype).atol for dtype in (torch.float32, torch.bfloat16)] == [1e-4, 1e-2]
    assert plain.input_kinds == {"x": "real"}


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (3, "fixed"),
        (True, "fixed"),
        (torch.tensor([1, 2]), "index"),
        (torch.tensor([True, False]), "mask"),
        (torch.rand(4, 9).softmax(-1), "probability"),
        (torch.rand(4, 9).half().softmax(-1), "probability"),
        (torch.rand(4, 9).softmax(0), "real"),
        (torch.ones(4, 1), "real"),
        (torch.rand(()), "real"),
        (torch.randn(4, 9), "real"),
        (torch.tensor([1.0, -1.0, 1.0]), "sign"),
        (torch.tensor([[2.0, -1.0], [0.5, 0.5]]), "real"),
    ],
)
def test_inferred_kinds(value: Tensor | int, kind: str) -> None:
    assert infer_kind(value) == kind


def test_several_outputs_scalars_and_variable_arguments(write: Write) -> None:
    text = PLAIN.replace("def forward(self, x):", "def forward(self, *parts):\n        x, n = parts")
    text = text.replace("return x * self.weight * self.scale", "return x.t() * n, [x.sum()][0]")
    text = text.replace("[torch.rand(*shape)]", "[torch.rand(*shape), 3]")
    (workload,) = describe(load(write(text))).workloads
    assert [(i.name, i.kind, i.constant) for i in workload.inputs] == [
        ("parts0", "real", None),
        ("parts1", "fixed", 3),
    ]
    assert workload.returns_tuple
    assert [(o.name, o.shape, o.strides) for o in workload.outputs] == [
        ("out0", (16, 8), (1, 16)),  # strides of a transposed tensor survive
        ("out1", (), ()),
    ]


def test_code_that_reads_values_is_described_by_running_it(write: Write) -> None:
    text = PLAIN.replace("return x *", "assert x.sum().item() > 0\n        return x *")
    assert describe(load(write(text))).workloads[0].outputs[0].shape == (8, 16)


def test_future_annotations_and_dataclasses_work(write: Write) -> None:
    text = (
        '"""Doc."""\nfrom __future__ import annotations\nfrom dataclasses import dataclass\n'
        "@dataclass\nclass Config:\n    width: Undefined = 4\n" + PLAIN
    )
    assert describe(load(write(text))).workloads[0].outputs[0].shape == (8, 16)


def test_the_hash_follows_source_size_and_workloads(write: Write) -> None:
    def hashes(text: str) -> set[str]:
        path = write(text + 'SIZES = {"small": {"rows": 2}}\n')
        return {load(path, size).hash for size in ("full", "small")}

    first = hashes(PLAIN)
    assert first == hashes(PLAIN)
    assert len(first | hashes(PLAIN + "# changed\n")) == 4


# -------------------------------------------------------------------------------------- user directory


def test_add_list_resolve(write: Write, tmp_path: Path) -> None:
    own = tmp_path / "tasks"
    path = write(PLAIN)
    added = add_task(path, "my-scale_2", own)
    assert added.id == "user/my-scale_2"
    assert resolve("user/my-scale_2", own) == added
    assert added in list_tasks(own)
    assert added not in list_tasks()
    with pytest.raises(TaskError, match="exists already"):
        add_task(path, "my-scale_2", own)
    for name in ("", "Upper", "../up", "a/b", "-x", "a.b"):
        with pytest.raises(TaskError, match="no task name"):
            add_task(path, name, own)
    with pytest.raises(TaskError, match="does not define get_init_inputs"):
        add_task(write(PLAIN.replace("get_init_inputs", "other")), "broken", own)
    assert [file.name for file in own.iterdir()] == ["my-scale_2.py"]


def test_unknown_id_names_the_nearest() -> None:
    with pytest.raises(TaskError, match="'kb/L2/177'") as caught:
        resolve("kb/L2/177")
    assert "kb/L2/17," in caught.value.next_step
    assert caught.value.next_step.count("kb/") == 3
    assert caught.value.next_step.endswith(
        "kforge tasks list; get all of KernelBench with: kforge tasks pull kernelbench"
    )


# --------------------------------------------------------------------------------------- unusable files


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    def message(name: str) -> str:
        with pytest.raises(TaskError) as caught:
            resolve(f"{tmp_path}/{name}")
        assert caught.value.next_step
        return caught.value.message

    (tmp_path / "big.py").write_text(PLAIN + "#" * 5_000_000)
    (tmp_path / "binary.py").write_bytes(bytes(range(256)) * 10)
    (tmp_path / "nul.py").write_bytes(PLAIN.encode() + b"\0")
    (tmp_path / "nested.py").write_text(PLAIN + "x = " + "(" * 5000 + ")" * 5000)
    (tmp_path / "deep.py").write_text(PLAIN + "x = " + "-" * 20000 + "1")
    (tmp_path / "syntax.py").write_text("import torch\ndef f(:\n")
    (tmp_path / "folder.py").mkdir()
    assert "larger than 1,000,000 bytes" in message("big.py")
    assert "not UTF-8 text (byte 128)" in message("binary.py")
    assert "nul.py" in message("nul.py")
    assert "nested.py" in message("nested.py")
    assert "deep.py" in message("deep.py")
    assert "syntax.py:2: syntax error" in message("syntax.py")
    assert "is a directory" in message("folder.py")
    assert "There is no file" in message("missing.py")
    assert "no usable path" in message("a\0.py") or "There is no file" in message("a\0.py")


def test_what_a_file_must_define(write: Write) -> None:
    message, next_step = refusal(write("import torch\nN = 4\n"))
    assert "does not define Model, get_inputs, get_init_inputs" in message
    assert "def get_inputs(): return" in next_step
    message, next_step = refusal(write(PLAIN.replace("def get_inputs", "def inputs")))
    assert "does not define get_inputs at" in message
    assert "get_init_inputs" not in next_step


@pytest.mark.parametrize(
    ("line", "message", "next_step"),
    [
        ("SIZES = {'small': {'rwos': 2}}", "mine.py:23: SIZES: 'small' overrides 'rwos'", "rows"),
        ("WORKLOADS = {'w': {'torch': 2}}", "WORKLOADS: 'w' overrides 'torch'", "constants"),
        ("SIZES = {'small': {'rows': rows}}", "mine.py:23: SIZES is no literal", "plain numbers"),
        ("SIZES = {'full': {'rows': 1}}", "'full' is the file as written", "Remove 'full'"),
        ("SIZES = [1]", "no dictionary", "SIZES = {"),
        ("SIZES = {'small': 4}", "no dictionary of constants", "batch_size"),
        ("SIZES = {'a b': {}}", "'a b' is no name", "letters"),
        ("WORKLOADS = {}", "no dictionary", "WORKLOADS"),
        ("TOLERANCES = {'atol': 1}", "exactly the keys", "rtol"),
        ("TOLERANCES = {'atol': -1, 'rtol': 0}", "atol is -1", "1e-4"),
        ("TOLERANCES = {'atol': 1e999, 'rtol': 0}", "atol is inf", "1e-4"),
        ("INPUT_KINDS = {'x': 'text'}", "'text' is no kind", "probability"),
        ("INPUT_KINDS = {'y': 'real'}", "INPUT_KINDS names y", "argument names"),
        ("TITLE = 7", "7 is no one-line text", "TITLE ="),
        ("FAMILY = 'magic'", "'magic' is no family", "gemm_tail"),
    ],
)
def test_declarations(write: Write, line: str, message: str, next_step: str) -> None:
    got = refusal(write(PLAIN + line + "\n"))
    assert message in got[0]
    assert next_step in got[1]


def test_sizes_that_are_not_defined(write: Write) -> None:
    message, next_step = refusal(write(PLAIN), "small")
    assert "defines no size 'small'" in message
    assert 'SIZES = {"small"' in next_step
    assert "--size full" in next_step
    message, _ = refusal(write(PLAIN + 'SIZES = {"small": {}}\n'), "huge")
    assert "it has full, small" in message


@pytest.mark.parametrize(
    ("old", "new", "message", "next_step"),
    [
        ("rows = 8", "rows = 1 // 0", "mine.py:14: running the file failed: ZeroDivisionError", "line 14"),
        ("rows = 8", "import no_such_module_x", "mine.py:14: running the file failed: ModuleNotF", "paste"),
        (
            "rows = 8",
            "exit(3)",
            "mine.py:14: running the file failed: SystemExit: 3",
            "Remove the call of exit",
        ),
        (
            "rows = 8",
            "class E(BaseException): pass\nraise E",
            "mine.py:15: running the file failed",
            "line 15",
        ),
        ("rows = 8", "def f(): return f()\nrows = f()", "failed: RecursionError", "give it a stop"),
        (
            "return x *",
            "return x * x[:, :3] *",
            "mine.py:12: calling Model.forward failed: RuntimeError",
            "line 12",
        ),
        ("return [torch.rand", "return [torch.no_such", "mine.py:19: calling get_inputs() failed", "line 19"),
        ("return [torch.rand(*shape)]", "return torch.rand(2)", "returned Tensor, not a list", "as a list"),
        ("[torch.rand(*shape)]", "[[torch.rand(2)]]", "get_inputs()[0] is a list", "several arguments"),
        ("[torch.rand(*shape)]", "[float('nan')]", "get_inputs()[0] is nan", "finite"),
        (
            "[torch.rand(*shape)]",
            "[]",
            "mine.py:11: get_inputs() returned 0 values, but forward() takes (x)",
            "ord",
        ),
        ("[torch.rand(*shape)]", "[torch.rand(2)] * 2", "returned 2 values", "exactly the arguments"),
        ("return [features]", "return features", "get_init_inputs() returned int", "[]"),
        (
            "return [features]",
            "return []",
            "constructing Model from get_init_inputs() failed: TypeError",
            "Model()",
        ),
        (
            "return x * self.weight * self.scale",
            "return {'y': x}",
            "returned dict, not tensors",
            "one tensor",
        ),
        ("return x * self.weight * self.scale", "return ()", "an empty tuple", "one tensor"),
        ("class Model(nn.Module)", "class Model", "Model is no torch.nn.Module class", "class Model("),
        ("def forward", "def froward", "Model has no forward()", "Model.forward"),
        ("torch.rand(*shape)", "torch.rand(*shape) * 1j", "is complex64", "one of those types"),
        ("torch.rand(*shape)", "torch.rand(10**13)", "get_inputs() failed", "smaller size"),
        ("rows = 8", "return 4", "mine.py:14: syntax error: 'return' outside function", "line 14"),
        ("def get_inputs", "get_inputs = 4\ndef gi", "get_inputs is no function", "def get_inputs"),
    ],
)
def test_code_that_fails(write: Write, old: str, new: str, message: str, next_step: str) -> None:
    assert PLAIN.count(old) == 1
    got = refusal(write(PLAIN.replace(old, new)))
    assert message in got[0]
    assert next_step in got[1]


def test_tracebacks_show_the_users_line(write: Write) -> None:
    path = write(PLAIN.replace("rows = 8", "rows = 1 // 0  # here"))
    with pytest.raises(TaskError) as caught:
        load(path)
    path.unlink()
    assert caught.value.__cause__ is not None
    linecache.checkcache()
    assert "rows = 1 // 0  # here" in "".join(traceback.format_exception(caught.value.__cause__))


def test_the_example_of_the_documentation(write: Write, tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "tasks.md").read_text(encoding="utf-8")
    example = next(block for block in text.split("```python\n")[1:] if "class Model" in block).split("```")[0]
    full, small = (describe(load(write(example), size)) for size in ("full", "small"))
    assert full.title == "Scaled row softmax"
    assert [workload.outputs[0].shape for workload in (*full.workloads, *small.workloads)] == [
        (4096, 8192), (64, 65536), (256, 2048), (64, 65536),
    ]  # fmt: skip
    message, _ = refusal(write(example.replace("torch.randn(*shape)", "torch.randn(row)")))
    assert message.removeprefix(f"{tmp_path}/") in text
