// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/state/clock_fields.h"

#include "vmm/qemu/state/device_bytes.h"
#include "vmm/qemu/state/device_fields.h"

#include <algorithm>

namespace drover::qemu {

namespace {

using state::PartOrConst;

constexpr int64_t ns_per_s = 1'000'000'000;
constexpr int64_t acpi_timer_hz = 3'579'545; // ACPI 4.8.3.3
constexpr uint32_t acpi_timer_mask = (1U << 24) - 1;
constexpr size_t cmos_size = 128;

std::string channel(size_t number, const char* field)
{
    return "channels[" + std::to_string(number) + "]/" + field;
}

template <class Fields, PartOrConst<state::PitChannel> Self>
void map_channel(Fields& fields, size_t number, Self& it)
{
    fields.number(channel(number, "count"), it.count);
    fields.number(channel(number, "latched_count"), it.latched_count);
    fields.number(channel(number, "count_latched"), it.count_latched);
    fields.number(channel(number, "status_latched"), it.status_latched);
    fields.number(channel(number, "status"), it.status);
    fields.number(channel(number, "read_state"), it.read_state);
    fields.number(channel(number, "write_state"), it.write_state);
    fields.number(channel(number, "write_latch"), it.write_latch);
    fields.number(channel(number, "rw_mode"), it.access);
    fields.number(channel(number, "mode"), it.mode);
    fields.number(channel(number, "bcd"), it.bcd);
    fields.number(channel(number, "gate"), it.gate);
}

void tell_unknown(const FieldReader& fields, const state::Device& device,
                  std::vector<std::string>& told)
{
    for (const std::string& name : fields.left_over())
        told.push_back(device.name + " " + name + ": not known here");
}

Status find_cmos(const state::Device& device, const state::DeviceField*& cmos)
{
    cmos = find_field(device, "cmos_data");
    if (cmos == nullptr || cmos->value.size() != cmos_size)
        return fail(ErrorKind::Incompatible, "mc146818rtc has not 128 bytes of memory");
    return {};
}

} // namespace

uint32_t acpi_timer_at(int64_t run_time)
{
    // In parts, since the product has more than 64 bits after a month.
    const int64_t seconds = run_time / ns_per_s;
    const int64_t rest = run_time % ns_per_s;
    const int64_t ticks = seconds * acpi_timer_hz + rest * acpi_timer_hz / ns_per_s;
    return static_cast<uint32_t>(ticks) & acpi_timer_mask;
}

int64_t run_time_for(const state::Clocks& clocks)
{
    const uint32_t missing = (clocks.acpi_timer - acpi_timer_at(clocks.run_time)) & acpi_timer_mask;
    if (missing == 0)
        return clocks.run_time;
    return clocks.run_time + (missing * ns_per_s + acpi_timer_hz - 1) / acpi_timer_hz;
}

Result<state::Clocks> read_clocks(const state::Device& timer, const state::Device* kvmclock,
                                  std::vector<std::string>& told)
{
    state::Clocks clocks;
    FieldReader fields(timer);
    fields.number("cpu_clock_offset", clocks.run_time);
    for (const char* name : {"cpu_ticks_offset", "unused"}) // the first: ticks_of()
        fields.pass_over(name);
    if (!fields.status())
        return std::unexpected(fields.status().error());
    tell_unknown(fields, timer, told);
    clocks.acpi_timer = acpi_timer_at(clocks.run_time);
    if (kvmclock == nullptr)
        return clocks;
    FieldReader kvm_fields(*kvmclock);
    kvm_fields.number("clock", clocks.kvmclock);
    if (!kvm_fields.status())
        return std::unexpected(kvm_fields.status().error());
    return clocks;
}

Result<uint64_t> ticks_of(const state::Device& timer)
{
    FieldReader fields(timer);
    const uint64_t ticks = fields.get("cpu_ticks_offset");
    if (!fields.status())
        return std::unexpected(fields.status().error());
    return ticks;
}

Status write_clocks(const state::Clocks& clocks, uint64_t tsc, state::Device& timer,
                    state::Device* kvmclock)
{
    FieldWriter fields(timer);
    fields.set("cpu_ticks_offset", tsc);
    fields.set("cpu_clock_offset", static_cast<uint64_t>(run_time_for(clocks)));
    if (!fields.status() || kvmclock == nullptr)
        return fields.status();
    FieldWriter kvm_fields(*kvmclock);
    kvm_fields.number("clock", clocks.kvmclock);
    return kvm_fields.status();
}

Result<state::Pit> read_pit(const state::Device& device, const state::Device* speaker,
                            int64_t run_time, std::vector<std::string>& told)
{
    state::Pit pit;
    FieldReader fields(device);
    for (size_t i = 0; i < pit.channels.size(); ++i) {
        map_channel(fields, i, pit.channels[i]);
        const auto loaded = static_cast<int64_t>(fields.get(channel(i, "count_load_time")));
        pit.channels[i].since_load = std::max<int64_t>(run_time - loaded, 0);
        fields.pass_over(channel(i, "next_transition_time")); // follows from the count
    }
    fields.pass_over("channels[0].next_transition_time");
    if (fields.get("channels[0].irq_disabled") != 0)
        told.emplace_back("i8254: the HPET has taken its interrupt: not known here");
    if (!fields.status())
        return std::unexpected(fields.status().error());
    tell_unknown(fields, device, told);
    if (speaker == nullptr)
        return pit;
    FieldReader speaker_fields(*speaker);
    speaker_fields.number("data_on", pit.speaker_on);
    if (!speaker_fields.status())
        return std::unexpected(speaker_fields.status().error());
    return pit;
}

Status write_pit(const state::Pit& pit, int64_t run_time, state::Device& device,
                 state::Device* speaker)
{
    FieldWriter fields(device);
    for (size_t i = 0; i < pit.channels.size(); ++i) {
        map_channel(fields, i, pit.channels[i]);
        const int64_t since = std::max<int64_t>(pit.channels[i].since_load, 0);
        fields.set(channel(i, "count_load_time"), static_cast<uint64_t>(run_time - since));
    }
    // QEMU looks at the counter then, and finds out itself when its output changes next.
    fields.set("channels[0].next_transition_time", static_cast<uint64_t>(run_time));
    fields.set("channels[0].irq_disabled", 0);
    if (!fields.status() || speaker == nullptr)
        return fields.status();
    FieldWriter speaker_fields(*speaker);
    speaker_fields.number("data_on", pit.speaker_on);
    return speaker_fields.status();
}

Result<state::Rtc> read_rtc(const state::Device& device, std::vector<std::string>& told)
{
    state::Rtc rtc;
    const state::DeviceField* cmos = nullptr;
    if (const Status found = find_cmos(device, cmos); !found)
        return std::unexpected(found.error());
    const auto registers = static_cast<std::ptrdiff_t>(rtc.registers.size());
    std::copy_n(cmos->value.begin(), registers, rtc.registers.begin());
    rtc.memory.assign(cmos->value.begin() + registers, cmos->value.end());
    FieldReader fields(device);
    fields.number("cmos_index", rtc.index);
    // At the time `last_update` of the host's clock it was `base_rtc` and `offset` for the guest.
    const auto base = static_cast<int64_t>(fields.get("base_rtc")); // seconds
    const auto at = static_cast<int64_t>(fields.get("last_update"));
    const auto offset = static_cast<int64_t>(fields.get("offset"));
    rtc.ahead = base * ns_per_s - at + offset;
    // Timers follow from the registers; ticks that were missed while paused are not made up for.
    for (const char* name : {"cmos_data", "unused", "unused[0]", "unused[1]", "periodic_timer",
                             "next_periodic_time", "irq_coalesced", "period", "update_timer",
                             "next_alarm_time", "[mc146818rtc/irq_reinject_on_ack_count]"})
        fields.pass_over(name);
    if (!fields.status())
        return std::unexpected(fields.status().error());
    tell_unknown(fields, device, told);
    return rtc;
}

Status write_rtc(const state::Rtc& rtc, state::Device& device)
{
    const state::DeviceField* found = nullptr;
    if (const Status status = find_cmos(device, found); !status)
        return status;
    auto& cmos = device.fields[static_cast<size_t>(found - device.fields.data())].value;
    std::ranges::copy(rtc.registers, cmos.begin());
    const size_t room = cmos.size() - rtc.registers.size();
    std::copy_n(rtc.memory.begin(), std::min(room, rtc.memory.size()),
                cmos.begin() + static_cast<std::ptrdiff_t>(rtc.registers.size()));
    FieldReader here(device);
    const auto at = static_cast<int64_t>(here.get("last_update"));
    const int64_t shown = at + rtc.ahead;
    FieldWriter fields(device);
    fields.number("cmos_index", rtc.index);
    fields.set("base_rtc", static_cast<uint64_t>(shown / ns_per_s));
    fields.set("offset", static_cast<uint64_t>(shown % ns_per_s));
    fields.set("next_periodic_time", 0); // long ago: QEMU makes it anew
    return here.status() ? fields.status() : here.status();
}

} // namespace drover::qemu
