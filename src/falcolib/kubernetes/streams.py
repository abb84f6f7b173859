# SPDX-License-Identifier: Apache-2.0
"""Where audit events are read from: files, standard input, file objects and URLs; plain or gzip."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO

from ..errors import FalcolibError
from ..sources import CaptureReader

#: Seconds that a server may be silent.
TIMEOUT = 30


def open_stream(source: str | os.PathLike[str] | BinaryIO, insecure: bool = False) -> Iterator[bytes]:
    """The uncompressed bytes, in pieces. ``-`` is standard input. insecure: an https server's certificate isn't verified.

    Raises OSError where the source can't be read, CaptureError where gzip data is corrupt, and FalcolibError for an answer that isn't 200.
    """
    if isinstance(source, str) and source.startswith(("http://", "https://")):
        yield from _fetch(source, insecure)
    else:
        yield from CaptureReader(source).chunks()


def _fetch(url: str, insecure: bool) -> Iterator[bytes]:
    import http.client
    import ssl
    import urllib.error
    import urllib.request

    context = ssl.create_default_context()
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    request = urllib.request.Request(url, headers={"User-Agent": "falcolib-audit2rbac", "Accept-Encoding": "identity"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT, context=context) as answer:
            if answer.status != 200:
                raise FalcolibError(f"{url}: the server answered {answer.status}")
            yield from CaptureReader(answer).chunks()
    except urllib.error.HTTPError as e:
        raise FalcolibError(f"{url}: the server answered {e.code}") from None
    except urllib.error.URLError as e:
        reason = e.reason
        hint = "; --insecure accepts it" if isinstance(reason, ssl.SSLCertVerificationError) else ""
        raise FalcolibError(f"{url}: {reason}{hint}") from None
    except (http.client.HTTPException, ValueError) as e:
        raise FalcolibError(f"{url}: {e}") from None
