# SPDX-License-Identifier: Apache-2.0
"""What the outputs that notify have in common: alerts are enriched, formatted, and, for most, sent as the body of a request."""

from __future__ import annotations

import abc
import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ...config import notifications as config
from ..client import Answer, HttpClient, Tls
from ..message import Message
from ..output import Output, OutputError
from .notification import Notification
from .templates import Escape, Template, TemplateError


class SettingError(OutputError):
    """A setting that can't be used. key: as falco.yaml names it; the text begins with it."""

    def __init__(self, key: str, text: str) -> None:
        super().__init__(f"{key}: {text}")
        self.key = key


class Notifier(Output):
    """An output whose alerts are read by people or kept by a service. settings: its group of falco.yaml.

    Raises SettingError for a setting that can't be used.
    """

    def __init__(self, name: str, settings: config.Notifier) -> None:
        self.name = name
        self.batch = getattr(settings, "batch", 1)
        self._key = f"{name}_output"
        self._fields = dict(settings.custom_fields)
        self._templated = {field: self.template(f"templated_fields.{field}", text) for field, text in settings.templated_fields.items()}
        self._more_tags = settings.custom_tags

    def template(self, key: str, source: str, escape: Escape | None = None) -> Template:
        """A template that is the value of a key.

        Raises SettingError if it can't be read.
        """
        try:
            return Template(source, escape)
        except TemplateError as e:
            raise SettingError(f"{self._key}.{key}", str(e)) from None

    def required(self, key: str, value: Any) -> Any:
        """A setting that must be there.

        Raises SettingError if it isn't.
        """
        if not value:
            raise SettingError(f"{self._key}.{key}", "expected a value, as this output is enabled")
        return value

    def notification(self, message: Message) -> Notification:
        """A message with the fields and tags that are added for this receiver."""
        told = Notification.of(message)
        templated = {field: template.render(told) for field, template in self._templated.items()}
        return told.enriched({**self._fields, **templated}, self._more_tags)


class HttpNotifier(Notifier):
    """Sends what payload() makes, as JSON. key: the one that holds the address; path: what comes after the address; headers: of all
    requests; most: bytes that are read of an answer.
    """

    def __init__(self, name: str, settings: config.HttpNotifier, key: str, *, path: str = "", headers: Mapping[str, str] | None = None,
                 url: str = "", method: str = "POST", most: int = 1 << 16) -> None:
        super().__init__(name, settings)
        url = url or self.required(key, getattr(settings, key))
        if not url.startswith(("http://", "https://")):
            raise SettingError(f"{self._key}.{key}", "expected http:// or https://")      # the value may be a secret
        self._method = method
        tls = Tls(settings.insecure, settings.ca_cert, client_cert=settings.client_cert, client_key=settings.client_key)
        try:
            self._client = HttpClient(url.rstrip("/") + path if path else url, timeout=settings.timeout / 1e9, tls=tls, most=most,
                                      headers={"Content-Type": "application/json", **(headers or {})})
        except OutputError as e:
            raise SettingError(".".join(filter(None, (self._key, key if e.key == "url" else e.key))), str(e)) from None

    @abc.abstractmethod
    def payload(self, notifications: Sequence[Notification]) -> Any:
        """What is sent for some alerts; no more than ``batch``."""

    def body(self, notifications: Sequence[Notification]) -> bytes:
        """The body of the request."""
        return encoded(self.payload(notifications))

    def send(self, messages: Sequence[Message]) -> None:
        answer = self._client.request(self._method, self._client.url, self.body([self.notification(m) for m in messages]))
        if not 200 <= answer.status < 300:
            raise self._client.refused(answer)
        self.look(answer, messages)

    def look(self, answer: Answer, messages: Sequence[Message]) -> None:
        """Looks at an answer that is a success by its status.

        Raises Undelivered if it is none.
        """

    def reopen(self) -> None:
        self._client.close()

    def close(self) -> None:
        self._client.close()

    def abort(self) -> None:
        self._client.abort()


def encoded(value: object) -> bytes:
    """JSON. What UTF-8 can't encode (half a surrogate pair, of an event made in Python) becomes an escape."""
    try:
        return msgspec.json.encode(value)
    except (ValueError, OverflowError):
        return json.dumps(value, default=str).encode()


def basic(username: str, password: str) -> dict[str, str]:
    """The header of basic authentication; none without a name."""
    import base64

    return {"Authorization": "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()} if username else {}
