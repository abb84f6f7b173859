# SPDX-License-Identifier: Apache-2.0
"""Mails: one for each alert, or for those that waited meanwhile. Headers are made by the standard library, of a single line each."""

from __future__ import annotations

import contextlib
import re
import smtplib
import socket
import ssl
import time
from collections.abc import Sequence
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as POLICY
from email.utils import formatdate, make_msgid, parseaddr
from html import escape as html_escape

from ...config.notifications import SmtpOutput
from ..message import Message
from ..output import Undelivered
from .base import Notifier, SettingError
from .colours import COLOURS
from .notification import Notification, cut, rows

#: Characters of a subject, of an alert's text, of a value.
SUBJECT, TEXT, VALUE = 200, 4000, 2000
_PORTS = {"tls": 465, "starttls": 587, "none": 25}


class Smtp(Notifier):
    """Sends mails."""

    def __init__(self, settings: SmtpOutput) -> None:
        super().__init__("smtp", settings)
        self._settings = settings
        self._host: str = self.required("host", settings.host)
        self._port = settings.port or _PORTS[settings.security]
        self._sender = self._address("sender", self.required("sender", settings.sender))
        self._recipients = [self._address("recipients", text) for text in self.required("recipients", settings.recipients)]
        self._subject = self.template("subject", settings.subject or "[{{ priority }}] {{ rule }}")
        if settings.username and settings.security == "none" and settings.password:
            raise SettingError(f"{self._key}.security", "a password isn't sent over a plain connection: tls or starttls")
        self._connection: smtplib.SMTP | None = None
        self._tls = None if settings.security == "none" else self._context()

    def _address(self, key: str, text: str) -> Address:
        name, spec = parseaddr(text)
        try:
            if re.search(r"[\x00-\x1f\x7f]", text):
                raise ValueError
            return Address(name, addr_spec=spec)
        except (ValueError, IndexError):
            raise SettingError(f"{self._key}.{key}", f"{text!r} is no mail address") from None
        except Exception:       # errors of the parser of headers, which are of several kinds
            raise SettingError(f"{self._key}.{key}", f"{text!r} is no mail address") from None

    def _context(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self._settings.ca_cert or None)
        except OSError as e:
            raise SettingError(f"{self._key}.ca_cert", f"{self._settings.ca_cert}: {e.strerror or e}") from None
        if self._settings.insecure:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context

    def mail(self, notifications: Sequence[Notification]) -> EmailMessage:
        """The mail about some alerts."""
        first = min(notifications, key=lambda n: n.priority)
        mail = EmailMessage(policy=POLICY)
        mail["From"] = self._sender
        mail["To"] = self._recipients
        others = f" (and {len(notifications) - 1} more)" if len(notifications) > 1 else ""
        mail["Subject"] = _one_line(cut(self._subject.render(first), SUBJECT)) + others
        mail["Date"] = formatdate(time.time())
        mail["Message-ID"] = make_msgid(domain=self._sender.domain or "localhost")
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content("\n".join(_text(n) for n in notifications))
        if self._settings.output_format == "html":
            mail.add_alternative("".join(("<html><body>", *map(_html, notifications), "</body></html>")), subtype="html")
        return mail

    def send(self, messages: Sequence[Message]) -> None:
        mail = self.mail([self.notification(m) for m in messages])
        try:
            with contextlib.closing(self._connected()) as connection:
                connection.send_message(mail, self._sender.addr_spec, [r.addr_spec for r in self._recipients])
                with contextlib.suppress(smtplib.SMTPException, OSError):       # the mail is taken
                    connection.quit()
        except smtplib.SMTPRecipientsRefused as e:
            codes = [code for code, _ in e.recipients.values()]
            raise Undelivered(f"no recipient was taken: {_codes(e.recipients)}", retry=any(code < 500 for code in codes)) from None
        except smtplib.SMTPNotSupportedError as e:
            raise Undelivered(str(e), retry=False) from None
        except smtplib.SMTPResponseException as e:
            said = e.smtp_error.decode("utf-8", "replace") if isinstance(e.smtp_error, bytes) else str(e.smtp_error)
            for_good = 500 <= e.smtp_code < 600
            raise Undelivered(f"{self._host}:{self._port} answered {e.smtp_code} {said[:200]}", retry=not for_good) from None
        except (smtplib.SMTPException, OSError, ValueError) as e:
            raise Undelivered(f"{self._host}:{self._port}: {e or type(e).__name__}", retry=not isinstance(e, ValueError)) from None
        finally:
            self._connection = None

    def _connected(self) -> smtplib.SMTP:
        on, seconds = self._settings, self._settings.timeout / 1e9
        if on.security == "tls" and self._tls:
            connection: smtplib.SMTP = smtplib.SMTP_SSL(self._host, self._port, timeout=seconds, context=self._tls)
        else:
            connection = smtplib.SMTP(self._host, self._port, timeout=seconds)
        self._connection = connection
        try:
            if on.security == "starttls":
                connection.starttls(context=self._tls)
            if on.username:
                connection.login(on.username, on.password)
        except BaseException:
            connection.close()
            raise
        return connection

    def abort(self) -> None:
        connection = self._connection
        sock = connection.sock if connection is not None else None
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


def _codes(recipients: dict[str, tuple[int, bytes]]) -> str:
    return ", ".join(f"{who}: {code} {text.decode('utf-8', 'replace')}" for who, (code, text) in recipients.items())[:300]


def _one_line(text: str) -> str:
    """A header's value: control characters, line ends of Unicode among them, are blanks. What looks like an encoded word
    (``=?utf-8?q?a=0A?=``) is made plain: the email package would decode it, and write out the line ends in it.
    """
    return " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+", " ", text).replace("=?", "= ?").split())


def _readable(text: str) -> str:
    """What a body may hold: no control characters, and nothing that UTF-8 can't encode."""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]", "\ufffd", text)


def _text(n: Notification) -> str:
    told = rows(n)
    width = max(len(title) for title, _ in told)
    lines = [cut(n.output, TEXT), "", *(f"{title:{width}}  {cut(value, VALUE)}" for title, value in told), ""]
    return _readable("\n".join(lines))


def _html(n: Notification) -> str:
    cells = "".join(f"<tr><td><b>{html_escape(title)}</b></td><td>{html_escape(cut(value, VALUE))}</td></tr>" for title, value in rows(n))
    return _readable(f'<div style="border-left: 6px solid {COLOURS[n.priority]}; padding-left: 12px; margin-bottom: 24px">'
                     f"<p>{html_escape(cut(n.output, TEXT))}</p><table>{cells}</table></div>")
