"""Pieces that the tests of the parser make replies of."""

from __future__ import annotations

DEVICE_CODE = "#include <sycl/sycl.hpp>\n// the device code\nvoid f() {}\n"
PLAN = "def plan(k, x):\n    return k.empty_like(x)\n"
FILE = f"LANGUAGE = \"sycl\"\nSOURCE = r'''\n{DEVICE_CODE}'''\n\n\n{PLAN}"
OLDER = FILE.replace("the device code", "an older draft")


def fence(text: str, tag: str = "python", mark: str = "```") -> str:
    return f"{mark}{tag}\n{text}{mark}\n"


def indented(text: str, by: str) -> str:
    return "".join(by + line if line.strip() else line for line in text.splitlines(keepends=True))


def edit(search: str, replace: str) -> str:
    """One search/replace block; both texts end in a newline or are empty."""
    return f"<<<<<<< SEARCH\n{search}=======\n{replace}>>>>>>> REPLACE\n"
