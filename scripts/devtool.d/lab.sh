# SPDX-License-Identifier: GPL-2.0-or-later
usage_lab='[--kernel 6.12] [--filter TEXT] [--repeat N] [--timeout N]
cluster [--filter TEXT] [--repeat N] [--timeout N]
accelerators [--short] [--filter TEXT] [--repeat N]
network [--short] [--filter TEXT] [--repeat N]
xen [--short] [--filter TEXT] [--repeat N] [--moves N] [--timeout N]'
verb_lab() { # migrations under real KVM on an emulated host; a cluster of two that balances; between KVM and TCG; over a bad link; a Xen host
    prepare
    build_guest
    harness lab "$@"
}
