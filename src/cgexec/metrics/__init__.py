"""
A pool's numbers for monitoring systems: `cgexec.metrics.prometheus` and `cgexec.metrics.opentelemetry`, over one table.

Each needs its extra, and loads it when it is called.
"""
