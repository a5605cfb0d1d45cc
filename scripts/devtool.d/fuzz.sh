# SPDX-License-Identifier: GPL-2.0-or-later
usage_fuzz='[N] [NAME]'
verb_fuzz() { # each fuzzer for N seconds (default 60), with ASan and UBSan
    local seconds=${1:-60} name=${2:-} program
    install_packages
    step "building with sanitizers"
    build_programs build-asan -Db_sanitize=address,undefined -Db_lundef=false -Doptimization=1
    while read -r program; do
        step "$(basename "$program"), $seconds s"
        "$program" --seconds "$seconds" --seed "$RANDOM"
    done < <(find build-asan/tests/fuzz -maxdepth 1 -type f -executable -name "*$name*-fuzz" | sort)
}
