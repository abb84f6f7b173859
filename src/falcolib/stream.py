# SPDX-License-Identifier: Apache-2.0
"""Alerts for asynchronous code: a run in a thread of its own, asked for one alert at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor

from .alert import Alert


async def stream(alerts: Generator[Alert, None, None], stop: Callable[[], None]) -> AsyncIterator[Alert]:
    """The alerts of a run. The event loop goes on while the run waits; the run waits while its alerts aren't asked for.

    Where the task is cancelled, or the iterator closed, `stop` ends the run, and its sources are closed before the iterator ends.
    """
    loop = asyncio.get_running_loop()
    pool = ThreadPoolExecutor(1, "falcolib-stream")     # one thread: what is asked of the run is done one after the other
    ended = False
    try:
        while True:
            try:
                alert = await asyncio.shield(loop.run_in_executor(pool, next, alerts, None))
            except asyncio.CancelledError:
                raise
            except BaseException:
                ended = True
                raise
            if alert is None:
                ended = True
                return
            yield alert
    finally:
        if not ended:
            stop()
        await asyncio.shield(loop.run_in_executor(pool, alerts.close))
        pool.shutdown(wait=False)
