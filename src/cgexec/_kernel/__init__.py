"""
Reading the kernel: the only package that knows the name of a kernel file.

``parse`` turns text into values and ``locate`` finds the directories that concern this process; both are pure and run
on any system. ``files`` holds the only ``open``, ``levels`` knows which files v1 and v2 have, ``host`` asks about the
machine (and is the only module that asks which platform this is), ``windows`` reads a job object.
"""
