// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/state/lapic_timer.h"
#include "vmm/qemu/state/clock_fields.h"
#include "vmm/xen/state/hvm_chips.h"
#include "vmm/xen/state/hvm_untaken.h"
#include "vmm/xen/state/hvm_vcpu.h"
#include "vmm/xen/state/model_devices.h"
#include "vmm/xen/state/stream_format.h"
#include "vmm/xen/state/xen_machine.h"

#include <algorithm>

namespace drover::xen {

namespace {

struct ToldParam {
    uint64_t index;
    const char* reason;
};

constexpr ToldParam told_params[] = {
    {HvmParamIndex::StoreFrame, "of Xen's paravirtual interface"},
    {HvmParamIndex::ConsoleFrame, "of Xen's paravirtual interface"},
    {HvmParamIndex::IoreqFrame, "between Xen and its device model"},
    {HvmParamIndex::BufferedIoreqFrame, "between Xen and its device model"},
    {HvmParamIndex::IoreqServerFrame, "between Xen and its device model"},
    {HvmParamIndex::IoreqServerFrames, "between Xen and its device model"},
    {HvmParamIndex::PagingRing, "between Xen and its tools"},
    {HvmParamIndex::MonitorRing, "between Xen and its tools"},
    {HvmParamIndex::SharingRing, "between Xen and its tools"},
    {HvmParamIndex::IdentityTable, "for Xen on CPUs that cannot run a guest without paging"},
    {HvmParamIndex::Vm86TaskState, "for Xen on CPUs that cannot run a guest in real mode"},
    {HvmParamIndex::AcpiPorts, "the power management's ports tell the same"},
    {HvmParamIndex::FipWidth, "how Xen keeps the x87's pointers"},
};

class XenMachineReader {
public:
    explicit XenMachineReader(const XenState& state) : state_(state) {}

    Result<ReadMachine> read()
    {
        for (const auto step : {&XenMachineReader::check_header, &XenMachineReader::read_params,
                                &XenMachineReader::read_devices, &XenMachineReader::read_clocks,
                                &XenMachineReader::read_cpus})
            if (const Status done = (this->*step)(); !done)
                return std::unexpected(done.error());
        tell_untaken(state_.hvm, told_);
        tell_about_streams();
        std::ranges::sort(told_);
        told_.erase(std::ranges::unique(told_).begin(), told_.end());
        return std::move(result_);
    }

private:
    Status check_header()
    {
        const HvmRecord* record = state_.hvm.find(HvmType::Header);
        if (record == nullptr)
            return fail(ErrorKind::Protocol, "the hypervisor's records have no header");
        const auto header = decode_record<HvmHeader>(*record);
        if (!header)
            return std::unexpected(header.error());
        if (header->magic != hvm_magic || header->version != hvm_version)
            return fail(ErrorKind::Refused, "the hypervisor's records are of another version");
        tsc_khz_ = header->tsc_khz;
        if (tsc_khz_ == 0 && state_.tsc)
            tsc_khz_ = state_.tsc->khz;
        for (const HvmType type : {HvmType::ViridianDomain, HvmType::ViridianVcpu})
            if (std::ranges::find(state_.hvm.records, type, &HvmRecord::type) !=
                state_.hvm.records.end())
                return refuse_viridian();
        return {};
    }

    static std::unexpected<Error> refuse_viridian()
    {
        return fail(ErrorKind::Incompatible,
                    "the guest uses Hyper-V's interface, as Xen offers it, which is not carried",
                    "boot it without viridian= in its xl configuration");
    }

    Status read_params()
    {
        for (const HvmParam& param : state_.params) {
            if (param.value == 0)
                continue;
            if (param.index == HvmParamIndex::Viridian)
                return refuse_viridian();
            const auto known = std::ranges::find(told_params, param.index, &ToldParam::index);
            told_.push_back("HVM_PARAM " + std::to_string(param.index) + ": " +
                            (known != std::end(told_params) ? known->reason : "not known here"));
        }
        return {};
    }

    Status read_devices()
    {
        if (const Status done = read_chips(state_.hvm, machine()); !done)
            return done;
        return read_model(state_.model, machine(), told_);
    }

    Status read_clocks()
    {
        const HvmRecord* record = state_.hvm.find(HvmType::PmTimer);
        if (record == nullptr)
            return fail(ErrorKind::Incompatible, "the hypervisor's records have no PMTIMER");
        const auto timer = decode_record<HvmPmTimer>(*record);
        if (!timer)
            return std::unexpected(timer.error());
        state::Clocks& clocks = *machine().clocks;
        clocks.tsc_khz = tsc_khz_;
        if (is_born_on_xen(machine())) {
            clocks.acpi_timer = timer->timer;
            machine().acpi_pm->status = timer->status;
            machine().acpi_pm->enable = timer->enable;
        } else {
            clocks.acpi_timer = qemu::acpi_timer_at(clocks.run_time);
            told_.emplace_back("PMTIMER: this guest knows that of the device model only");
        }
        return {};
    }

    Status read_cpus()
    {
        const uint64_t born_hz =
            machine().acpi_pm->port == qemu_pm_port ? state::qemu_lapic_hz : state::xen_lapic_hz;
        for (const uint16_t number : vcpu_numbers(state_.hvm)) {
            auto vcpu = read_vcpu(state_.hvm, number);
            if (!vcpu)
                return std::unexpected(std::move(vcpu.error()));
            auto lapic = read_lapic(state_.hvm, number, born_hz);
            if (!lapic)
                return std::unexpected(std::move(lapic.error()));
            machine().vcpus.push_back(std::move(*vcpu));
            machine().lapics.push_back(*lapic);
        }
        if (machine().vcpus.empty())
            return fail(ErrorKind::Incompatible, "the hypervisor's records hold no vCPU");
        return {};
    }

    void tell_about_streams()
    {
        told_.emplace_back("X86_CPUID_POLICY, X86_MSR_POLICY: which CPU the guest sees is its "
                           "configuration's");
        told_.emplace_back("X86_TSC_INFO but khz: how Xen makes the TSC");
        if (!state_.xenstore.empty())
            told_.emplace_back("EMULATOR_XENSTORE_DATA: where the device model finds its memory");
    }

    [[nodiscard]] state::MachineState& machine() { return result_.machine; }

    const XenState& state_;
    uint32_t tsc_khz_ = 0;
    ReadMachine result_;
    std::vector<std::string>& told_ = result_.not_carried;
};

} // namespace

Result<ReadMachine> read_machine(const XenState& state)
{
    return XenMachineReader(state).read();
}

} // namespace drover::xen
