// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/xen/live/xen_source.h"

#include "util/log.h"
#include "vmm/qemu/layout.h"
#include "vmm/qemu/qmp_sequence.h"
#include "vmm/qemu/state/machine_fields.h"
#include "vmm/xen/live/xen_cpu.h"
#include "vmm/xen/state/hvm_chip_layout.h"
#include "vmm/xen/state/hvm_records.h"
#include "vmm/xen/state/stopped_counters.h"
#include "vmm/xen/state/stream_format.h"
#include "vmm/xen/state/xen_machine.h"

#include <algorithm>
#include <cstdlib>
#include <unistd.h>

namespace drover::xen {

namespace {

constexpr std::chrono::seconds suspend_limit{5}; // a device model that does not answer
constexpr uint32_t callback_param = 0; ///< HVM_PARAM_CALLBACK_IRQ: set by paravirtual drivers
constexpr size_t qemu_ioapic_pins = 24;
constexpr uint64_t masked_pin = 1U << 16;
constexpr uint64_t hpet_on = 1; ///< in its configuration
constexpr int64_t ns_per_s = 1'000'000'000;
constexpr int64_t ns_per_us = 1'000;
constexpr int64_t most_gap = 60 * ns_per_s; ///< more is a wall clock that was set meanwhile
constexpr size_t most_model_bytes = 64U << 20;

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

/// A file that the device model, which opens it by its name, can write.
Result<std::string> temporary_file()
{
    char path[] = "/var/run/xen/drover-save.XXXXXX";
    const UniqueFd file(mkstemp(path));
    if (!file)
        return fail_errno(std::string("making ") + path, errno);
    return std::string(path);
}

} // namespace

XenSource::XenSource(std::shared_ptr<XenDomain> domain, QmpClient& model, DomainRam ram,
                     std::string version)
    : domain_(std::move(domain)), model_(model), ram_(std::move(ram)), version_(std::move(version)),
      log_(*domain_, ram_.layout, [this, alive = alive_] {
          loop::post([this, alive] {
              if (*alive)
                  tell_writes(false, [](const Status&) {});
          });
      })
{
}

XenSource::~XenSource()
{
    *alive_ = false;
}

void XenSource::process_died(const Error& how)
{
    died_ = how;
    save_failed(how);
}

namespace {

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
            done(std::move(description));
        });
}

/// The device model's writes have to be told from before the log begins: the session asks for this
/// before the first page.
void XenSource::prepare_save(std::function<void(Status)> done)
{
    if (Status watched = watch_suspensions(); !watched)
        return loop::post([done = std::move(done), watched] { done(watched); });
    tell_writes(true, std::move(done));
}

/// Before the pause, which is not to wait for xenstore's connection.
Status XenSource::watch_suspensions()
{
    if (!shutdowns_) {
        auto store = XenStore::open([this](const std::string&) { look_at_suspension(); });
        Status watches = store ? (*store)->watch(XenStore::any_shutdown) : pass(store);
        if (!watches)
            return watches;
        shutdowns_ = std::move(*store);
    }
    if (const auto info = domain_->info(); info && !info->suspended)
        shutdowns_->has_resumed(domain_->id()); // where it was suspended before, by whomever
    return {};
}

/// Twice on is harmless; off without on would end the device model.
void XenSource::tell_writes(bool on, std::function<void(Status)> done)
{
    if (!on && !std::exchange(tells_writes_, false))
        return;
    tells_writes_ = on;
    model_.execute("xen-set-global-dirty-log", Json{{"enable", on}},
                   [alive = alive_, done = std::move(done)](Result<Json> answer) {
                       if (*alive)
                           done(answer ? Status() : pass(answer));
                   });
}

void XenSource::begin_save(SaveCallbacks callbacks)
{
    save_ = std::move(callbacks);
    model_stopped_.reset();
    ++saving_;
    const auto info = domain_->info();
    if (!info)
        return save_failed(info.error());
    if (form_ != StateForm::Neutral)
        return save_failed({ErrorKind::Incompatible, "a guest on Xen is moved in the neutral form",
                            "use the same release of Drover on both sides"});
    if (info->dying)
        return save_failed({ErrorKind::Machine, "the guest has ended", ""});
    ran_ = !info->paused && !info->suspended;
    if (Status asked = info->suspended ? Status() : domain_->suspend(); !asked)
        return save_failed(asked.error());
    suspend_limit_ = loop::after(suspend_limit, [this] {
        save_failed({ErrorKind::Machine,
                     "the guest did not stand still: its device model does not answer", ""});
    });
    look_at_suspension();
}

void XenSource::look_at_suspension()
{
    if (!suspend_limit_)
        return; // another domain's
    const auto info = domain_->info();
    if (!info)
        return save_failed(info.error());
    if (!info->suspended)
        return;
    suspend_limit_.reset();
    stop_model();
}

/// It completes what is under way to its disks, and tells of those writes.
void XenSource::stop_model()
{
    model_.execute("stop", Json::object(),
                   [this, alive = alive_, save = saving_](const Result<Json>& answer) {
                       if (!*alive || save != saving_ || !save_.paused)
                           return;
                       if (!answer)
                           return save_failed(answer.error());
                       save_.paused(ran_);
                   });
}

void XenSource::finish_save()
{
    auto path = temporary_file();
    if (!path)
        return save_failed(path.error());
    model_.execute("xen-save-devices-state", Json{{"filename", *path}, {"live", true}},
                   [this, alive = alive_, save = saving_, path = *path](Result<Json> answer) {
                       if (*alive && save == saving_ && save_.saved) {
                           if (answer)
                               model_saved(path);
                           else
                               save_failed(answer.error());
                       }
                       unlink(path.c_str());
                   });
}

void XenSource::model_saved(const std::string& path)
{
    auto model = read_file(path, most_model_bytes);
    if (!model)
        return save_failed(model.error());
    auto state = neutral_state(std::as_bytes(std::span(*model)));
    if (!state)
        return save_failed(state.error());
    save_.data(*state);
    save_.saved();
}

Result<std::vector<std::byte>> XenSource::neutral_state(std::span<const std::byte> model)
{
    XenState state;
    auto context = domain_->context();
    auto records = context ? split_hvm_context(context->bytes) : pass(context);
    if (!records)
        return pass(records);
    auto sections = split_model(model);
    if (!sections)
        return pass(sections);
    const auto viridian = domain_->param(HvmParamIndex::Viridian);
    if (!viridian)
        return std::unexpected(viridian.error());
    state.hvm = std::move(*records);
    state.model = std::move(*sections);
    state.params.push_back({HvmParamIndex::Viridian, *viridian});
    auto read = read_machine(state);
    if (!read)
        return pass(read);
    if (model_stopped_)
        set_back_to_stop(read->machine,
                         std::clamp<int64_t>(context->taken - *model_stopped_, 0, most_gap));
    if (Status known = qemu::check_known(read->not_carried); !known)
        return pass(known);
    if (ram_.has_tables) {
        auto tables = tables_of(*domain_);
        if (!tables)
            return pass(tables);
        read->machine.memory.push_back(std::move(*tables));
    }
    return state::encode_parts(state::to_parts(read->machine));
}

void XenSource::model_told(const Json& event)
{
    const auto time = event.find("timestamp");
    if (json_string(event, "event") == "STOP" && time != event.end())
        model_stopped_ = static_cast<int64_t>(json_u64(*time, "seconds")) * ns_per_s +
                         static_cast<int64_t>(json_u64(*time, "microseconds")) * ns_per_us;
}

void XenSource::save_failed(Error error)
{
    suspend_limit_.reset();
    loop::post([this, alive = alive_, save = saving_, error = std::move(error)]() mutable {
        if (*alive && save == saving_ && save_.failed)
            std::exchange(save_.failed, nullptr)(std::move(error));
    });
}

void XenSource::abandon_save(std::function<void(Status)> done)
{
    save_ = {};
    ++saving_;
    suspend_limit_.reset();
    if (died_)
        return loop::post(
            [done = std::move(done), error = *died_] { done(std::unexpected(error)); });
    // It takes its disks back before the guest uses them.
    model_.execute("cont", Json::object(),
                   [this, alive = alive_, done = std::move(done)](const Result<Json>& answer) {
                       if (!*alive)
                           return;
                       if (!answer)
                           return done(std::unexpected(answer.error()));
                       resumed(done);
                   });
}

void XenSource::resumed(const std::function<void(Status)>& done)
{
    // Whatever had been reached: a suspension that is under way is undone, too.
    Status back = domain_->resume();
    if (!back)
        back.error().hint = "cont runs it once the cause is gone";
    done(std::move(back));
}

namespace {

Error no_destination()
{
    return {ErrorKind::Refused, "a guest that is here already cannot be replaced by another", ""};
}

} // namespace

void XenSource::begin_load(std::function<void(Status)> ready, std::function<void(Error)> /*failed*/)
{
    loop::post([ready = std::move(ready)] { ready(std::unexpected(no_destination())); });
}

void XenSource::finish_load(std::function<void(Status)> loaded)
{
    loop::post([loaded = std::move(loaded)] { loaded(std::unexpected(no_destination())); });
}

void XenSource::take_over(bool /*run*/, std::function<void(Status)> done)
{
    loop::post([done = std::move(done)] { done(std::unexpected(no_destination())); });
}

Status XenSource::pause()
{
    const auto info = domain_->info();
    if (!info)
        return std::unexpected(info.error());
    return info->paused ? Status() : domain_->pause();
}

void XenSource::run(std::function<void(Status)> done)
{
    const auto info = domain_->info();
    if (!info)
        return done(std::unexpected(info.error()));
    if (Status unpaused = info->paused ? domain_->unpause() : Status();
        !unpaused || !info->suspended)
        return done(unpaused);
    abandon_save(std::move(done));
}

std::string XenSource::run_state() const
{
    const auto info = domain_->info();
    if (!info || info->dying)
        return "shutdown";
    return info->suspended ? "postmigrate" : info->paused ? "paused" : "running";
}

} // namespace drover::xen
