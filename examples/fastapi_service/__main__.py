"""``python -m fastapi_service``: the service as a container runs it, with the right status at the end."""

import os
import signal

if __name__ == "__main__":
    # First of all, since imports take their time, and until the server hears signals itself: nothing has been accepted
    # by then, so there is nothing to wait for. Process 1 gets no signal at all that it has no handler for.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))

    import logging
    import sys

    from fastapi_service.process import main

    try:
        status = main()
    except Exception:  # a full disk, say, on which nobody can ask what became of the jobs
        logging.getLogger("fastapi_service").exception("the service failed")
        status = 1
    logging.shutdown()
    sys.stdout.flush()
    # Not sys.exit: that waits for the threads of jobs that did not end when asked, and SIGKILL would come first.
    os._exit(status)
