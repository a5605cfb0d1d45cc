# SPDX-License-Identifier: GPL-2.0-or-later
"""The end-to-end harness: real guests under drover-system-x86_64, or under stock QEMU."""
