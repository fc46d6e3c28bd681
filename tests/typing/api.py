"""Read by type checkers only: the public signatures, as a caller meets them."""

from collections.abc import Mapping
from typing import assert_type

import cgexec

assert_type(cgexec.limits(), cgexec.Limits)
assert_type(cgexec.limits(root="/host").cpus, float)
assert_type(cgexec.limits().cpu_quota, float | None)
assert_type(cgexec.limits().memory_bytes, int)
assert_type(cgexec.limits().sources, Mapping[str, str])
assert_type(cgexec.limits().notes, tuple[str, ...])
assert_type(cgexec.usage().headroom_bytes, int)
assert_type(cgexec.usage().nr_throttled, int | None)
assert_type(cgexec.recommend(), cgexec.Recommendation)
assert_type(cgexec.recommend(memory_per_task="200Mi", io_ratio=0.9, processes=4).max_workers, int)
assert_type(cgexec.recommend(kind="process", reserve=0.2, basis="now").explain(), str)
assert_type(cgexec.recommend(limits=cgexec.limits(), usage=cgexec.usage()).terms, Mapping[str, int | None])
assert_type(cgexec.parse_quantity("1.5Gi"), int | float)
assert_type(cgexec.format_bytes(1 << 30), str)

cgexec.recommend(kind="greenlet")  # type: ignore[arg-type]  # only threads and processes
cgexec.limits("/host")  # type: ignore[call-arg]  # root is keyword-only
cgexec.limits().cpus = 3.0  # type: ignore[misc]  # frozen
