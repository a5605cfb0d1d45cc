# SPDX-License-Identifier: GPL-2.0-or-later
# Each section prints its own lines and ends with a tally; its full output is in build/check/.

passed=0 failed=0 skipped=0

# tally PASSED FAILED SKIPPED
tally() {
    passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
    local colour=$green
    [ "$2" -eq 0 ] || colour=$red
    echo "   $colour$1 passed, $2 failed, $3 skipped$plain ($((SECONDS - section_start)) s)"
}

# failure NAME…: kept for the check's last lines: a long log's end is what everybody reads first.
failure() {
    printf '   %s\n' "$@" >>"$build_dir/check/failures"
}

# failures_of NAME COUNT WORDS: as many failures of a section as were counted, by the names that it told, a line each.
failures_of() {
    local name=$1 words=$3 line
    [ "$2" -gt 0 ] || return 0
    while read -r line; do
        failure "$name: ${line:-ended badly, or told no tally}"
    done <<<"$words"
}

section() {
    section_start=$SECONDS
    step "$1"
}

# one_case NAME COMMAND…: a check that is one test case; its output is shown only if it fails.
one_case() {
    local name=$1 log=$build_dir/check/$1.log
    shift
    if "$@" >"$log" 2>&1 </dev/null; then
        tally 1 0 0
    else
        tail -n 60 "$log"
        echo "   ${red}FAIL$plain $name (see $log)"
        failure "$name"
        tally 0 1 0
    fi
}

check_headers() {
    local bad=0 file
    while read -r file; do
        if ! head -n 3 "$file" | grep -q 'SPDX-License-Identifier: GPL-2.0-or-later'; then
            echo "$file: the SPDX line is missing"
            bad=1
        fi
    done < <(own_files '*.cpp' '*.h' '*.c' '*.py' '*.sh' devtool 'tests/guest/*')
    return $bad
}

check_format() {
    own_files '*.cpp' '*.h' '*.c' | xargs -r clang-format --dry-run -Werror
}

# count_gtest LOG: the last run's numbers, as "PASSED FAILED SKIPPED".
count_gtest() {
    awk '/^\[  PASSED  \] [0-9]+ test/ {p = $4} /^\[  FAILED  \] [0-9]+ tests?, listed/ {f = $4}
         /^\[  SKIPPED \] [0-9]+ tests?, listed/ {s = $4} END {print p + 0, f + 0, s + 0}' "$1"
}

# run_gtest LOG STATUS PROGRAM FILTER: writes its output and its exit code.
run_gtest() {
    local status=0
    "$3" --gtest_filter="$4" --gtest_color=no >"$1" 2>&1 </dev/null || status=$?
    echo "$status" >"$2"
}

# failed_gtests LOG…: those that the runs' ends list, one a line.
failed_gtests() {
    cat "$@" | sed -n 's/^\[  FAILED  \] \([^ ,]*[.][^ ,]*\)\(,.*\)\?$/\1/p' | sort -u
}

# passed_again LOG AGAIN: the failed tests of a run that passed in another, one a line.
passed_again() {
    [ -e "$2" ] || return 0
    comm -12 <(failed_gtests "$1") <(sed -n 's/^\[       OK \] \([^ ]*\) .*/\1/p' "$2" | sort -u)
}

# show_gtest NAME LOG STATUS AGAIN: shows what was skipped and what failed, and counts it. What failed here and passed in
# AGAIN has passed.
show_gtest() {
    local name=$1 log=$2 status counts again
    status=$(cat "$3" 2>/dev/null || echo "none: it did not run")
    read -r -a counts <<<"$(count_gtest "$log")"
    mapfile -t again < <(passed_again "$log" "$4")
    # A crash or a sanitizer's report is a failure of its own, besides those that gtest counted.
    [ "$status" = 0 ] || [ "${counts[1]}" -gt 0 ] || counts[1]=1
    counts=($((counts[0] + ${#again[@]})) $((counts[1] - ${#again[@]})) "${counts[2]}")
    grep -A1 '^\[  SKIPPED \]' "$log" | grep -v -- -- | sed 's/^/   /' | head -n 20 || true
    [ ${#again[@]} -eq 0 ] || printf '   PASS %s (again, alone)\n' "${again[@]}"
    if [ "${counts[1]}" -gt 0 ]; then
        grep -B 15 -E '^\[  FAILED  \]' "$log" | head -n 100 || true
        grep -A 30 -E 'ERROR: AddressSanitizer|WARNING: ThreadSanitizer|runtime error:' "$log" | head -n 60 || tail -n 30 "$log"
        echo "   ${red}FAIL$plain $name: exit code $status (see $log)"
    fi
    failures_of "$name" "${counts[1]}" "$(comm -23 <(failed_gtests "$log") <(printf '%s\n' "${again[@]}"))"
    tally "${counts[@]}"
}

# run_shards NAME PROGRAM FILTER: a share of the tests on each processor.
run_shards() {
    local shard log=$build_dir/check/$1
    for ((shard = 0; shard < jobs; shard++)); do
        GTEST_TOTAL_SHARDS=$jobs GTEST_SHARD_INDEX=$shard run_gtest "$log-$shard.log" "$log-$shard.status" "$2" "$3" &
    done
    wait
}

# count_harness LOG STATUS: its last tally, as "PASSED FAILED SKIPPED". Without one, or with a bad end, one has failed.
count_harness() {
    local counts
    counts=$(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) skipped$/\1 \2 \3/p' "$1" | tail -n 1)
    read -r -a counts <<<"${counts:-0 1 0}"
    [ "$2" -eq 0 ] || [ "${counts[1]}" -gt 0 ] || counts[1]=1
    echo "${counts[@]}"
}

# check_harness NAME MODULE ARGUMENT…: tests of the Python harness, shown as they end.
check_harness() {
    local name=$1 log=$build_dir/check/$1.log status=0
    shift
    harness "$@" 2>&1 </dev/null | tee "$log" | sed 's/^/   /' || status=$?
    tally_harness "$name" "$log" "$status"
}

# tally_harness NAME LOG STATUS
tally_harness() {
    local counts
    read -r -a counts <<<"$(count_harness "$2" "$3")"
    failures_of "$1" "${counts[1]}" "$(sed -n 's/^failed: //p' "$2")"
    tally "${counts[@]}"
}

# check_labs: an emulated host has one vCPU, which is one processor's work: two of them take no longer than one.
check_labs() {
    local checks=$build_dir/check name others
    rm -f "$checks"/lab-*.status
    {
        harness lab --kernel 6.12 >"$checks/lab-newer.log" 2>&1 || echo $? >"$checks/lab-newer.status"
        harness lab accelerators --short >"$checks/lab-accelerators.log" 2>&1 || echo $? >"$checks/lab-accelerators.status"
    } </dev/null &
    others=$!
    check_harness lab lab
    check_harness lab-network lab network --short
    wait "$others"
    for name in lab-newer lab-accelerators; do
        sed 's/^/   /' "$checks/$name.log"
        tally_harness "$name" "$checks/$name.log" "$(cat "$checks/$name.status" 2>/dev/null || echo 0)"
    done
}

unit_program() {
    find "$1" -type f -name unit-tests -executable | head -n 1
}

# Hold times against limits: they run with nothing beside them.
timed_tests=Governor.Keeps*:Governor.StandsStill*:Governor.LetsOther*:Governor.Ends*:Governor.GivesUp*
timed_tests+=:Governor.DoesNotKeep*:StandstillLimit.*:TrackerScan.*:VcpuThrottle.*:TlsDoorTest.FiftyClientsAtOnce:StandstillOfAParent.*

tsan_tests=${DROVER_TSAN_FILTER:-*Thread*:*Channel*:*RateLimit*:*Sender*:*Receiver*:*Governor*:*Brake*}

# build_sanitized NAME SANITIZERS OPTION…: the unit tests, in a build of their own.
build_sanitized() {
    local name=$1 sanitizers=$2 status=0
    shift 2
    (targets=$unit_targets build_programs "build-$name" "$@" -Db_sanitize="$sanitizers" -Db_lundef=false \
        -Dbuildtype=debugoptimized -Doptimization=1 -Dwerror=false) \
        >"$build_dir/check/$name-build.log" 2>&1 </dev/null || status=$?
    echo "$status" >"$build_dir/check/$name-build.status"
}

# in_what_is_left COMMAND…: begins one of these functions in the background; it and what it starts get processor time only
# when nobody else wants it (sched(7), SCHED_IDLE). In a session of its own, since by sessions the kernel shares
# processors, and a nice value counts within one only (sched(7), "The autogroup feature").
in_what_is_left() {
    root=$root setsid "$BASH" -c '
        chrt --idle --pid 0 $$
        { echo 19 >/proc/$$/autogroup; } || true
        . scripts/devtool.d/lib.sh
        . scripts/devtool.d/check.sh
        "$@"' - "$@" 2>/dev/null &
}

build_both_sanitized() {
    build_sanitized asan address,undefined
    # GLib itself is not built for TSan: only the suites in which our own threads meet.
    build_sanitized tsan thread -Dengine-only=true
}

# sanitized COMMAND…: with the sanitizers' options.
sanitized() {
    ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
        TSAN_OPTIONS=halt_on_error=1:suppressions=$root/tests/tsan.supp "$@"
}

test_both_sanitized() {
    rm -f "$build_dir"/check/{asan,tsan}-{[0-9]*,alone,again}.{log,status}
    sanitized run_shards asan "$(unit_program build-asan)" "*-$timed_tests"
    sanitized run_shards tsan "$(unit_program build-tsan)" "$tsan_tests-$timed_tests"
}

# check_sanitized NAME: what test_both_sanitized found; then, with nothing beside them, the tests that hold times
# against limits, and the few that failed where they had only what was left. Many failures are no accident.
check_sanitized() {
    local name=$1 log=$build_dir/check/$1 program failed shard
    if [ "$(cat "$log-build.status")" -ne 0 ]; then
        tail -n 40 "$log-build.log"
        failure "$name: the build"
        tally 0 1 0
        return
    fi
    program=$(unit_program "build-$name")
    mapfile -t failed < <(failed_gtests "$log"-[0-9]*.log)
    sanitized with_huge_pages run_gtest "$log-alone.log" "$log-alone.status" "$program" "$timed_tests"
    if [ ${#failed[@]} -gt 0 ] && [ ${#failed[@]} -le 12 ]; then
        sanitized with_huge_pages run_gtest "$log-again.log" "$log-again.status" "$program" "$(printf '%s:' "${failed[@]}")"
    fi
    for shard in $(seq 0 $((jobs - 1))) alone; do
        show_gtest "$name" "$log-$shard.log" "$log-$shard.status" "$log-again.log"
    done
}

# sum_meson LOG WORD…: what Meson's summary counts under these words, such as Ok and Fail.
sum_meson() {
    local log=$1 word sum=0 count
    shift
    for word; do
        count=$(sed -n "s/^$word: *\([0-9]*\).*/\1/p" "$log")
        sum=$((sum + ${count:-0}))
    done
    echo "$sum"
}

# check_suite NAME: one of Meson's suites, such as the smoke runs of the fuzzers.
check_suite() {
    local log=$build_dir/check/$1.log status=0 ok failed_here
    meson test -C "$build_dir" --suite "$1" --no-rebuild --print-errorlogs >"$log" 2>&1 </dev/null || status=$?
    ok=$(sum_meson "$log" Ok "Expected Fail")
    failed_here=$(sum_meson "$log" Fail "Unexpected Pass" Timeout)
    # A suite that has no test, or that could not be started, is a failure too.
    [ $((ok + failed_here)) -gt 0 ] && { [ "$status" -eq 0 ] || [ "$failed_here" -gt 0 ]; } || failed_here=1
    [ "$failed_here" -eq 0 ] || tail -n 60 "$log"
    failures_of "$1" "$failed_here" "$(sed -n 's|^ *[0-9]*/[0-9]* \(.*[^ ]\) *\(FAIL\|TIMEOUT\|UNEXPECTEDPASS\) .*|\1|p' "$log")"
    tally "$ok" "$failed_here" "$(sum_meson "$log" Skipped)"
}

# The analyzer takes longer than all other checks of clang-tidy, and these take a third of the rest
# for little: ./devtool analyze runs them all.
slow_checks='-clang-analyzer-*,-bugprone-reserved-identifier,-bugprone-stringview-nullptr,-misc-unused-using-decls'
slow_checks+=',-bugprone-undelegated-constructor,-bugprone-multiple-statement-macro,-bugprone-standalone-empty'
slow_checks+=',-bugprone-suspicious-semicolon'

check_all() {
    section "licence headers" && one_case headers check_headers
    section "format" && one_case format check_format
    section "clang-tidy" && one_case tidy tidy "--checks=$slow_checks"
    section "fuzzers, smoke run" && check_suite fuzz
    section "policy simulation" && check_suite policy
    section "the protocol's model" && one_case model tests/model/check
    section "the drover command" && check_suite tools
    # Most of an end-to-end test is waiting: nearly half of two processors is left.
    in_what_is_left build_both_sanitized
    sanitized_builds=$!
    section "qtest" && check_harness qtest runner tests/qtest --parallel 2 --second-chance
    section "end to end" && check_harness e2e runner tests/e2e --parallel 2 --second-chance
    section "libvirt" && check_harness libvirt runner tests/libvirt --parallel 2 --second-chance
    section "bench, smoke run" && one_case bench harness bench --json --runs 1 --case 5k-125MB \
        --engine drover --engine qemu
    section "KVM lab, kernels 6.1 and 6.12" && check_labs
    section "KVM lab, a cluster" && check_harness cluster lab cluster
    section "the rest of the sanitized builds" && wait "$sanitized_builds" && echo "   $((SECONDS - section_start)) s"
    # That lab is little more than one processor's work.
    in_what_is_left with_huge_pages test_both_sanitized
    sanitized_tests=$!
    section "Xen lab" && check_harness xen lab xen --short
    section "the rest of the unit tests" && wait "$sanitized_tests" && echo "   $((SECONDS - section_start)) s"
    # The only run of the unit tests: a second program of them, without sanitizers, would cost seven minutes and find no more.
    section "unit tests under ASan and UBSan" && check_sanitized asan
    section "unit tests under TSan" && check_sanitized tsan
}

verb_check() { # everything: unit, qtest, fuzz, e2e, libvirt, lab, sanitizers, format, lint
    prepare
    build_guest
    mkdir -p "$build_dir/check"
    : >"$build_dir/check/failures"
    check_all
    [ ! -s "$build_dir/check/failures" ] || { step failed; cat "$build_dir/check/failures"; }
    echo
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" -eq 0 ]
}
