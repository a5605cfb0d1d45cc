# SPDX-License-Identifier: GPL-2.0-or-later
usage_demo='[--hosts 2|3|4|5|6|7|8] [--hotspot cpu|bandwidth|swap] [--persistence S] [--json]
move'
verb_demo() { # a host gets hot, and is relieved; with move: one guest moves live
    local module=demo
    if [ "${1:-}" = move ]; then
        module=move_demo
        shift
    fi
    prepare
    build_guest
    harness "$module" "$@"
}
