# SPDX-License-Identifier: Apache-2.0
"""Kubernetes: roles from audit logs, and how an API server is told to send its audit events here."""

from .apiserver import ApiServerConfig, api_server_config, audit_policy
from .manifests import Manifests, audit2rbac
from .providers import unwrap_aks, unwrap_eks, unwrap_gke

__all__ = ["ApiServerConfig", "Manifests", "api_server_config", "audit2rbac", "audit_policy", "unwrap_aks", "unwrap_eks", "unwrap_gke"]
