# SPDX-License-Identifier: GPL-2.0-or-later
usage_soak='[--migrations N] [--json] [--engine NAME] [--kind NAME]'
verb_soak() { # ten kinds of guest, moved again and again beside stock QEMU, each move verified
    # Only results go to stdout: with --json it is read by programs.
    {
        prepare
        build_guest
    } >&2
    harness soak "$@"
}
