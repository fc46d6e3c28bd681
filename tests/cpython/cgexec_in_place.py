"""
Puts our pool in the standard one's place. Not a test: copied into a virtual environment whose interpreters all import
this when they start, also those which a test starts.
"""

import concurrent.futures
import concurrent.futures.thread

import cgexec

concurrent.futures.ThreadPoolExecutor = concurrent.futures.thread.ThreadPoolExecutor = cgexec.ThreadPoolExecutor

# A process with a pool keeps one thread for its exit, from the first pool on. It has to be there before a test counts
# threads, or the test takes it for one that was left behind.
with cgexec.ThreadPoolExecutor(1):
    pass
