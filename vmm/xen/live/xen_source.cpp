// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/xen/live/xen_source.h"

#include "util/log.h"
#include "vmm/qemu/state/machine_fields.h"
#include "vmm/xen/state/hvm_records.h"
#include "vmm/xen/state/stopped_counters.h"
#include "vmm/xen/state/stream_format.h"
#include "vmm/xen/state/xen_machine.h"

#include <cstdlib>
#include <unistd.h>

namespace drover::xen {

namespace {

constexpr std::chrono::seconds suspend_limit{5}; // a device model that does not answer
constexpr int64_t ns_per_s = 1'000'000'000;
constexpr int64_t ns_per_us = 1'000;
constexpr size_t most_model_bytes = 64U << 20;

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
    stop_asked_ = Clock::now();
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
    // QEMU tells its stop by the wall clock, which may be set meanwhile: counters that went back
    // further than to where the vCPUs stood would run backwards for the guest.
    const std::chrono::nanoseconds stood = Clock::now() - stop_asked_;
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
                         std::clamp<int64_t>(context->taken - *model_stopped_, 0, stood.count()));
    if (Status known = qemu::check_known(read->not_carried); !known)
        return pass(known);
    if (ram_.has_tables) {
        auto tables = tables_of(*domain_);
        if (!tables)
            return pass(tables);
        read->machine.memory.push_back(std::move(*tables));
    }
    return state::encode_machine(read->machine);
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
