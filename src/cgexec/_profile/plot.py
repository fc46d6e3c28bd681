"""Throughput, memory and throttling against workers, as a picture that reads on light and on dark ground."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cgexec._extras import extra
from cgexec._profile.evaluate import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["check", "plot"]

# Of middle lightness each, so that they stand out from white as well as from black.
_TEXT, _GRID = "#848d97", "#848d9755"
_BLUE, _AMBER, _RED = "#2f81f7", "#c98a14", "#e5534b"
_MIB = 1 << 20


def check(path: str) -> None:
    """
    See to it that a picture can be drawn, before minutes are spent on measuring.

    Raises:
        MissingExtra: matplotlib is not installed.
        ValueError: there is no such folder, or no such kind of picture.
    """
    with extra("plot", "profile --plot", "matplotlib"):
        from matplotlib.backend_bases import FigureCanvasBase
    kinds = FigureCanvasBase.get_supported_filetypes()
    place = Path(path)
    if place.suffix[1:].lower() not in kinds:
        raise ValueError(f"--plot {path}: expected a file that ends in .svg, .png or .pdf")
    if not place.parent.is_dir():
        raise ValueError(f"--plot {path}: there is no folder {place.parent}")


def plot(target: str, result: Result, path: str) -> None:
    """
    Write the picture; the file's ending says which kind (``.svg``, ``.png``, ``.pdf``).

    Raises:
        ValueError: the file cannot be written.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 7.5), layout="constrained")
    figure.patch.set_alpha(0.0)
    throughput, memory, throttled = figure.subplots(3, 1, sharex=True, height_ratios=(3, 2, 1))
    _throughput(throughput, target, result)
    _memory(memory, result)
    _throttled(throttled, result)
    for axes in (throughput, memory, throttled):
        _dress(axes, [level.workers for level in result.levels])
    throttled.set_xlabel("workers", color=_TEXT)
    try:
        with rc_context({"svg.fonttype": "none", "svg.hashsalt": "cgexec"}):
            figure.savefig(path, transparent=True, metadata={"Date": None} if path.endswith(".svg") else None)
    except OSError as error:
        raise ValueError(f"--plot {path}: {error.strerror or error}") from None


def _series(axes: "Axes", result: Result, values: list[float], colour: str) -> None:
    axes.plot([level.workers for level in result.levels], values, color=colour, marker="o", linewidth=2, clip_on=False)


def _throughput(axes: "Axes", target: str, result: Result) -> None:
    _series(axes, result, [level.throughput for level in result.levels], _BLUE)
    most = result.levels[-1].workers
    if result.workers <= most:
        _upright(axes, result.workers, f"use {result.workers}", _BLUE)
    most_calls = max(level.throughput for level in result.levels)
    limits, each = result.recommendation.limits, result.levels[0].cpu
    cpus = min(1.0, limits.cpus) if result.releases_gil is False else limits.cpus
    if each and cpus / each <= 3 * most_calls:  # a line far above would press the others flat
        words = "what the GIL allows" if result.releases_gil is False else "what the CPU limit allows"
        _level_line(axes, cpus / each, words, "-")
    axes.set_title(f"{target}: use {result.workers} workers", color=_TEXT, loc="left")
    axes.set_ylabel("calls a second", color=_TEXT)


def _upright(axes: "Axes", at: int, words: str, colour: str) -> None:
    axes.axvline(at, color=colour, linestyle="--", linewidth=1)
    side, gap = ("left", 5) if at == 1 else ("right", -5)
    axes.annotate(
        words, (at, 0.04), xycoords=("data", "axes fraction"), xytext=(gap, 0), textcoords="offset points",
        color=colour, ha=side,
    )  # fmt: skip


def _level_line(axes: "Axes", at: float, words: str, style: str) -> None:
    axes.axhline(at, color=_RED, linestyle=style, linewidth=1)
    axes.annotate(
        words, (0.01, at), xycoords=("axes fraction", "data"), xytext=(0, 3), textcoords="offset points", color=_RED
    )


def _memory(axes: "Axes", result: Result) -> None:
    sizes = [(level.base + level.memory) / _MIB for level in result.levels]
    _series(axes, result, sizes, _AMBER)
    limits, work = result.recommendation.limits, result.recommendation.workload
    limit = limits.memory_bytes / _MIB
    plan = limit - work.reserve_of(limits.memory_bytes) / _MIB
    axes.set_ylabel("peak memory, MiB", color=_TEXT)
    if limit <= 20 * max(sizes):  # a line far above would press the others flat
        for at, words, style in ((limit, "limit", "-"), (plan, "limit less reserve", "--")):
            _level_line(axes, at, words, style)
        axes.set_ylim(0, max(limit, *sizes) * 1.15)
    else:
        axes.annotate(f"limit: {limit:.0f} MiB, far above", (0.01, 0.88), xycoords="axes fraction", color=_RED)
        axes.set_ylim(0, max(sizes) * 1.35)


def _throttled(axes: "Axes", result: Result) -> None:
    known = [level.throttled for level in result.levels]
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])
    axes.set_ylabel("throttled", color=_TEXT)
    if all(share is None for share in known):
        axes.annotate("no CPU quota", (0.01, 0.5), xycoords="axes fraction", color=_TEXT)
    _series(axes, result, [share or 0.0 for share in known], _RED)


def _dress(axes: "Axes", workers: list[int]) -> None:
    axes.patch.set_alpha(0.0)
    axes.set_xscale("log", base=2)
    axes.set_xticks(workers, [str(count) for count in workers])
    axes.minorticks_off()
    if axes.get_ylim()[0] < 0 or axes.get_ylabel().startswith("calls"):
        axes.set_ylim(bottom=0)
    axes.tick_params(colors=_TEXT)
    axes.grid(color=_GRID, linewidth=0.6)
    spines: Any = axes.spines  # a mapping that matplotlib types as its own container
    for spine in spines.values():
        spine.set_visible(False)
