# SPDX-License-Identifier: GPL-2.0-or-later
# What devtool's verbs share. Sourced by devtool; the current directory is the repository's root.

# All Debian packages that any verb needs; the one place where they are listed.
packages=(
    g++ meson ninja-build pkg-config
    libglib2.0-dev nlohmann-json3-dev libxxhash-dev liblz4-dev libzstd-dev libgtest-dev libgmock-dev
    libtomlplusplus-dev libsqlite3-dev libsoup-3.0-dev libgnutls28-dev glib-networking openssl
    qemu-system-x86 qemu-utils libxen-dev swtpm libvirt-daemon libvirt-clients xz-utils busybox-static cpio iproute2 util-linux python3
    clang-format clang-tidy-16 spin git
)

python=/usr/bin/python3 # Debian's: another python3 may come first in PATH
build_dir=build
unit_targets="tests/unit/unit-tests tests/unit/tracker/tracker-victim bin/libdrover-tracker.so"
jobs=$(nproc)

if [ -t 1 ]; then
    bold=$'\e[1m' green=$'\e[32m' red=$'\e[31m' yellow=$'\e[33m' plain=$'\e[0m'
else
    bold='' green='' red='' yellow='' plain=''
fi

die() {
    echo "devtool: $*" >&2
    exit 1
}

step() {
    echo "$bold== $*$plain"
}

# Runs a command as root: by itself, or by sudo where that asks no password.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo -n "$@"
    fi
}

# Installs what is missing of `packages`; a fresh machine has no package lists either.
install_packages() {
    local missing=() package
    for package in "${packages[@]}"; do
        [[ $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) == 'install ok installed' ]] ||
            missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return
    step "installing ${missing[*]}"
    [ "$(id -u)" -eq 0 ] || sudo -n true 2>/dev/null ||
        die "these Debian packages are missing: ${missing[*]} (install them as root: apt-get install ${missing[*]})"
    as_root apt-get -q update >/dev/null || die "apt-get update failed"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends \
        "${missing[@]}" </dev/null >/dev/null || die "apt-get install failed"
}

# The guest's kernel comes from Debian's archive too, so apt needs its package lists.
build_guest() {
    if [ ! -e "$build_dir/guest/vmlinuz" ] && ! apt-cache show linux-image-cloud-amd64 >/dev/null 2>&1; then
        as_root apt-get -q update >/dev/null || die "apt-get update failed (needed to fetch the test guest's kernel)"
    fi
    tests/guest/build-guest "$build_dir/guest"
}

# configure DIRECTORY MESON_OPTION…: unless it is.
configure() {
    local directory=$1
    shift
    [ ! -e "$directory/build.ninja" ] || return 0
    mkdir -p "$directory"
    meson setup "$directory" "$@" >"$directory/setup.log" 2>&1 </dev/null || {
        cat "$directory/setup.log" >&2
        die "meson setup $directory failed"
    }
}

# build_programs DIRECTORY MESON_OPTION…: everything (or $targets), quietly unless it fails. With -g1, which is enough for
# backtraces, GCC takes two thirds of the time, and with twelve sources as one half of that. Who changes single sources
# again and again, or wants a debugger: `meson configure build --unity=off -Dcpp_args= -Dc_args=`.
build_programs() {
    local directory=$1
    shift
    configure "$directory" -Dcpp_args=-g1 -Dc_args=-g1 --unity=on -Dunity_size=12 -Dsync-points=true "$@"
    # shellcheck disable=SC2086 # several words
    ninja -C "$directory" -j "$jobs" --quiet ${targets:-} || die "the build in $directory failed"
}

prepare() {
    install_packages
    step "building"
    build_programs "$build_dir"
}

# The files of ours of these kinds, tracked or new, that exist.
own_files() {
    git ls-files --cached --others --exclude-standard -- "$@" | while read -r file; do
        [ -e "$file" ] && echo "$file"
    done
}

# tidy OPTION…: clang-tidy over all sources, each with the compiler's options for it alone.
tidy() {
    configure "$build_dir/tidy"
    own_files '*.cpp' ':!tests/' | "$python" scripts/tidy "$build_dir/tidy" "$@"
}

# with_huge_pages COMMAND…: while it runs the kernel keeps 16 huge pages free, which some tests need, where we may say so.
with_huge_pages() {
    local file=/proc/sys/vm/nr_hugepages before status=0
    before=$(cat "$file" 2>/dev/null || echo 0)
    { echo $((before + 16)) >"$file"; } 2>/dev/null || true
    "$@" || status=$?
    { echo "$before" >"$file"; } 2>/dev/null || true
    return $status
}

# harness MODULE ARGUMENT…: runs a module of the end-to-end harness. Without root it gets a user
# namespace where that is allowed, in which it may make network namespaces and tap devices.
harness() {
    local module=$1 inside=()
    shift
    if [ "$(id -u)" -ne 0 ] && unshare --user --map-root-user --net true 2>/dev/null; then
        inside=(unshare --user --map-root-user --net sh -c 'ip link set lo up && exec "$@"' harness)
    fi
    PYTHONPATH=tests/e2e "${inside[@]}" "$python" -m "drover_e2e.$module" "$@"
}
