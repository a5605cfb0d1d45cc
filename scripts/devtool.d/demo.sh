# SPDX-License-Identifier: GPL-2.0-or-later
verb_demo() { # moves a running guest live on this machine, shows it and verifies it
    prepare
    build_guest
    harness demo "$@"
}
