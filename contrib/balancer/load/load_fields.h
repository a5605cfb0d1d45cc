// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/load/load.h"

/// The numbers of each struct of load.h, once: JSON, the metrics page and the history go by these
/// tables, so that a number that is added here is everywhere.
namespace drover::balancer {

template <typename T> struct Field {
    const char* name; ///< in JSON
    double T::*value;
    const char* unit; ///< as Prometheus names it; null: not on the metrics page
    const char* help;
};

inline constexpr Field<Pressure> pressure_fields[] = {
    {"some", &Pressure::some, "ratio", "part of the last ten seconds in which some tasks waited"},
    {"full", &Pressure::full, "ratio", "part of the last ten seconds in which all tasks waited"},
};

inline constexpr Field<NicLoad> nic_fields[] = {
    {"capacity", &NicLoad::capacity, "bytes_per_second", "what the interface carries, each way"},
    {"rx", &NicLoad::rx, "bytes_per_second", "received"},
    {"tx", &NicLoad::tx, "bytes_per_second", "sent"},
    {"backlog", &NicLoad::backlog, "bytes", "waiting in the queueing discipline"},
    {"drops", &NicLoad::drops, "packets_per_second", "dropped at sending"},
};

inline constexpr Field<DiskLoad> disk_fields[] = {
    {"read", &DiskLoad::read, "bytes_per_second", "read"},
    {"write", &DiskLoad::write, "bytes_per_second", "written"},
    {"latency", &DiskLoad::latency, "seconds", "mean time that a request took"},
    {"busy", &DiskLoad::busy, "ratio", "part of the time with a request in flight"},
};

inline constexpr Field<HostLoad> host_fields[] = {
    {"time", &HostLoad::time, nullptr, ""},
    {"cores", &HostLoad::cores, "cores", "processor capacity"},
    {"cpu-busy", &HostLoad::cpu_busy, "cores", "processor time used"},
    {"cpu-steal", &HostLoad::cpu_steal, "cores",
     "processor time taken by the hypervisor below, or by the slice's quota"},
    {"cpu-migrating", &HostLoad::cpu_migrating, "cores",
     "processor time used by migrations, which is part of what is used"},
    {"memory-total", &HostLoad::memory_total, "bytes", "memory"},
    {"memory-available", &HostLoad::memory_available, "bytes", "memory that could be given away"},
    {"huge-total", &HostLoad::huge_total, "bytes", "pools of huge pages, not part of memory-total"},
    {"huge-free", &HostLoad::huge_free, "bytes", "of them free and not promised to anybody"},
    {"swap-total", &HostLoad::swap_total, "bytes", "swap space"},
    {"swap-used", &HostLoad::swap_used, "bytes", "swap space in use"},
    {"swap-in", &HostLoad::swap_in, "bytes_per_second", "read back from swap"},
    {"swap-out", &HostLoad::swap_out, "bytes_per_second", "written to swap"},
    {"migration-capacity", &HostLoad::migration_capacity, "bytes_per_second",
     "what the interface carries by which migrations leave"},
};

struct PressureField {
    const char* name;
    Pressure HostLoad::*value;
};

inline constexpr PressureField host_pressures[] = {
    {"cpu-pressure", &HostLoad::cpu_pressure},
    {"memory-pressure", &HostLoad::memory_pressure},
    {"io-pressure", &HostLoad::io_pressure},
};

inline constexpr Field<VmNicLoad> vm_nic_fields[] = {
    {"expected", &VmNicLoad::expected, "bytes_per_second", "bandwidth that was promised, each way"},
    {"rx", &VmNicLoad::rx, "bytes_per_second", "received by the guest"},
    {"tx", &VmNicLoad::tx, "bytes_per_second", "sent by the guest"},
    {"backlog", &VmNicLoad::backlog, "bytes", "waiting on the host for it, or because of it"},
    {"drops", &VmNicLoad::drops, "packets_per_second", "dropped, both directions"},
};

inline constexpr Field<VmLoad> vm_fields[] = {
    {"time", &VmLoad::time, nullptr, ""},
    {"cpu", &VmLoad::cpu, "cores", "processor time used by vCPUs and emulator"},
    {"cpu-wait", &VmLoad::cpu_wait, "cores", "processor time its threads waited for"},
    {"cpu-migrating", &VmLoad::cpu_migrating, "cores",
     "processor time used by its migration, which is part of what it uses"},
    {"memory", &VmLoad::memory, "bytes", "RAM of the guest, less its balloon"},
    {"resident", &VmLoad::resident, "bytes", "memory of the emulator"},
    {"huge", &VmLoad::huge, "bytes", "huge pages of the emulator, not part of what is resident"},
    {"swapped", &VmLoad::swapped, "bytes", "of it in swap"},
    {"dirty-rate", &VmLoad::dirty_rate, "bytes_per_second", "pages written"},
    {"disk-read", &VmLoad::disk_read, "bytes_per_second", "read by the guest"},
    {"disk-write", &VmLoad::disk_write, "bytes_per_second", "written by the guest"},
};

} // namespace drover::balancer
