# SPDX-License-Identifier: GPL-2.0-or-later
verb_bench() { # bench migrate|cost|policy|forecast|faults|fleet [--json] [--runs N] [--case NAME] [--engine NAME]: beside others
    local module
    case ${1:-} in
    migrate) module=bench ;; # a migration by either
    cost) module=cost ;;     # a guest that does not migrate
    forecast) module=forecast ;; # what is foretold of ten guests, and what happens
    faults) module=faults ;; # a real fleet under faults
    fleet) shift && bench_fleet "$@" && return ;; # simulated fleets: the planner beside others
    policy) shift && bench_policy "$@" && return ;;
    *) die "usage: ./devtool bench migrate|cost|forecast [--json] [--runs N] [--case NAME]… [--engine NAME]…, or
       ./devtool bench policy [--json] [--guests N] [--explain NUMBER], or
       ./devtool bench fleet [--hosts N --vms N --rounds R --seed S] [--json], or
       ./devtool bench faults [--faults N] [--seed S] [--json]" ;;
    esac
    shift
    # Only results go to stdout: with --json it is read by programs.
    {
        prepare
        build_guest
    } >&2
    harness "$module" "$@"
}

# Simulated guests, thousands of them: the policy beside the rules of others.
bench_policy() {
    prepare >&2
    mkdir -p "$build_dir/bench"
    "$build_dir/tests/bench/policy/policy-bench" --picture "$build_dir/bench/policy.svg" "$@"
    echo "picture: $build_dir/bench/policy.svg" >&2
}

# Simulated hosts, up to tens of thousands: the balancer's planner beside the rules of others.
bench_fleet() {
    prepare >&2
    "$build_dir/bin/drover-balancer" simulate "$@"
}
