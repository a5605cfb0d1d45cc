// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/host/definition_rules.h"
#include "util/result.h"

#include <string>
#include <vector>

namespace drover::balancer {

/// A part of the machine that a droverd stands for: 0 means all of it.
struct SliceConfig {
    bool given = false;
    double cores = 0;
    double memory = 0;  ///< bytes
    double link = 0;    ///< bytes/s, each direction
    std::string cgroup; ///< its control group, a name without "/"; default: drover-NAME
};

struct NicConfig {
    std::string name;
    double capacity = 0; ///< bytes/s, each direction; 0: as the system says
};

/// droverd's configuration (TOML); docs/operations.md describes it.
struct DroverdConfig {
    std::string name; ///< default: the system's host name
    std::string
        state_directory; ///< default: /run/droverd, or $XDG_RUNTIME_DIR/droverd without root
    std::string
        definition_directory; ///< over reboots; default: /var/lib/droverd, or STATE/definitions
    std::string socket;       ///< default: STATE/droverd.sock
    std::string socket_group; ///< may open it too, as observers; empty: nobody
    std::string listen;       ///< "tls:HOST:PORT"; empty: no door to other hosts
    std::string ca, certificate, key;          ///< PEM files, for `listen` and migrations
    std::string metrics_address = "127.0.0.1"; ///< numeric
    unsigned metrics_port = 0;                 ///< 0: no page
    std::vector<std::string> emulators;        ///< that VMs may name; a bare name is looked for
    std::vector<std::string> offers;           ///< words beside those that droverd finds out
    std::vector<std::string> adopt; ///< patterns of QMP sockets that are adopted by themselves
    std::vector<NicConfig> nics;    ///< that count; empty: all that reach other hosts
    std::string migrate_address;    ///< where this host's droverd lets migrations come in
    bool migration_tls = true;      ///< where there are certificates
    unsigned first_port = 49152;    ///< of migrations; libvirt's range
    unsigned last_port = 49215;
    unsigned waiting_limit_s = 600; ///< for a source that does not come
    unsigned end_limit_s = 15;      ///< for an emulator that was told to end, before it is killed
    DefinitionRules definitions;    ///< of VMs that come from other hosts
    SliceConfig slice;
};

/// Defaults for this machine and user.
[[nodiscard]] DroverdConfig default_droverd_config();

/// All or nothing; an error names the member, what is wrong and what it may be.
[[nodiscard]] Result<DroverdConfig> read_droverd_config(const std::string& path);

/// Whether the files that it names can be read.
[[nodiscard]] Status check_droverd_files(const DroverdConfig& config);

} // namespace drover::balancer
