// SPDX-License-Identifier: GPL-2.0-or-later
//
// Which options of QEMU's command line are known to be harmless, and which of their words are not.
#pragma once

#include <array>
#include <span>
#include <string_view>

namespace drover::balancer::harmless {

using Names = std::span<const std::string_view>;

// Nothing but these is known to be harmless; what a newer QEMU knows is not.
inline constexpr std::array<std::string_view, 16> flags = {"S",
                                                           "enable-kvm",
                                                           "mem-prealloc",
                                                           "no-acpi",
                                                           "no-fd-bootchk",
                                                           "no-hpet",
                                                           "no-reboot",
                                                           "no-shutdown",
                                                           "nodefaults",
                                                           "nodefconfig",
                                                           "no-user-config",
                                                           "nographic",
                                                           "only-migratable",
                                                           "snapshot",
                                                           "usb",
                                                           "win2k-hack"};
/// Their argument names no file and no program.
inline constexpr std::array<std::string_view, 22> free_text = {
    "action",         "append", "compat",     "cpu",      "echr",     "g",   "m",
    "migrate-policy", "msg",    "overcommit", "prom-env", "realtime", "rtc", "runas",
    "sandbox",        "seed",   "smp",        "soundhw",  "uuid",     "vga", "watchdog",
    "watchdog-action"};
/// Their argument is a file's name.
inline constexpr std::array<std::string_view, 16> files = {
    "L",   "bios", "cdrom",  "dtb",    "fda",      "fdb",      "hda",    "hdb",
    "hdc", "hdd",  "initrd", "kernel", "mem-path", "mtdblock", "pflash", "sd"};

inline constexpr std::array<std::string_view, 14> formats = {
    "copy-on-read", "file", "host_device", "luks",     "null-aio", "null-co", "preallocate",
    "qcow2",        "qed",  "raw",         "throttle", "vdi",      "vhdx",    "vmdk"};
inline constexpr std::array<std::string_view, 13> objects = {"can-bus",
                                                             "cryptodev-backend-builtin",
                                                             "iothread",
                                                             "memory-backend-file",
                                                             "memory-backend-memfd",
                                                             "memory-backend-ram",
                                                             "rng-builtin",
                                                             "rng-random",
                                                             "secret",
                                                             "thread-context",
                                                             "throttle-group",
                                                             "tls-creds-anon",
                                                             "tls-creds-x509"};
inline constexpr std::array<std::string_view, 11> networks = {
    "bridge", "dgram",  "hubport", "l2tpv3", "nic",       "none",
    "socket", "stream", "tap",     "user",   "vhost-user"};
inline constexpr std::array<std::string_view, 13> characters = {
    "file",   "msmouse", "null",     "pipe",      "pty", "qemu-vdagent", "ringbuf", "memory",
    "socket", "udp",     "spicevmc", "spiceport", "vc"};
inline constexpr std::array<std::string_view, 1> emulated_tpm = {"emulator"};

/// They run programs, hand over descriptors, or reach names that no path bounds.
inline constexpr std::array<std::string_view, 12> forbidden_keys = {
    "abstract", "cmd",      "dumpdtb", "exec", "fd",      "fds",
    "fdset",    "guestfwd", "helper",  "smb",  "vhostfd", "vhostfds"};
/// Devices of the host itself.
inline constexpr std::array<std::string_view, 6> host_devices = {
    "vfio-", "usb-host", "u2f-passthru", "pci-assign", "loader", "guest-loader"};
inline constexpr std::array<std::string_view, 4> harmless_files = {"/dev/null", "/dev/random",
                                                                   "/dev/urandom", "/dev/hwrng"};

/// Options of the form key=value: what their first word is called, and what it may be (nothing:
/// anything).
struct Form {
    std::string_view option;
    std::string_view implied;
    Names kinds;
};
inline constexpr std::array<Form, 25> forms = {{{"M", "type", {}},
                                                {"accel", "accel", {}},
                                                {"audiodev", "driver", {}},
                                                {"blockdev", "driver", formats},
                                                {"boot", "order", {}},
                                                {"chardev", "backend", characters},
                                                {"device", "driver", {}},
                                                {"display", "type", {}},
                                                {"drive", "file", {}},
                                                {"fw_cfg", "name", {}},
                                                {"global", "", {}},
                                                {"icount", "shift", {}},
                                                {"k", "k", {}},
                                                {"machine", "type", {}},
                                                {"net", "type", networks},
                                                {"netdev", "type", networks},
                                                {"nic", "type", networks},
                                                {"numa", "type", {}},
                                                {"object", "qom-type", objects},
                                                {"smbios", "", {}},
                                                {"spice", "", {}},
                                                {"tpmdev", "type", emulated_tpm},
                                                {"usbdevice", "type", {}},
                                                {"vmm", "type", {}},
                                                {"vnc", "vnc", {}}}};

} // namespace drover::balancer::harmless
