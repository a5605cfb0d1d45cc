// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/result.h"

#include <string>
#include <vector>

namespace drover::balancer {

/// What another host may have this one start: droverd's [definitions].
struct DefinitionRules {
    bool check = true; ///< else every host of the fleet is believed
    /// Where files may be that a command line names: images, kernels, firmware, sockets.
    std::vector<std::string> directories = {"/srv",
                                            "/shared",
                                            "/var/lib/libvirt/images",
                                            "/var/lib/drover/images",
                                            "/usr/share/OVMF",
                                            "/usr/share/qemu",
                                            "/usr/share/seabios",
                                            "/dev/hugepages"};
    /// Options that are taken as they are, such as "-device vfio-pci,host=0000:05:00.0"; "*" stands
    /// for anything without a comma.
    std::vector<std::string> allow;
    /// Where files for xl may be that a definition names. They are as good as commands (a domain's
    /// may name scripts and any word for its device model), so no place of images'.
    std::vector<std::string> xen_directories = {"/etc/xen"};
};

/// Looks whether a command line that another host told does no more than run a guest on what this
/// host gives to guests: options that are known to be harmless, files below `directories` or `run`
/// (the VM's own), no programs, no monitors. `${host}` and `${run}` were replaced. It cannot see
/// what is in those files: a qcow2 image may name another file as its backing.
[[nodiscard]] Status check_foreign_command(const std::vector<std::string>& command,
                                           const DefinitionRules& rules, const std::string& run);

/// The same of a file for xl: below `xen_directories`, and nobody but root and our own user may
/// write it. Symbolic links are followed.
[[nodiscard]] Status check_foreign_xen_config(const std::string& file,
                                              const DefinitionRules& rules);

} // namespace drover::balancer
