# SPDX-License-Identifier: Apache-2.0
"""What runtimes know of containers: names, images, labels, mounts, pods. Asked for beside the loop, by the ids that come up in it."""

from .options import Containers, StaticContainer

__all__ = ["Containers", "StaticContainer"]
