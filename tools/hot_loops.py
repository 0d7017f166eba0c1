"""Look at compiled kernels' hot loops: how many vector multiply-adds, and whether registers are spilled to the stack.

Usage: ``hot_loops.py [--objdump PROGRAM] OBJECT...``. Prints a line for every loop that is a register tile by its
looks; exits with 1 if one of them touches the stack, or if there is none at all.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

LEAST = 4
SHARE = 1 / 3
"""A loop with so many multiply-adds, and with so much of it made of them, is a register tile."""

STRAIGHT = re.compile(r"^fixed_\d")
"""Depthwise blocks for kernels of fixed size: written out whole, so that a jump back in them is no loop."""

# AArch64's vector form, x86's fused ones, and SSE2's product and sum apart
_PRODUCT = re.compile(r"\bfml[as]\s+v|\bvfn?m(?:add|sub)\d+p[sd]\b|\b(?:mul|add)p[sd]\b")
_STACK = re.compile(r"\[sp\b|\(%rsp|-0x[0-9a-f]+\(%rbp")
_LINE = re.compile(r"^\s*([0-9a-f]+):\s+(.*)")
_FUNCTION = re.compile(r"^[0-9a-f]+ <(.+)>:$")
_BRANCH = re.compile(r"^(?:j\w+|b\.\w+|b|cbn?z\s+\w+,|tbn?z\s+[^<]*,)\s+(?:0x)?([0-9a-f]+) <")


class Loop(NamedTuple):
    """A loop, and how many of its instructions are multiply-adds or touch the stack."""

    function: str
    instructions: int
    products: int
    stack: int


def loops(listing: str) -> list[Loop]:
    """The register tiles in what ``objdump -d --no-show-raw-insn`` prints."""
    found: list[Loop] = []
    function, body = "", []
    for line in [*listing.splitlines(), "0 <end>:"]:
        head = _FUNCTION.match(line)
        if head:
            found += [] if STRAIGHT.match(function) else _of_function(function, body)
            function, body = head[1], []
        elif instruction := _LINE.match(line):
            body.append((int(instruction[1], 16), instruction[2]))
    return found


def _of_function(function: str, body: list[tuple[int, str]]) -> list[Loop]:
    spans = []
    for address, text in body:
        branch = _BRANCH.match(text)
        if branch and body[0][0] <= int(branch[1], 16) <= address:
            spans.append((int(branch[1], 16), address))
    found: dict[tuple[int, int], Loop] = {}
    for begin, end in sorted(spans, key=lambda span: span[1] - span[0]):
        if any(begin <= inner[0] and inner[1] <= end for inner in found):
            continue  # around a tile; a loop inside of a tile that is none itself, a prefetching one, belongs to it
        inside = [text for address, text in body if begin <= address <= end]
        products = sum(bool(_PRODUCT.search(text)) for text in inside)
        if products >= max(LEAST, SHARE * len(inside)):
            stack = sum(bool(_STACK.search(text)) for text in inside)
            found[begin, end] = Loop(function, len(inside), products, stack)
    return list(found.values())


def look(paths: list[Path], objdump: str = "objdump") -> bool:
    """Print the loops of these object files; whether there are any and all are clean."""
    total, spilled = 0, 0
    for path in paths:
        command = [objdump, "--disassemble", "--no-show-raw-insn", str(path)]
        listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        for loop in loops(listing):
            total += 1
            spilled += loop.stack > 0
            note = f"  {loop.stack} STACK ACCESSES" if loop.stack else ""
            print(f"{loop.function}: {loop.products} multiply-adds in {loop.instructions} instructions{note}")
    print(f"hot loops: {total}, of which {spilled} touch the stack")
    return total > 0 and not spilled


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Look at the hot loops of compiled kernels.")
    parser.add_argument("--objdump", default="objdump", metavar="PROGRAM")
    parser.add_argument("objects", nargs="+", type=Path)
    options = parser.parse_args()
    return int(not look(options.objects, options.objdump))


if __name__ == "__main__":
    sys.exit(main())
