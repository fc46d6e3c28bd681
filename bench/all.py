"""
All benches in one command, and what they say in one document.

    python bench/all.py                              those that take a minute or so each
    CGEXEC_LAB=... python bench/all.py --long        the oracle and the gauntlet, too: an hour or more
    python bench/all.py --markdown out.md --plot out.svg

The picture (extra ``plot``) shows what a task costs in each executor. Run it on a machine that does nothing else.
"""

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
# Name, what follows the script's name, whether it needs the laboratory.
SHORT: tuple[tuple[str, list[str], bool], ...] = (
    ("executor", [], False),
    ("executor", ["--memory"], False),
    ("peers", [], False),
    ("wrap", [], False),
    ("growth", [], False),
    ("read_cost", [], False),
    ("loop_gap", [], False),
    ("adaptive_cost", [], False),
    ("guard", [], True),
    ("detection", [], True),
    ("instructions", [], False),
)
LONG: tuple[tuple[str, list[str], bool], ...] = (
    ("oracle", [], True),
    ("gauntlet", ["--memory", "256M,512M,1G", "--pools", "stock,ours,ours-estimate,fuse"], True),
    ("soak", [], True),
)
QUICK = {
    "executor": ["--rounds", "2"],
    "peers": ["--quick"],
    "wrap": ["--rounds", "2"],
    "growth": ["--quick"],
    "loop_gap": ["--seconds", "1"],
    "guard": ["--pairs", "3"],
}


def section(name: str, told: list[str], *, lab: bool) -> str:
    """Run one and return its part of the document."""
    title = f"## bench/{name}.py {' '.join(told)}".rstrip()
    if lab and not os.environ.get("CGEXEC_LAB"):
        return f"{title}\n\nSkipped: it needs real cgroups (CGEXEC_LAB).\n"
    print(f"{name} {' '.join(told)}", file=sys.stderr, flush=True)
    command = [sys.executable, str(HERE / f"{name}.py"), *told]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    end = "" if done.returncode == 0 else f"\n\nIt ended with status {done.returncode}."
    return f"{title}\n\n{done.stdout.strip()}{end}\n"


def ratios(document: str) -> dict[str, float]:
    """Return what a task of a burst costs in each executor, from the table of `peers`."""
    part = document.partition("## bench/peers.py")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+) \| ([0-9.]+) \| [0-9.]+ \|", part, re.MULTILINE)
    return {name.strip(): float(ratio) for name, ratio in rows}


def draw(found: dict[str, float], file: Path) -> None:
    """Draw them; the standard pool's is 1."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.subplots()
    names = sorted(found, key=lambda name: -found[name])
    bars = axes.barh(names, [found[name] for name in names], color=["C0" if "cgexec" in n else "0.7" for n in names])
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.set_xscale("log")
    axes.axvline(1, color="0.3", linewidth=1)
    axes.set_xlabel("time of a task in a burst, the standard pool's being 1 (less is better)")
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)


def main() -> None:
    """Run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long", action="store_true", help="the long ones, too")
    parser.add_argument("--quick", action="store_true", help="fewer rounds: to see that all of them run")
    parser.add_argument("--only", type=lambda text: text.split(","), help="names, such as peers,growth")
    parser.add_argument("--markdown", type=Path, help="a file for the document")
    parser.add_argument("--plot", type=Path, help="a file for the picture")
    told = parser.parse_args()
    wanted = [each for each in (*SHORT, *(LONG if told.long else ())) if not told.only or each[0] in told.only]
    parts = [
        section(name, [*more, *(QUICK.get(name, []) if told.quick else [])], lab=lab) for name, more, lab in wanted
    ]
    document = "# What was measured\n\n" + "\n".join(parts)
    print(document)
    if told.markdown:
        told.markdown.write_text(document, encoding="utf-8")
    if told.plot and (found := ratios(document)):
        draw(found, told.plot)


if __name__ == "__main__":
    main()
