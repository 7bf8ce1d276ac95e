"""``kforge export``: a kernel as a folder that needs torch and no kforge."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kforge.cli.options import DeviceOption, JsonOption, StoreOption, chosen_store
from kforge.cli.output import print_json

if TYPE_CHECKING:
    from kforge.export.origin import Origin
    from kforge.export.package import Exported
    from kforge.export.verify import Verification
    from kforge.types import DeviceInfo, Track


def export(  # noqa: PLR0917 - typer reads the options from the signature
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="Name of a run; or with --task a candidate file.")
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder to write: an importable Python package.")
    ],
    candidate: Annotated[
        int | None,
        typer.Option("--candidate", metavar="N", help="Number of the candidate; else the run's best."),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option("--task", "-t", metavar="TASK", help="Task of a candidate file, as for eval."),
    ] = None,
    size: Annotated[
        str | None, typer.Option("--size", metavar="SIZE", help="Size for a candidate file; else full.")
    ] = None,
    device: DeviceOption = "auto",
    store: StoreOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an export that DIR holds.")] = False,
    verify: Annotated[
        bool,
        typer.Option("--verify/--no-verify", help="Check and time the folder in a process without kforge."),
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Write a kernel as a folder with a drop-in ModelNew, then check and time it without kforge.

    Exit code 1: it was written, and its checks failed.
    """
    from kforge.api.files import writable
    from kforge.clock import SystemClock
    from kforge.config import places
    from kforge.data.tasks.registry import resolve
    from kforge.export.folder import checked_folder
    from kforge.export.package import export_candidate
    from kforge.export.verify import verify as verify_folder
    from kforge.workers.local import describe_task

    folder = checked_folder(out, force)
    if task is None:
        origin, task, size, track = _from_run(run, candidate, store, size)
    else:
        origin, size, track = _from_file(run, candidate), size or "full", "sealed"
    here = places()
    found = resolve(task, here.user_tasks)
    chosen = _chosen_device(origin, device, verify)
    description = describe_task(task, size, here.user_tasks)
    written = export_candidate(
        origin, found, description,
        device=chosen, track=track, cache_dir=writable(here.cache), folder=folder, now=SystemClock().now(),
    )  # fmt: skip
    verified = verify_folder(folder) if verify else None
    if as_json:
        print_json(_document(written, verified))
    else:
        _print(written, verified)
    raise typer.Exit(0 if verified is None or verified.passed else 1)


def _from_run(
    name: str, candidate: int | None, store: str | None, size: str | None
) -> tuple[Origin, str, str, Track]:
    """The candidate of a stored run with the run's task, size and track."""
    from kforge.api.choices import checked_track
    from kforge.config import places
    from kforge.data.store import Store
    from kforge.data.tasks.registry import resolve
    from kforge.errors import UsageError
    from kforge.export.origin import origin_of_run

    if name.endswith(".py"):
        raise UsageError(f"{name} is a file, and a candidate file needs its task.", "add --task TASK")
    with Store.open(chosen_store(store), create=False) as opened:
        records = opened.load_run(opened.get_run(name).id)
    run = records.run
    if size not in (None, run.size):
        raise UsageError(f"Run {name!r} has size {run.size}; --size is for files.", "leave out --size")
    origin = origin_of_run(records, candidate)
    began_with = run.config.get("task_hash")
    if began_with is not None and resolve(run.task_id, places().user_tasks).hash != began_with:
        raise UsageError(
            f"The task {run.task_id} has changed since run {name!r} began; its kernels compute the old one.",
            "bring the old task file back, or start a new run",
        )
    return origin, run.task_id, run.size, checked_track(str(run.config.get("track", "sealed")))


def _from_file(name: str, candidate: int | None) -> Origin:
    from kforge.api.files import read_candidate
    from kforge.errors import UsageError
    from kforge.export.origin import origin_of_file

    if candidate is not None:
        raise UsageError(
            "--candidate chooses among those of a run, and --task names a file's task.", "use one"
        )
    return origin_of_file(read_candidate(Path(name)), name)


def _chosen_device(origin: Origin, wanted: str, verify: bool) -> DeviceInfo:
    """The device to build for.

    Raises:
        NoDevice: it is not here, and is needed to verify.
        UsageError: an architecture cannot verify anything.
    """
    from kforge.errors import NoDevice, UsageError
    from kforge.eval.cuda_devices import BUILD_TARGETS, DEFAULT_TARGET
    from kforge.workers.hardware import choose_device

    language = origin.source.language
    if language == "cuda" and wanted in BUILD_TARGETS:
        if verify:
            raise UsageError(f"--device {wanted} is an architecture, on which nothing can be verified.",
                             "add --no-verify, or use --device auto")  # fmt: skip
        return BUILD_TARGETS[wanted]
    if language == "sycl" and wanted == "auto" and origin.device is not None:
        wanted = origin.device.selector
    try:
        return choose_device(language, wanted)
    except NoDevice as error:
        if language != "cuda":
            raise
        if verify:
            next_step = "export on a machine with the card, or add --no-verify to build only"
            raise NoDevice(error.message, next_step) from error
        return origin.device or BUILD_TARGETS[DEFAULT_TARGET]


def _document(written: Exported, verified: Verification | None) -> dict[str, Any]:
    """The JSON of ``kforge export``."""
    status = "not_verified" if verified is None else "verified" if verified.passed else "failed"
    checked = None
    if verified is not None:
        checked = {"torch": verified.torch, "checks": dict(verified.checks), "times": list(verified.times)}
    return {
        "status": status,
        "out": str(written.folder),
        **written.provenance,
        "left_out": list(written.left_out),
        "notes": list(written.notes),
        "verification": checked,
    }


def _print(written: Exported, verified: Verification | None) -> None:
    from kforge.export.readme import facts

    print(f"{written.folder}: {written.provenance['task']} ({written.provenance['size']})")
    print(facts(written.provenance))
    for note in written.notes:
        print(f"note: {note}")
    if verified is None:
        print("NOT VERIFIED: nothing of it has run (--no-verify).")
    else:
        _print_verification(written.folder, verified)
    name = written.folder.name
    print(f"use it: from {name} import ModelNew    check it: python {name}/test_export.py")


def _print_verification(folder: Path, verified: Verification) -> None:
    words = [text.partition(":")[0] for text in verified.checks.values()]
    counts = ", ".join(
        f"{words.count(word)} {word}" for word in ("passed", "skipped", "failed") if word in words
    )
    print(f"in a process without kforge, torch {verified.torch}: checks {counts}")
    for name, text in verified.checks.items():
        if text.startswith("failed"):
            print(f"  {name}: {text}")
    if not verified.passed:
        print(f"VERIFICATION FAILED: {folder} is written; do not use it as it is.")
    for times in verified.times:
        print(f"workload {times['workload']}: microseconds per call, median (p10..p90)")
        _print_row("with host launch cost", times["eager_host_us"], times["kernels_host_us"])
        _print_row("without", times["eager_device_us"], times["kernels_device_us"])
        if "kernels_operators_us" in times:
            print(f"  library operators of the plan, wall: {_shown(times['kernels_operators_us'])}")
        print(f"  without: {times['device_clock']}")


def _print_row(label: str, eager: dict[str, float] | None, kernels: dict[str, float]) -> None:
    ratio = f"{eager['median'] / kernels['median']:.2f}x" if eager and kernels["median"] else "-"
    print(f"  {label:22} eager {_shown(eager):28} kernels {_shown(kernels):28} {ratio}")


def _shown(summary: dict[str, float] | None) -> str:
    if summary is None:
        return "no clock"
    return f"{summary['median']:.1f} ({summary['p10']:.1f}..{summary['p90']:.1f}), n={summary['n']:.0f}"
