# SPDX-License-Identifier: GPL-2.0-or-later
"""What scripts fetch from Debian's archive when a test first wants it."""

import subprocess

_CANNOT = 77


def fetched(script, *arguments) -> str | None:
    """Runs it; why it cannot be had, or None where it is there."""
    done = subprocess.run([str(script), *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode == _CANNOT:
        return done.stdout.strip().splitlines()[-1]
    if done.returncode != 0:
        raise RuntimeError(f"{script}: exit code {done.returncode}: {done.stdout}{done.stderr}")
    return None
