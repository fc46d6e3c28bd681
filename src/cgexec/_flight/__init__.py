"""The flight recorder: what a process was doing, in a file that outlives its being killed."""
