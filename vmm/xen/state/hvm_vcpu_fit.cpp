// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/state/lapic_timer.h"
#include "vmm/xen/state/hvm_vcpu.h"
#include "vmm/xen/state/hvm_vcpu_fields.h"

namespace drover::xen {

namespace {

constexpr uint64_t efer_svme = 1U << 12;
constexpr uint64_t cr4_vmxe = 1U << 13;
constexpr uint64_t cr4_la57 = 1U << 12;
constexpr uint32_t timer_masked = 1U << 16;
constexpr uint32_t widest_error_code = 0xffff; ///< that Xen takes

struct MsrRange {
    uint32_t first;
    uint32_t last;
    uint64_t ordinary;  ///< a value that says nothing, besides 0
    const char* change; ///< what another value means for the guest; null: nothing
};

/// Registers that QEMU's guests have and Xen's records do not.
constexpr MsrRange unsaved_msrs[] = {
    {0x34, 0x34, 0, nullptr}, // how often firmware was in system management mode
    {0x3a, 0x3a, 5, nullptr}, // locked by firmware
    {0x17a, 0x17a, 0, "a machine check that was being handled is forgotten"},
    {0x17b, 0x17b, UINT64_MAX, nullptr},
    {0x1a0, 0x1a0, 1, "IA32_MISC_ENABLE is the host's own"},
    {0x400, 0x47f, UINT64_MAX, "what machine checks were logged is forgotten"},
    {0xc0000104, 0xc0000104, uint64_t{1} << 32, nullptr}, // of a guest's guest
    {0xc0010117, 0xc0010117, 0, nullptr},                 // of a guest's guest
};

/// Of KVM's interface for its guests (Linux' Documentation/virt/kvm/x86/msr).
constexpr uint32_t first_kvm_msr = 0x4b564d00;
constexpr uint32_t last_kvm_msr = 0x4b564dff;
constexpr uint32_t kvm_poll_control = 0x4b564d05; ///< 1, until a guest writes it

bool has_place(uint32_t index)
{
    const auto is_in = [index](const auto& list) {
        return std::ranges::find(list, index) != std::end(list);
    };
    const bool variable = index >= MsrIndex::FirstVariableMtrr && index < 0x210;
    const bool single = index == MsrIndex::TscAdjust || index == MsrIndex::McgCap ||
                        index == MsrIndex::Pat || index == MsrIndex::FirstBankControl ||
                        index == MsrIndex::FirstBankControl + 1 || index == MsrIndex::DefaultMtrr ||
                        index == MsrIndex::McgExtendedControl || index == MsrIndex::TscDeadline;
    return variable || single || is_in(fixed_mtrr_msrs) || is_in(listed_msrs) ||
           std::ranges::find(cpu_msr_fields, index, &CpuMsrField::index) !=
               std::end(cpu_msr_fields);
}

void judge_msr(const state::Msr& msr, XenFit& fit)
{
    if (msr.value == 0 || has_place(msr.index))
        return;
    if (msr.index >= first_kvm_msr && msr.index <= last_kvm_msr) {
        if (msr.index != kvm_poll_control || msr.value != 1)
            fit.refuse("it uses KVM's own interface for guests, its clock for one, which Xen does "
                       "not have (with -cpu …,kvm=off a guest does not see it)");
        return;
    }
    for (const MsrRange& range : unsaved_msrs) {
        if (msr.index < range.first || msr.index > range.last)
            continue;
        if (msr.value != range.ordinary && range.change != nullptr)
            fit.change(range.change);
        return;
    }
    char text[] = "register 00000000";
    snprintf(text, sizeof text, "register %x", msr.index);
    fit.refuse("it uses model-specific " + std::string(text) +
               ", which Xen's state has no place for");
}

void judge_events(const state::PendingEvents& events, XenFit& fit)
{
    if (events.smm)
        fit.refuse("it is in system management mode, which Xen does not have");
    if (events.exception && events.has_error_code && events.error_code > widest_error_code)
        fit.refuse("an exception with a code of more than 16 bits is on its way");
    if (events.nmi_pending)
        fit.change("an NMI that waited is forgotten");
    if (events.nmi_masked)
        fit.change("NMIs are no longer held back until the next IRET");
    if (events.interrupt_shadow)
        fit.change("an interrupt may come right behind an STI or MOV SS");
    if (events.exception && (events.interrupt || events.nmi_injected))
        fit.change("of two events on their way into the guest one is forgotten");
}

} // namespace

void judge_vcpu(const state::Vcpu& vcpu, XenFit& fit)
{
    const uint64_t components = vcpu.xcr0 | vcpu.xstate_in_use;
    if ((components & ~uint64_t{Xcomponent::Carried}) != 0)
        fit.refuse("it has AVX-512, protection keys, MPX or AMX on, which are not carried yet");
    if ((msr_of(vcpu, MsrIndex::Efer) & efer_svme) != 0 || (vcpu.cr4 & cr4_vmxe) != 0)
        fit.refuse("it runs guests of its own");
    if ((vcpu.cr4 & cr4_la57) != 0)
        fit.refuse("it has page tables of five levels, which Xen's guests cannot have");
    if (vcpu.run_state == state::RunState::Halted)
        fit.change("a vCPU that sleeps in HLT wakes up once");
    judge_events(vcpu.events, fit);
    for (const state::Msr& msr : vcpu.msrs)
        judge_msr(msr, fit);
}

void judge_lapic(const state::Lapic& lapic, XenFit& fit)
{
    const uint32_t timer = lapic.local_vectors[0];
    const bool deadline = (timer >> 17 & 3) == 2;
    if (lapic.initial_count == 0 || deadline || (timer & timer_masked) != 0)
        return;
    if (state::ticks_late(lapic, state::xen_lapic_hz))
        fit.change("its LAPIC timers are late: it uses them with a divisor below 16, whose ticks "
                   "Xen's timer is too coarse for");
    else if (lapic.timer_hz != state::xen_lapic_hz)
        fit.change(
            "its LAPIC timers are early: with a divisor of 16 they fire after five eighths of "
            "their time, with greater ones nearly in time");
}

} // namespace drover::xen
