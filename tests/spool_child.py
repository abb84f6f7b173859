# SPDX-License-Identifier: Apache-2.0
"""Emits messages of numbers FIRST to LAST to an HTTP receiver through a spool, a line on stdout for each: for tests that kill it.

Then it waits for the end of standard input, and for what is queued.
"""

import sys

from falcolib.outputs import Channel, HttpOutput, Outputs, Retry, Spool
from messages import message

if __name__ == "__main__":
    folder, url, first, last = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    channel = Channel(HttpOutput(url, json=True), queue=Spool(folder, "http"), retry=Retry(attempts=0, first=0.01, most=0.1))
    with Outputs([channel], drain=240) as outputs:
        for n in range(first, last):
            outputs.emit(message(n))
            print(n, flush=True)
        sys.stdin.read()
