# SPDX-License-Identifier: Apache-2.0
"""What falcolib costs, measured: ``python -m benchmarks`` (make bench). docs/performance.md tells the method and its bias."""
