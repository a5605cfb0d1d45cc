# SPDX-License-Identifier: GPL-2.0-or-later
usage_unit='[FILTER]'
verb_unit() { # the unit tests without sanitizers; FILTER as GoogleTest has it, such as 'Governor.*'
    install_packages
    step "building"
    targets=$unit_targets build_programs "$build_dir"
    with_huge_pages "$build_dir/tests/unit/unit-tests" ${1:+--gtest_filter="$1"}
}
