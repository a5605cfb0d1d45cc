// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/option_table.h"

#include <algorithm>
#include <array>

namespace drover::qemu {

namespace {

using namespace std::string_view_literals;

// The options of QEMU 5 to 10, of all targets, removed ones included: each list is sorted.
constexpr std::array without_argument = std::to_array({
    "S"sv,
    "alt-grab"sv,
    "async-teardown"sv,
    "audio-help"sv,
    "ctrl-grab"sv,
    "curses"sv,
    "daemonize"sv,
    "enable-hax"sv,
    "enable-kvm"sv,
    "enable-sync-profile"sv,
    "full-screen"sv,
    "h"sv,
    "help"sv,
    "jitdump"sv,
    "mem-prealloc"sv,
    "no-acpi"sv,
    "no-fd-bootchk"sv,
    "no-frame"sv,
    "no-hpet"sv,
    "no-kvm"sv,
    "no-quit"sv,
    "no-reboot"sv,
    "no-shutdown"sv,
    "no-user-config"sv,
    "nodefaults"sv,
    "nodefconfig"sv,
    "nographic"sv,
    "old-param"sv,
    "one-insn-per-tb"sv,
    "only-migratable"sv,
    "perfmap"sv,
    "portrait"sv,
    "preconfig"sv,
    "s"sv,
    "sdl"sv,
    "semihosting"sv,
    "singlestep"sv,
    "snapshot"sv,
    "usb"sv,
    "version"sv,
    "win2k-hack"sv,
    "xen-attach"sv,
    "xen-domid-restrict"sv,
});

constexpr std::array with_argument = std::to_array({
    "D"sv,
    "L"sv,
    "M"sv,
    "accel"sv,
    "acpitable"sv,
    "action"sv,
    "add-fd"sv,
    "append"sv,
    "audio"sv,
    "audiodev"sv,
    "bios"sv,
    "blockdev"sv,
    "boot"sv,
    "cdrom"sv,
    "chardev"sv,
    "chroot"sv,
    "compat"sv,
    "cpu"sv,
    "d"sv,
    "debugcon"sv,
    "device"sv,
    "dfilter"sv,
    "display"sv,
    "drive"sv,
    "dtb"sv,
    "dump-vmstate"sv,
    "echr"sv,
    "fda"sv,
    "fdb"sv,
    "fsdev"sv,
    "fw_cfg"sv,
    "g"sv,
    "gdb"sv,
    "global"sv,
    "hda"sv,
    "hdachs"sv,
    "hdb"sv,
    "hdc"sv,
    "hdd"sv,
    "icount"sv,
    "incoming"sv,
    "initrd"sv,
    "iscsi"sv,
    "k"sv,
    "kernel"sv,
    "loadvm"sv,
    "m"sv,
    "machine"sv,
    "mem-path"sv,
    "migrate-policy"sv,
    "mon"sv,
    "monitor"sv,
    "msg"sv,
    "mtdblock"sv,
    "name"sv,
    "net"sv,
    "netdev"sv,
    "nic"sv,
    "numa"sv,
    "object"sv,
    "option-rom"sv,
    "overcommit"sv,
    "parallel"sv,
    "pflash"sv,
    "pidfile"sv,
    "plugin"sv,
    "prom-env"sv,
    "qmp"sv,
    "qmp-pretty"sv,
    "qtest"sv,
    "qtest-log"sv,
    "readconfig"sv,
    "realtime"sv,
    "rotate"sv,
    "rtc"sv,
    "run-with"sv,
    "runas"sv,
    "sandbox"sv,
    "sd"sv,
    "seed"sv,
    "semihosting-config"sv,
    "serial"sv,
    "set"sv,
    "shim"sv,
    "smbios"sv,
    "smp"sv,
    "soundhw"sv,
    "spice"sv,
    "tb-size"sv,
    "tpmdev"sv,
    "trace"sv,
    "usbdevice"sv,
    "uuid"sv,
    "vga"sv,
    "virtfs"sv,
    "virtioserial"sv,
    "vmm"sv,
    "vnc"sv,
    "watchdog"sv,
    "watchdog-action"sv,
    "writeconfig"sv,
    "xen-domid"sv,
});

constexpr std::array with_help = std::to_array({
    "L"sv,      "M"sv,      "accel"sv,   "audio"sv,  "audiodev"sv, "chardev"sv, "cpu"sv,
    "d"sv,      "device"sv, "display"sv, "drive"sv,  "fsdev"sv,    "machine"sv, "migrate-policy"sv,
    "net"sv,    "netdev"sv, "nic"sv,     "object"sv, "plugin"sv,   "soundhw"sv, "spice"sv,
    "tpmdev"sv, "trace"sv,  "vga"sv,     "vmm"sv,    "watchdog"sv,
});

static_assert(std::ranges::is_sorted(without_argument));
static_assert(std::ranges::is_sorted(with_argument));
static_assert(std::ranges::is_sorted(with_help));

} // namespace

OptionArity option_arity(std::string_view name)
{
    if (std::ranges::binary_search(without_argument, name))
        return OptionArity::None;
    if (std::ranges::binary_search(with_argument, name))
        return OptionArity::One;
    return OptionArity::Unknown;
}

bool option_has_help(std::string_view name)
{
    return std::ranges::binary_search(with_help, name);
}

} // namespace drover::qemu
