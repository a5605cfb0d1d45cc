// SPDX-License-Identifier: GPL-2.0-or-later
//
// What a domain says of itself at the hello, and in a forecast, while it runs.
#include "vmm/qemu/hardware.h"
#include "vmm/qemu/layout.h"
#include "vmm/qemu/qmp_sequence.h"
#include "vmm/xen/guest/announced_guest.h"
#include "vmm/xen/live/xen_cpu.h"
#include "vmm/xen/live/xen_source.h"
#include "vmm/xen/state/hvm_chip_layout.h"
#include "vmm/xen/state/hvm_records.h"
#include "vmm/xen/state/stream_format.h"

#include <algorithm>

namespace drover::xen {

namespace {

constexpr uint32_t callback_param = 0; ///< HVM_PARAM_CALLBACK_IRQ: set by paravirtual drivers
constexpr size_t qemu_ioapic_pins = 24;
constexpr uint64_t masked_pin = 1U << 16;
constexpr uint64_t hpet_on = 1; ///< in its configuration

/// "pc-i440fx-7.2-machine" → "pc-i440fx-7.2".
std::string machine_type(const Json& type)
{
    std::string text = type.is_string() ? type.get<std::string>() : std::string();
    if (constexpr std::string_view suffix = "-machine"; text.ends_with(suffix))
        text.resize(text.size() - suffix.size());
    return text;
}

/// What the device model serves by Xen's own ways is no device of the guest's, which has no drivers
/// for it.
constexpr std::string_view of_xens_own = "child<xen-backend>";

void add_devices(const Json& properties, const std::string& prefix, Json& devices)
{
    for (const Json& property : properties) {
        const std::string type = json_string(property, "type");
        if (type.starts_with("child<") && type.ends_with(">") && type != of_xens_own)
            devices[prefix + json_string(property, "name")] = type.substr(6, type.size() - 7);
    }
}

template <class Record> Result<Record> read_record(const XenDomain& domain, HvmType type)
{
    const size_t size = state::encode(Record()).size();
    auto bytes = domain.record(static_cast<uint16_t>(type), size);
    return bytes ? decode_record<Record>({type, 0, std::move(*bytes)}) : pass(bytes);
}

} // namespace

/// What can keep the guest from leaving, and shows while it runs: judged by
/// migration/session/translation_check.h.
Result<Json> XenSource::facts() const
{
    auto features = cpu_features(domain_->id());
    auto callback = domain_->param(callback_param);
    auto viridian = domain_->param(HvmParamIndex::Viridian);
    auto pins = read_record<HvmIoApic>(*domain_, HvmType::IoApic);
    auto hpet = read_record<HvmHpet>(*domain_, HvmType::Hpet);
    auto khz = domain_->tsc_khz();
    if (!features || !callback || !viridian || !pins || !khz)
        return std::unexpected(!features   ? features.error()
                               : !callback ? callback.error()
                               : !viridian ? viridian.error()
                               : !pins     ? pins.error()
                                           : khz.error());
    const auto high = std::span(pins->redirection).subspan(qemu_ioapic_pins);
    return Json{{"cpu_features", std::move(*features)},
                {"pv_drivers", *callback != 0},
                {"viridian", *viridian != 0},
                {"high_pins",
                 std::ranges::count_if(high, [](uint64_t pin) { return (pin & masked_pin) == 0; })},
                {"hpet_counts", hpet && (hpet->config & hpet_on) != 0}, // hpet=0: there is none
                {"tsc_khz", *khz}};
}

void XenSource::describe(std::function<void(Result<Json>)> done)
{
    const auto info = domain_->info();
    auto known = info ? facts() : std::unexpected(info.error());
    if (!known)
        return loop::post(
            [done = std::move(done), error = known.error()] { done(std::unexpected(error)); });
    std::vector<qemu::QmpStep> steps;
    steps.push_back({"qom-get", Json{{"path", "/machine"}, {"property", "type"}}});
    steps.push_back({"qom-list", Json{{"path", "/machine/peripheral"}}});
    steps.push_back({"qom-list", Json{{"path", "/machine/peripheral-anon"}}});
    steps.push_back({"query-pci"});
    qemu::run_sequence(
        model_, std::move(steps), [alive = alive_] { return *alive; },
        [this, alive = alive_, cpus = info->vcpus, known = std::move(*known),
         done = std::move(done)](Result<std::vector<Json>> answers) {
            if (!*alive)
                return;
            if (!answers)
                return done(pass(answers));
            Json devices = Json::object();
            add_devices((*answers)[1], "", devices);
            add_devices((*answers)[2], "unnamed ", devices);
            Json description{{"kind", "xen"},
                             {"version", version_},
                             {"arch", "x86_64"},
                             {"machine", machine_type((*answers)[0])},
                             {"accelerator", "xen"},
                             {"cpus", cpus},
                             {"memory", ram_.layout.size},
                             {"ram_below_4g", ram_.layout.low},
                             {"firmware_tables", ram_.has_tables},
                             {"devices", std::move(devices)},
                             {"pci", qemu::pci_places((*answers)[3])}};
            description.update(known);
            add_uncarried(std::move(description), done);
        });
}

/// What would be found unable to go only in the pause, where the device model's state is read.
void XenSource::add_uncarried(Json description, std::function<void(Result<Json>)> done)
{
    qemu::ask_hardware(
        model_, description,
        [alive = alive_, description, done = std::move(done)](const Json& described) mutable {
            if (!*alive)
                return;
            description["uncarried"] = without_neutral_form(described);
            done(std::move(description));
        });
}

} // namespace drover::xen
