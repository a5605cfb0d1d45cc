# SPDX-License-Identifier: GPL-2.0-or-later
usage_bench='migrate [--json] [--runs N] [--case NAME] [--engine NAME]
cost [--json] [--runs N]
forecast [--json] [--case NAME]
faults [--json] [--faults N] [--seed N]
fleet [--json] [--hosts N] [--vms N] [--rounds N] [--seed N] [--planner NAME]
policy [--json] [--guests N] [--explain N]
translation [--json] [--runs N]
across [--json] [--runs N]'
verb_bench() { # measures migrations, cost, forecasts, faults, fleets and the policy, beside others
    local module
    case ${1:-} in
    migrate) module=bench ;; # a migration by either
    cost) module=cost ;;     # a guest that does not migrate
    forecast) module=forecast ;; # what is foretold of ten guests, and what happens
    faults) module=faults ;; # a real fleet under faults
    translation) module=translation ;; # a guest's state, for another hypervisor
    across) module=across ;; # between two versions of QEMU, beside between two of one
    fleet) shift && bench_fleet "$@" && return ;; # simulated fleets: the planner beside others
    policy) shift && bench_policy "$@" && return ;;
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
