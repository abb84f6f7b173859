# SPDX-License-Identifier: Apache-2.0
"""Kafka, by librdkafka (confluent-kafka): Falco's JSON, a message each. Messages are delivered when the brokers have said so of each."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...config.notifications import KafkaOutput
from ..message import Message
from ..output import Undelivered
from .base import Notifier, SettingError, encoded
from .extras import needs
from .notification import cut

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Producer

_log = logging.getLogger("falcolib.outputs")
_FILES = {"ssl.ca.location": "ca_cert", "ssl.certificate.location": "client_cert", "ssl.key.location": "client_key"}
#: Characters of a key.
KEY = 1024


class Kafka(Notifier):
    """Produces messages. more: properties of librdkafka, as tests need them."""

    def __init__(self, settings: KafkaOutput, more: dict[str, Any] | None = None) -> None:
        super().__init__("kafka", settings)
        needs("kafka", f"{self._key}.enabled", "confluent_kafka")
        self._settings = settings
        self._topic: str = self.required("topic", settings.topic)
        self._message_key = self.template("key", settings.key) if settings.key else None
        self._properties = self._configured() | (more or {})
        self._producer: Producer | None = None
        self._aborted = threading.Event()
        from confluent_kafka import KafkaException

        try:
            self._open()
        except KafkaException as e:
            raise SettingError(self._key, str(e.args[0].str())) from None

    def _configured(self) -> dict[str, Any]:
        on = self._settings
        brokers = self.required("brokers", on.brokers)
        sasl = on.sasl_mechanism != "none"
        properties: dict[str, Any] = {
            "bootstrap.servers": ",".join(brokers), "client.id": on.client_id, "acks": on.acks, "compression.type": on.compression,
            "message.timeout.ms": max(on.timeout // 10**6, 1), "socket.timeout.ms": max(on.timeout // 10**6, 10),
            "enable.idempotence": on.acks == "all", "linger.ms": 0, "log_level": 2,
            "queue.buffering.max.messages": max(on.batch * 2, 1000),
            "security.protocol": ("SASL_SSL" if sasl else "SSL") if on.tls else ("SASL_PLAINTEXT" if sasl else "PLAINTEXT")}
        if sasl:
            properties |= {"sasl.mechanism": on.sasl_mechanism, "sasl.username": self.required("username", on.username),
                           "sasl.password": self.required("password", on.password)}
        files = {name: getattr(on, key) for name, key in _FILES.items()}
        for name, path in files.items():
            if path and not os.access(path, os.R_OK):
                raise SettingError(f"{self._key}.{_FILES[name]}", f"{path}: can't be read")
        if on.tls:
            properties |= {name: path for name, path in files.items() if path}
            properties["enable.ssl.certificate.verification"] = not on.insecure
        return properties

    def _open(self) -> Producer:
        from confluent_kafka import Producer

        if self._producer is None:
            self._producer = Producer(self._properties, logger=_log)
        return self._producer

    def send(self, messages: Sequence[Message]) -> None:
        from confluent_kafka import KafkaException

        producer = self._open()
        errors: dict[int, KafkaError | None] = {}
        for at, message in enumerate(messages):
            n = self.notification(message)

            def word(error: KafkaError | None, _: object, at: int = at) -> None:
                errors[at] = error

            key = cut(self._message_key.render(n), KEY).encode("utf-8", "replace") if self._message_key else None
            try:
                producer.produce(self._topic, encoded(n.as_dict()), key, self._settings.partition, word, timestamp=n.time // 10**6)
            except (BufferError, KafkaException) as e:
                errors[at] = e.args[0] if isinstance(e, KafkaException) else None
                if isinstance(e, BufferError):
                    raise Undelivered("the client's own queue is full", left=self._purge(producer, messages, errors)) from None
        until = time.monotonic() + self._settings.timeout / 1e9 + 1
        while len(errors) < len(messages) and time.monotonic() < until and not self._aborted.is_set():
            producer.poll(0.1)
        if len(errors) < len(messages):
            raise Undelivered("no word of the brokers in time", left=self._purge(producer, messages, errors))
        failed = [at for at in range(len(messages)) if errors[at] is not None]
        if failed:
            # what may go well later comes first; what is refused for good is refused again, alone, and given up
            told = [error for at in failed if (error := errors[at]) is not None]
            if any(error.fatal() for error in told):
                self._producer = None       # a producer that has failed for good is of no use
            again = [error for error in told if _passing(error)]
            raise Undelivered((again or told)[0].str(), retry=bool(again), left=[messages[at] for at in failed])

    def _purge(self, producer: Producer, messages: Sequence[Message], errors: dict[int, KafkaError | None]) -> list[Message]:
        """Takes back what is under way; the messages of which nobody said that they are delivered."""
        producer.purge(in_queue=True, in_flight=True, blocking=True)
        producer.flush(1)
        self._producer = None
        return [message for at, message in enumerate(messages) if at not in errors or errors[at] is not None]

    def reopen(self) -> None:
        self._producer = None

    def close(self) -> None:
        if self._producer is not None:
            self._producer.flush(1)
            self._producer = None

    def abort(self) -> None:
        self._aborted.set()


def _passing(error: KafkaError) -> bool:
    """Whether the same may go well later. What is about the message itself stays as it is."""
    from confluent_kafka import KafkaError as Known

    return error.code() not in (Known.MSG_SIZE_TOO_LARGE, Known.INVALID_MSG, Known.INVALID_MSG_SIZE, Known.INVALID_RECORD)
