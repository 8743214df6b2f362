# SPDX-License-Identifier: Apache-2.0
"""What the system tests stand on: registries, layouts, the daemon, mounts. No test is in here."""
