# SPDX-License-Identifier: GPL-2.0-or-later
verb_lab() { # lab [cluster] [--filter TEXT]: migrations under real KVM on an emulated host; a cluster of two that balances
    prepare
    build_guest
    harness lab "$@"
}
