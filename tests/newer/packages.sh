# SPDX-License-Identifier: GPL-2.0-or-later
# Sourced by what fetches Debian's packages and unpacks them without installing any. Set before: `out`, the directory
# to work in; `origin`, whose packages they are, as people are told it; `sources`, options for apt's tools that choose
# other sources than the machine's own. Nothing of this touches the machine's package lists: apt keeps its state
# below `out`.

# The reason is kept for a while: the next ones who ask need not wait for a network that is not there.
unavailable() {
    echo "$*" | tee "$out/unavailable"
    exit 77
}

# Ends here where it was found a while ago that it cannot be had.
unless_unavailable() {
    if [ -n "$(find "$out/unavailable" -mmin -10 2>/dev/null)" ]; then
        cat "$out/unavailable"
        exit 77
    fi
}

# apt TOOL ARGUMENT…: apt's TOOL (get, cache).
apt() {
    local tool=$1
    shift
    "apt-$tool" -q -o Dir::State="$out/apt/state" -o Dir::State::status=/var/lib/dpkg/status \
        -o Dir::Cache="$out/apt/cache" "${sources[@]}" \
        -o APT::Sandbox::User=root -o Acquire::Retries=2 -o Acquire::http::Timeout=20 "$@"
}

update_lists() {
    mkdir -p "$out"/apt/{state/lists/partial,cache/archives/partial}
    apt get update >"$out/apt/log" 2>&1 && ! grep -q '^[EW]:' "$out/apt/log" ||
        unavailable "$origin cannot be had: $(grep -m 1 '^[EW]:' "$out/apt/log")"
}

# unpack DIRECTORY PACKAGE…: below DIRECTORY.
unpack() {
    local directory=$1 package log=$out/apt/log
    shift
    mkdir -p "$directory"
    (cd "$directory" && apt get download "$@" >"$log" 2>&1) ||
        unavailable "apt-get download $* ($origin) failed: $(tail -n 1 "$log")"
    for package in "$directory"/*.deb; do
        dpkg -x "$package" "$directory"
        rm "$package"
    done
}

# take_module TREE DIRECTORY NAME: uncompressed into DIRECTORY/modules, after what it needs; DIRECTORY/order is how to
# load them. TREE is a kernel's, .../lib/modules/RELEASE.
take_module() {
    local tree=$1 directory=$2 name=${3//-/_} path need
    ! grep -qsx "$name" "$directory/order" || return 0
    path=$(find "$tree" -name "${name//_/[-_]}.ko*" -print -quit)
    ! grep -q "/${name//_/[-_]}\.ko$" "$tree/modules.builtin" || return 0
    [ -n "$path" ] || unavailable "the kernel ($origin) has no module $3"
    mkdir -p "$directory/modules"
    case $path in
    *.xz) xz -dc "$path" ;;
    *) cat "$path" ;;
    esac >"$directory/modules/$name.ko"
    for need in $(tr '\0' '\n' <"$directory/modules/$name.ko" | sed -n 's/^depends=//p' | tr , ' '); do
        take_module "$tree" "$directory" "$need"
    done
    echo "$name" >>"$directory/order"
}
