"""
``python -m cgexec profile``: how a function behaves alone and beside itself, found by running it.

`child` runs it, `measure` starts a fresh child for each level and watches it from outside, `evaluate` (pure) says what
follows, `report` and `plot` show it.
"""
