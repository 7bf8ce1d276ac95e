"""Write docs/trust.md from the corpus of exploits: ``python -m docs.generate_trust > docs/trust.md``."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.exploits.corpus import Exploit, corpus

EVIDENCE = Path(__file__).with_name("gpu-evidence.json")
CAUGHT = "test_it_is_caught_with_the_reason_it_deserves"
SUCCEEDS = "test_it_succeeds_where_its_defence_is_off"
HEAD = """\
# Can the referee be fooled?

Made from the registry `tests/exploits/corpus.py` by `python -m docs.generate_trust > docs/trust.md`; a test
checks that it is current.

Every row is run twice. With all defences on it must be refused, with the outcome and the reason that it
deserves. With the one defence named here switched off, and nothing else changed, it must succeed: a wrong
answer accepted, a time forged, a secret read, a file written. An exploit that does not succeed then shows
nothing and is not listed. For a defence that is a construction, `process_border`, "off" is an evaluator in
the style of public harnesses (`tests/exploits/naive.py`): candidate, reference, checker and clock in one
process, with kforge's own comparison. "Timed honestly" means that a right answer is accepted and the forged
time is not.

Ids are those of a catalogue of published reward hacks: T timing, C output and correctness, P process and
files (a letter behind tells variants of a row apart); D is what device code alone was seen to do, N are our
own. What holds for the track `sealed` holds for `pure`, which allows less. `ci` rows run with every change
on a machine without a GPU; a `gpu` row says what the last recorded run on a card gave
([gpu-evidence.json](gpu-evidence.json)), or "not run". [threats.md](threats.md) describes the layers, and
what is not stopped.
"""


def page(exploits: Sequence[Exploit], results: Mapping[str, str]) -> str:
    """The whole page.

    Args:
        exploits: the registry.
        results: test id to passed, failed or skipped, of the last recorded runs on a card.
    """
    lines = [HEAD, tally(exploits, results), ""]
    lines += [
        "| id | what it does | track | language | defence | where | result |",
        "|---|---|---|---|---|---|---|",
    ]
    for found in sorted(exploits, key=_order):
        lines.append(
            f"| {found.id} | {found.title} | {found.track} | {found.language} | `{found.defence}` | "
            f"{found.where} | {result(found, results)} |"
        )
    return "\n".join(lines) + "\n"


def result(exploit: Exploit, results: Mapping[str, str]) -> str:
    """What became of one row, in words."""
    said = " or ".join("timed honestly" if o == "passed" else f"`{o}`" for o in exploit.outcomes)
    if exploit.where == "ci":
        return said
    module = "tests.exploits.test_corpus"
    words = [results.get(f"{module}::{test}[{exploit.key}]", "not run") for test in (CAUGHT, SUCCEEDS)]
    if words == ["passed", "passed"]:
        return said
    return "not run" if "failed" not in words else f"failed ({', '.join(words)})"


def tally(exploits: Sequence[Exploit], results: Mapping[str, str]) -> str:
    """How many rows there are, by where they run and on which track."""
    on_card = [e for e in exploits if e.where == "gpu"]
    shown = [e for e in on_card if not result(e, results).startswith(("not run", "failed"))]
    tracks = {track: sum(e.track == track for e in exploits) for track in sorted({e.track for e in exploits})}
    rows = {(e.track, re.sub(r"[a-z]+\Z", "", e.id)) for e in exploits}
    new = [e for e in exploits if e.id.startswith("N")]
    by_track = ", ".join(f"{count} on the {track} track" for track, count in tracks.items())
    return (
        f"**{len(exploits)} exploits** ({len(rows)} distinct rows by track and id, {len(new)} of them ours): "
        f"{by_track}. {len(exploits) - len(on_card)} run in CI; {len(shown)} of the {len(on_card)} for a "
        "card have run there as they should."
    )


def _order(exploit: Exploit) -> tuple[str, int, str, str, str]:
    letter, rest = exploit.id[0], exploit.id[1:]
    number = rest.rstrip("abcdefghijklmnopqrstuvwxyz")
    return str("TCPDN".index(letter)), int(number), rest[len(number) :], exploit.track, exploit.language


def recorded() -> dict[str, str]:
    """Results on a card by test id; none where the record has none."""
    results: dict[str, str] = json.loads(EVIDENCE.read_text()).get("results", {})
    return results


if __name__ == "__main__":
    sys.stdout.write(page(corpus(), recorded()))
