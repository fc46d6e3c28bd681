"""What was learned about functions, from hand-made looks."""

from itertools import count

from cgexec._adaptive.profile import Known, Look, Profiler
from cgexec._memory.functions import numbered

modules = count()


def make(name):
    """Return the code of a function of that name in a module of its own."""
    space = {}
    exec(compile(f"def {name}():\n    pass", f"module_{next(modules)}.py", "exec"), space)
    return space[name].__code__


def feed(profiler, busy):
    """Look five times, a second apart: which code each thread runs, and how much of the time it computes."""
    for now in range(5):
        looks = [Look(thread, code, code.co_qualname, share * now) for thread, (code, share) in enumerate(busy)]
        profiler.feed(float(now), looks, crowded=False)


def test_functions_of_one_name_are_kept_apart():
    one, other = make("work"), make("work")
    assert one == other  # alike to the last instruction
    profiler = Profiler()
    feed(profiler, [(one, 0.1), (other, 0.7)])
    seen = profiler.profile([Known(other, "work", 7 << 20, 3), Known(one, "work", 1 << 20, 5)]).functions
    assert {name: (each.io_ratio, each.memory_per_task) for name, each in seen.items()} == {
        "work": (0.3, 7 << 20),
        "work (2)": (0.9, 1 << 20),
    }


def test_names_are_numbered_as_where_memory_is_shown():
    """A function whose memory is not known comes after those whose is, or the numbers would not fit together."""
    one, other = make("work"), make("work")
    profiler = Profiler()
    feed(profiler, [(one, 0.1)])
    seen = profiler.profile([Known(other, "work", 7 << 20, 3)]).functions
    assert (seen["work"].memory_per_task, seen["work"].io_ratio) == (7 << 20, None)
    assert (seen["work (2)"].memory_per_task, seen["work (2)"].io_ratio) == (None, 0.9)


def test_a_thread_that_changes_to_another_function_of_that_name_is_not_counted():
    one, other = make("work"), make("work")
    profiler = Profiler()
    for now in range(10):
        profiler.feed(float(now), [Look(1, (one, other)[now % 2], "work", 0.5 * now)], crowded=False)
    assert not profiler.profile([]).functions


def test_the_first_of_a_name_has_it_bare():
    assert numbered(["a", "b", "a", "a"]) == ["a", "b", "a (2)", "a (3)"]


def test_the_time_without_work_is_not_waiting():
    code = make("work")
    profiler = Profiler()
    for burst in range(3):
        for step in range(4):
            cpu = 0.03 * burst + 0.01 * step
            profiler.feed(60 * burst + 0.01 * step, [Look(1, code, "work", cpu)], crowded=False)
        profiler.rest()
    assert profiler.profile([]).io_ratio == 0.0
