"""The machinery of a pool: one state machine that decides, and threads that do as it says."""
