# SPDX-License-Identifier: Apache-2.0
"""Elasticsearch and OpenSearch: documents by the bulk API, https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-bulk.

Each document has an id made of what the alert is, so that one that is sent twice (its answer was lost) is there once.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from ...config.notifications import ElasticsearchOutput
from ..client import Answer
from ..message import Message
from ..output import Undelivered
from .base import HttpNotifier, SettingError, basic, encoded
from .notification import Notification

_SUFFIXES = {"none": "", "daily": "-%Y.%m.%d", "monthly": "-%Y.%m", "annually": "-%Y"}
_NS = 10**9
#: What is wanted of an answer, and its bytes at most.
_FILTER, _ANSWER = "errors,items.*.status,items.*.error.type,items.*.error.reason", 8 << 20
#: Status of an item that is there already: the first attempt's answer was lost.
_CONFLICT = 409


class Elasticsearch(HttpNotifier):
    """Adds documents, several in a request."""

    def __init__(self, settings: ElasticsearchOutput) -> None:
        key = {"Authorization": f"ApiKey {settings.api_key}"} if settings.api_key else basic(settings.username, settings.password)
        super().__init__("elasticsearch", settings, "url", path=f"/_bulk?filter_path={_FILTER}", most=_ANSWER,
                         headers={"Content-Type": "application/x-ndjson", **key})
        self._settings = settings
        name = self.required("index", settings.index)
        if name != name.lower() or re.search(r'[\\/*?"<>| ,#:]', name) or name[0] in "-_+." or len(name.encode()) > 240:
            raise SettingError(f"{self._key}.index", f"{name!r} can't be the name of an index")
        if settings.data_stream and settings.suffix != "none":
            raise SettingError(f"{self._key}.suffix", "a data stream has none: set it to none")

    def payload(self, notifications: Sequence[Notification]) -> list[dict[str, Any]]:
        """Lines: for each document, where it goes, and itself."""
        lines: list[dict[str, Any]] = []
        for n in notifications:
            seconds = time.gmtime(n.time // _NS)
            action = {"_index": self._settings.index + time.strftime(_SUFFIXES[self._settings.suffix], seconds), "_id": document_id(n)}
            if self._settings.pipeline:
                action["pipeline"] = self._settings.pipeline
            lines += [{"create": action}, self._document(n)]
        return lines

    def _document(self, n: Notification) -> dict[str, Any]:
        document = n.as_dict()
        if self._settings.flatten_fields and "output_fields" in document:
            document["output_fields"] = {re.sub(r"[.\[\]]+", "_", k).rstrip("_"): v for k, v in document["output_fields"].items()}
        return {"@timestamp": n.time_iso, **document}

    def body(self, notifications: Sequence[Notification]) -> bytes:
        return b"".join(encoded(line) + b"\n" for line in self.payload(notifications))

    def look(self, answer: Answer, messages: Sequence[Message]) -> None:
        """Each document has an answer of its own."""
        try:
            told = msgspec.json.decode(answer.body)
            if not told["errors"]:
                return
            items = [item["create"] for item in told["items"]]
            states = [int(item["status"]) for item in items]
        except (ValueError, LookupError, TypeError):
            raise Undelivered("the answer is not that of a bulk API", retry=False) from None
        if len(states) != len(messages):
            raise Undelivered("the answer is about other documents", retry=False)
        failed = [at for at, status in enumerate(states) if status >= 300 and status != _CONFLICT]
        if not failed:
            return
        # what may go well later comes first; what is refused for good is refused again, alone, and given up
        retry = any(states[at] == 429 or states[at] >= 500 for at in failed)
        raise Undelivered(f"{len(failed)} of {len(messages)} documents refused: {_reason(items[failed[0]])}", retry=retry,
                          left=[messages[at] for at in failed])


def document_id(n: Notification) -> str:
    """The same for the same alert of the same host."""
    return hashlib.sha256(f"{n.hostname}\0{n.time}\0{n.id}".encode("utf-8", "replace")).hexdigest()[:40]


def _reason(item: Any) -> str:
    error = item.get("error") if isinstance(item, dict) else None
    if isinstance(error, dict):
        return f"{item.get('status')} {error.get('type')}: {error.get('reason')}"[:300]
    return f"{item.get('status') if isinstance(item, dict) else item}"[:300]
