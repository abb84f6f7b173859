# SPDX-License-Identifier: Apache-2.0
"""Kubernetes: roles from audit logs, and how an API server is told to send its audit events here."""

from .manifests import Manifests, audit2rbac

__all__ = ["Manifests", "audit2rbac"]
