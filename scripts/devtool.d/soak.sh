# SPDX-License-Identifier: GPL-2.0-or-later
verb_soak() { # soak [--migrations N] [--json] [--engine NAME] [--kind NAME]: ten kinds of guest, moved again and again, each verified
    # Only results go to stdout: with --json it is read by programs.
    {
        prepare
        build_guest
    } >&2
    harness soak "$@"
}
