# SPDX-License-Identifier: Apache-2.0
"""Names of images: ``registry:5000/team/app:1.2@sha256:…``."""

from __future__ import annotations

from collections.abc import Iterable


def parse(name: str) -> tuple[str, str, str]:
    """Repository, tag and digest; those that the name doesn't have are empty. Without tag and digest, the tag is ``latest``."""
    rest, _, digest = name.partition("@")
    path, slash, last = rest.rpartition("/")
    last, colon, tag = last.partition(":")      # a colon before the last slash is of the registry's port
    repository = path + slash + last
    return repository, tag if colon else ("latest" if repository and not digest else ""), digest


def digest_of(references: Iterable[str], repository: str) -> str:
    """The digest among ``repository@sha256:…`` of that repository, else the first."""
    split = [(name, digest) for name, at, digest in (r.partition("@") for r in references) if at]
    return next((digest for name, digest in split if name == repository), split[0][1] if split else "")
