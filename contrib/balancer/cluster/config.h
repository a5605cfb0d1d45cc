// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/json.h"
#include "util/result.h"

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// The fleet's configuration, one TOML file (docs/examples/fleet.toml shows all of it).
namespace drover::balancer::cluster {

enum class Mode {
    Off,       ///< hotspots are shown, nothing is planned
    Recommend, ///< plans wait for `approve`
    Automatic, ///< plans are carried out
};
[[nodiscard]] std::string_view to_string(Mode mode);
[[nodiscard]] std::optional<Mode> mode_from(std::string_view text);

/// From where on a host is hot.
struct Thresholds {
    double cpu = 0.85;           ///< parts of one of its capacity
    double bandwidth = 0.85;     ///< of a network interface's, either direction
    double memory = 0.95;        ///< used; beyond it the host is taken to be about to swap
    double swap_out = 1e6;       ///< bytes/s
    double persistence = 30;     ///< s for which a host or guest is above before it is hot
    double swap_persistence = 5; ///< s for which a host swaps before it is hot
};

struct Limits {
    unsigned migrations_in = 2; ///< at a time, of one host
    unsigned migrations_out = 2;
    unsigned migrations_link = 2; ///< at a time, over one host's link, both directions; the fleet's
    double cool_down = 300; ///< seconds that a VM which was moved stays where it is; the fleet's
    double bandwidth = 0;   ///< bytes/s that a migration may use; 0: what the link has
};

/// Parts of one of a host's capacity that a move leaves free below the threshold.
struct Reserve {
    double cpu = 0.05;
    double memory = 0.03;
    double bandwidth = 0.05;
};

struct HostConfig {
    std::string name;
    std::string address; ///< of its droverd: "unix:PATH" or "tls:HOST:PORT"
    std::string group;   ///< may be empty
    Thresholds thresholds;
    Limits limits;
    Reserve reserve;
    std::vector<std::string> offers; ///< beside those that droverd tells
    bool maintenance = false;        ///< nothing is moved to it
};

/// A constraint on VMs by their names; it adds to what their definitions say.
struct VmRule {
    std::string name; ///< for explanations; "rule N" where none was given
    std::vector<std::string> vms;
    bool together = false;
    bool apart = false;
    bool pinned = false;
    std::vector<std::string> groups; ///< of hosts; empty: any
    std::string policy;              ///< a name of `policies`; empty: none
};

struct TlsConfig {
    std::string ca;
    std::string cert;
    std::string key;
};

struct Config {
    Mode mode = Mode::Recommend;
    std::vector<std::string> listen; ///< addresses; the first is the local socket
    std::string state_dir = "/var/lib/drover";
    std::string journal; ///< a path; default: STATE-DIR/balancer.db
    std::optional<TlsConfig> tls;
    Thresholds thresholds;
    Limits limits;
    Reserve reserve;
    std::map<std::string, std::string> policies; ///< name → words for -migrate-policy
    std::string policy;        ///< a name of `policies`, for VMs without one; empty: the emulator's
    std::string urgent_policy; ///< the same off a host that swaps or is evacuated; empty: `policy`
    std::vector<HostConfig> hosts;
    std::vector<VmRule> rules;
};

/// Something wrong in the file, and what to do about it.
struct ConfigFault {
    int line = 0; ///< both begin with 1; 0: the whole file
    int column = 0;
    std::string message;
    std::string remedy;
};

struct ConfigReading {
    Config config;                   ///< of use only without faults
    std::vector<ConfigFault> faults; ///< all that were found, by line
};

/// `text` is the file's content.
[[nodiscard]] ConfigReading read_config(std::string_view text);

/// Reads the file. A file that cannot be read is a fault too.
[[nodiscard]] ConfigReading read_config_file(const std::string& path);

/// "FILE:LINE:COLUMN: message (remedy)".
[[nodiscard]] std::string describe(const std::string& file, const ConfigFault& fault);
[[nodiscard]] Json to_json(const std::string& file, const ConfigReading& reading);

/// For `drover-balancer --check`: prints what is wrong, or that nothing is. The exit code: 0 or 1.
[[nodiscard]] int check_config(const std::string& path, bool json);

} // namespace drover::balancer::cluster
