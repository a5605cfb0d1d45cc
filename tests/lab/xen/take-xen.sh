# SPDX-License-Identifier: GPL-2.0-or-later
# Sourced by build-host for a Xen host: what Dom0 has besides what every host has. `tree` is where tests/lab/xen/fetch
# unpacked Debian's packages.

xen_tools=(xl libxl-save-helper xenstored xenconsoled xenconsole xen-init-dom0 xenctx xen-hvmctx xen-cpuid xen-diag lsevtchn)

take_xen() {
    local tools programs
    tools=$(echo "$tree"/usr/lib/xen-[0-9]*/bin)
    programs=("${xen_tools[@]/#/$tools/}" "$tree"/usr/bin/xenstore-* "$tree/usr/libexec/xen-qemu-system-i386")
    for program in "${programs[@]}"; do
        take "$program"
    done
    [ ! -e "$build/bin/drover-xen" ] || programs+=("$build/bin/drover-xen") # for its libraries
    # The packages' libraries, and then this machine's.
    LD_LIBRARY_PATH=$tree/usr/lib/x86_64-linux-gnu:$tree/lib/x86_64-linux-gnu take_libraries "${programs[@]}"
    # xl's own path to its tools has the version, whoever calls one of them does not want to know it.
    ln -s "${tools#"$tree"}" "$root/xen"
    take "$(echo "$tree"/usr/lib/xen-[0-9]*/boot/hvmloader)"
    mkdir -p "$root/etc/xen" "$root/proc/xen" "$root"/var/{lib/xen,lib/xenstored,log/xen}
    : >"$root/etc/xen/xl.conf"
    ln -s /run "$root/var/run"
    cp -rL /usr/share/qemu/keymaps "$root/usr/share/qemu/" # Xen's QEMU insists on them
    cp "$here/xen/start-xen" "$root/"
}
