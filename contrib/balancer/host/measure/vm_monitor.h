// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/host/measure/moment.h"
#include "contrib/balancer/host/measure/network.h"
#include "contrib/balancer/host/measure/process_meter.h"
#include "contrib/balancer/host/measure/tcp_sockets.h"
#include "contrib/balancer/load/load.h"

#include <optional>
#include <string>
#include <vector>

namespace drover::balancer {

/// What all VMs of a host are measured with. Loop thread only.
struct Surroundings {
    /// `group`: the control group that stands for the host; empty: none does.
    explicit Surroundings(const std::string& root, std::string group = {})
        : host_group(std::move(group)), processes(root)
    {
    }

    std::string host_group;

    measure::ReadBuffer buffer;
    measure::Network network;
    measure::ProcessTree processes;
    measure::TcpReader tcp;
    std::vector<measure::TcpSocket> connections; ///< as of the last list
    double swap_used = 0;                        ///< bytes, of the machine
};

struct VmNicConfig {
    std::string id;        ///< of the netdev
    std::string ifname;    ///< of its tap; empty: none
    std::string uplink;    ///< what its traffic leaves the host by; empty: found by the bridge
    double expected = 0;   ///< bytes/s each way; 0: nothing was promised
    uint16_t tcp_port = 0; ///< of a netdev "stream" or "socket" over TCP, ours or the peer's;
                           ///< 0: not known, the emulator's only TCP connection is taken
};

/// Which part of an emulator's work is a migration's.
enum class MigrationWork : uint8_t {
    None,
    Threads,   ///< the emulator's threads that came since: stock QEMU's source
    Companion, ///< the emulator's children: Drover, which is one of QEMU's
    All,       ///< a destination, where no guest runs yet
};

struct VmConfig {
    std::string name;
    pid_t pid = 0;    ///< the emulator; its children belong to it
    pid_t model = 0;  ///< of a guest of Xen's: its device model; then `pid` is drover-xen
    bool xen = false; ///< what its processes use is the lesser part: XenMeter knows the rest
    std::vector<VmNicConfig> nics;
};

/// Measures one VM, each second, from files and netlink only; what its monitor knows is brought by
/// those who ask it, at their own pace. Loop thread only.
class VmMonitor {
public:
    /// `root` is "/" but for tests.
    VmMonitor(std::string root, VmConfig config);

    /// What it did since the call before. `look` also finds new processes and sockets, which costs
    /// more: the first time, and each ten seconds or so.
    [[nodiscard]] VmLoad sample(const Moment& now, Surroundings& around, bool look);

    [[nodiscard]] const VmConfig& config() const { return config_; }
    [[nodiscard]] bool is_gone() const { return gone_; } ///< the emulator's process has ended

    void set_vcpus(unsigned count) { vcpus_ = count; }
    void set_memory(double bytes) { memory_ = bytes; } ///< as query-balloon says, or its size
    void set_dirty_rate(double bytes_s) { dirty_rate_ = bytes_s; }
    /// Bytes since the guest began, summed over its disks (query-blockstats). The rate is that
    /// between two calls, and holds until the next.
    void set_disk_counters(uint64_t read, uint64_t written, TimePoint now);
    /// What of its work the samples from now on tell as cpu_migrating.
    void set_migration(MigrationWork work);
    void set_nics(std::vector<VmNicConfig> nics);

private:
    struct Nic {
        VmNicConfig config;
        std::optional<measure::TcpSocket> socket;
        measure::Counter sent;
        measure::Counter received;
        double unsent_before = 0;
    };

    void look_for_processes(Surroundings& around);
    /// Whether all that this process does is a migration's.
    [[nodiscard]] bool migrates_only(const measure::ProcessMeter& process) const;
    void sample_threads(VmLoad& load, std::vector<measure::ThreadUse>& threads, double elapsed,
                        Surroundings& around);
    void sample_processes(VmLoad& load, double elapsed, Surroundings& around);
    [[nodiscard]] VmNicLoad sample_nic(Nic& nic, double elapsed, Surroundings& around,
                                       std::vector<std::string>& gaps);
    void sample_tap(const measure::Interface& tap, const Nic& nic, const Surroundings& around,
                    VmNicLoad& load) const;
    bool find_socket(Nic& nic, const Surroundings& around) const;
    static bool sample_socket(Nic& nic, double elapsed, Surroundings& around, VmNicLoad& load);

    std::string root_;
    VmConfig config_;
    std::vector<Nic> nics_;
    std::vector<measure::ProcessMeter> processes_; // the emulator's first
    std::optional<measure::CpuQuotas> quotas_;     // since the first look
    measure::Elapsed elapsed_;
    bool gone_ = false;
    MigrationWork migration_ = MigrationWork::None;

    unsigned vcpus_ = 0;
    double memory_ = 0;
    double dirty_rate_ = 0;
    measure::Elapsed disk_elapsed_;
    measure::Counter disk_read_;
    measure::Counter disk_written_;
    double disk_read_rate_ = 0;
    double disk_write_rate_ = 0;
};

} // namespace drover::balancer
