# SPDX-License-Identifier: GPL-2.0-or-later
verb_bench() { # bench migrate [--json] [--runs N] [--case NAME] [--engine NAME]: beside stock QEMU
    [ "${1:-}" = migrate ] || die "usage: ./devtool bench migrate [--json] [--runs N] [--case NAME]… [--engine NAME]…"
    shift
    # Only results go to stdout: with --json it is read by programs.
    {
        prepare
        build_guest
    } >&2
    harness bench "$@"
}
