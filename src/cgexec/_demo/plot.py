"""The picture of a run: memory against the limit above, results below. Needs matplotlib, from the extra ``plot``."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cgexec._demo.arena import Arena
from cgexec._demo.contest import Run, Sample
from cgexec._demo.work import Plan
from cgexec._quantity import format_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["SUFFIXES", "check", "draw"]

SUFFIXES = (".svg", ".png")
# Told apart by people who see no red or green (after Okabe and Ito), and readable on white and on black alike.
_COLOURS = {"stock": "#d55e00", "cgexec": "#2a8fd6"}
_GREY = "#808080"
_MIB = 1 << 20
_DYING_S = 0.5


def check(path: str) -> None:
    """
    Find out before the run whether there will be a picture.

    Raises:
        ValueError: matplotlib is missing, the name says no format we write, or there is no such folder.
    """
    if Path(path).suffix.lower() not in SUFFIXES:
        raise ValueError(f"--plot {path}: expected a name that ends in {' or '.join(SUFFIXES)}")
    if not Path(path).absolute().parent.is_dir():
        raise ValueError(f"--plot {path}: there is no folder {Path(path).parent}")
    try:
        import matplotlib  # noqa: F401, ICN001  # only whether it is there
    except ImportError:
        raise ValueError('--plot needs matplotlib: pip install "cgexec[plot]"') from None


def draw(path: str, plan: Plan, arena: Arena, runs: Sequence[Run]) -> None:
    """
    Write the picture. Its background is transparent and its lines are grey, so that it suits light and dark pages.

    Raises:
        ValueError: the file cannot be written.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    style: dict[Any, object] = {  # Any: rc_context names every key there is in its type
        "font.size": 10, "text.color": _GREY, "axes.labelcolor": _GREY, "axes.edgecolor": _GREY,
        "xtick.color": _GREY, "ytick.color": _GREY, "axes.spines.top": False, "axes.spines.right": False,
        "svg.fonttype": "none", "svg.hashsalt": "cgexec",
    }  # fmt: skip
    with rc_context(style):
        figure = Figure(figsize=(7.5, 4.8), layout="constrained")
        memory, results = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        _memory(memory, plan, arena, runs)
        _results(results, plan, runs)
        try:
            figure.savefig(path, transparent=True, dpi=150, metadata={"Date": None} if path.endswith(".svg") else None)
        except OSError as error:
            raise ValueError(f"--plot {path}: cannot be written ({error.strerror or error})") from None


def _memory(axes: "Axes", plan: Plan, arena: Arena, runs: Sequence[Run]) -> None:
    limit = plan.memory / _MIB
    axes.axhline(limit, color=_GREY, linestyle="--", linewidth=1)
    what = "limit" if arena.real else "limit, simulated with RLIMIT_DATA"
    axes.annotate(f"{what}: {format_bytes(plan.memory)}", (1, limit), (-2, 3), xycoords=("axes fraction", "data"),
                  textcoords="offset points", ha="right", va="bottom")  # fmt: skip
    for run in runs:
        colour = _COLOURS[run.name]
        samples = _alive(run)
        axes.plot([s.seconds for s in samples], [s.used / _MIB for s in samples], color=colour, linewidth=1.6)
        end = run.outcome
        if end is None or end.how == "completed" or not samples:
            continue
        word = "killed" if end.how == "killed" else end.how
        when, top = samples[-1].seconds, min(end.peak / _MIB, limit) if arena.real else samples[-1].used / _MIB
        axes.plot([when, when], [samples[-1].used / _MIB, top], color=colour, linewidth=1.6)
        axes.plot([when], [top], marker="X", markersize=10, color=colour, clip_on=False)
        axes.annotate(f"{run.name}: {word}", (when, top), (9, -4), textcoords="offset points", color=colour,
                      weight="bold", va="top")  # fmt: skip
    axes.set_ylim(0, limit * 1.15)
    axes.set_xlim(left=0)
    axes.set_ylabel("memory in use, MiB")


def _alive(run: Run) -> Sequence[Sample]:
    """Return the samples but the last ones of a run that was killed, in which its memory was being taken away."""
    end = run.outcome
    if end is None or end.how == "completed":
        return run.samples
    last = [number for number, sample in enumerate(run.samples) if sample.seconds > end.seconds - _DYING_S]
    top = max(last, key=lambda number: run.samples[number].used, default=len(run.samples))
    return run.samples[: top + 1]


def _results(axes: "Axes", plan: Plan, runs: Sequence[Run]) -> None:
    for run in runs:
        end = run.outcome
        if end is None:
            continue
        times = [*(s.seconds for s in run.samples), end.seconds]
        colour = _COLOURS[run.name]
        axes.plot(times, [*(s.done for s in run.samples), end.done], color=colour, linewidth=1.6)
        # Above its end; for a run that ended early at the top, as the other's line has still to climb there.
        late = end.seconds > 0.5 * max(r.seconds for r in runs)
        axes.annotate(f"{run.name}: {end.done} of {plan.tasks}", (end.seconds, end.done if late else plan.tasks),
                      (0, 9), textcoords="offset points", color=colour, weight="bold",
                      va="center", ha="right" if late else "left")  # fmt: skip
    axes.set_ylim(0, plan.tasks * 1.25)
    axes.set_ylabel("results")
    axes.set_xlabel("seconds")
