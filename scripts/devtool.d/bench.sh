# SPDX-License-Identifier: GPL-2.0-or-later
verb_bench() { # bench migrate|cost [--json] [--runs N] [--case NAME] [--engine NAME]: beside stock QEMU
    local module
    case ${1:-} in
    migrate) module=bench ;; # a migration by either
    cost) module=cost ;;     # a guest that does not migrate
    *) die "usage: ./devtool bench migrate|cost [--json] [--runs N] [--case NAME]… [--engine NAME]…" ;;
    esac
    shift
    # Only results go to stdout: with --json it is read by programs.
    {
        prepare
        build_guest
    } >&2
    harness "$module" "$@"
}
