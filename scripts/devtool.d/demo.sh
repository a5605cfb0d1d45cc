# SPDX-License-Identifier: GPL-2.0-or-later
verb_demo() { # demo [--hosts N] [--hotspot cpu|bandwidth|swap]: a host gets hot, and is relieved; demo move: one guest moves live
    local module=demo
    if [ "${1:-}" = move ]; then
        module=move_demo
        shift
    fi
    prepare
    build_guest
    harness "$module" "$@"
}
