"""Print limits and room once a second, as a service's own health check might look at them."""

import argparse
import time

import cgexec


def line() -> str:
    """Return the state of this container in one line."""
    limits, usage = cgexec.limits(), cgexec.usage()
    return (
        f"{cgexec.format_bytes(usage.memory_bytes)} of {cgexec.format_bytes(limits.memory_bytes)} used, "
        f"{cgexec.format_bytes(usage.headroom_bytes)} left; {limits.cpus:g} CPUs"
    )


def main() -> None:
    """Print *count* lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=3, help="how many lines (default: 3)")
    parser.add_argument("--seconds", type=float, default=1.0, help="time between two (default: 1)")
    arguments = parser.parse_args()
    for _ in range(arguments.count):
        print(line(), flush=True)
        time.sleep(arguments.seconds)


if __name__ == "__main__":
    main()
