# SPDX-License-Identifier: GPL-2.0-or-later
verb_lab() { # the KVM lab: migrations under real KVM on emulated hosts [--filter TEXT]
    prepare
    build_guest
    harness lab "$@"
}
