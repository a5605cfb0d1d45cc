// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/xen/live/early_model.h"

#include "util/log.h"
#include "vmm/xen/live/model_monitor.h"

#include <charconv>

namespace drover::xen {

namespace {

constexpr std::string_view domains_entry = "/local/domain";
constexpr std::string_view name_entry = "/name";
constexpr std::string_view models_entry = "/local/domain/0/device-model/";
/// Made by the model when its monitors listen already.
constexpr std::string_view backends_entry = "/backends";

} // namespace

Result<std::unique_ptr<EarlyModel>> EarlyModel::start(std::string name, Callbacks callbacks)
{
    std::unique_ptr<EarlyModel> made(new EarlyModel(std::move(name), std::move(callbacks)));
    auto store =
        XenStore::open([model = made.get()](const std::string& path) { model->changed(path); });
    if (!store)
        return pass(store);
    made->store_ = std::move(*store);
    if (Status watched = made->store_->watch(std::string(domains_entry)); !watched)
        return pass(watched);
    return made;
}

EarlyModel::EarlyModel(std::string name, Callbacks callbacks)
    : name_(std::move(name)), callbacks_(std::move(callbacks))
{
}

EarlyModel::~EarlyModel()
{
    *alive_ = false;
}

void EarlyModel::changed(const std::string& path)
{
    if (id_.empty())
        look_for_domain(path);
    else if (!monitor_ && path.starts_with(model_ + std::string(backends_entry)))
        connect();
}

/// Of "/local/domain/7/name".
void EarlyModel::look_for_domain(const std::string& path)
{
    const size_t after = domains_entry.size() + 1;
    if (path.size() <= after || !path.ends_with(name_entry))
        return;
    const std::string id = path.substr(after, path.size() - after - name_entry.size());
    if (id.empty() || id.find_first_not_of("0123456789") != std::string::npos ||
        store_->read(path) != name_)
        return;
    found(id);
}

void EarlyModel::found(const std::string& id)
{
    uint32_t number = 0;
    std::from_chars(id.data(), id.data() + id.size(), number);
    id_ = id;
    model_ = std::string(models_entry) + id;
    store_->unwatch(std::string(domains_entry));
    auto pipe = StatePipe::make(number);
    Status watched = pipe ? store_->watch(model_) : pass(pipe);
    if (!watched)
        return fail_with(watched.error());
    pipe_ = std::move(*pipe);
    callbacks_.expected(number);
}

void EarlyModel::connect()
{
    store_->unwatch(model_);
    auto socket = connect_to_model(id_);
    if (!socket)
        return fail_with(socket.error());
    monitor_ = std::make_unique<QmpClient>(
        std::move(*socket), QmpClient::Callbacks{[this](const Json& event) { told(event); },
                                                 [this](const Error& how) { ended(how); }});
    monitor_->negotiate(false, [this](const Result<Json>& greeting) {
        if (greeting)
            ask_for_events();
    });
}

void EarlyModel::ask_for_events()
{
    const Json events{{"capability", "events"}, {"state", true}};
    monitor_->execute("migrate-set-capabilities", Json{{"capabilities", Json::array({events})}},
                      [this](const Result<Json>& answer) {
                          if (answer)
                              say_that_it_runs();
                          else
                              fail_with(answer.error());
                      });
}

/// What the model says itself when it has its state: xl goes on.
void EarlyModel::say_that_it_runs()
{
    pipe_->has_reader();
    if (Status said = store_->write(model_ + "/state", "running"); !said)
        return fail_with(said.error());
    callbacks_.waiting();
}

void EarlyModel::ended(const Error& how)
{
    fail_with({ErrorKind::Machine, "the device model has ended (" + how.message + ")",
               "its log is in /var/log/xen"});
}

void EarlyModel::told(const Json& event)
{
    const std::string name = json_string(event, "event");
    if (const auto time = event.find("timestamp"); name == "RESUME" && time != event.end())
        clock_s_ = static_cast<double>(json_u64(*time, "seconds")) +
                   static_cast<double>(json_u64(*time, "microseconds")) * 1e-6;
    if (name != "MIGRATION")
        return;
    const auto data = event.find("data");
    const std::string status = data != event.end() ? json_string(*data, "status") : "";
    if (status == "completed")
        callbacks_.loaded(clock_s_);
    else if (status == "failed")
        fail_with({ErrorKind::Machine, "the device model could not load the guest's devices",
                   "its log is in /var/log/xen"});
}

/// Later: whoever is told may destroy this.
void EarlyModel::fail_with(Error error)
{
    loop::post([this, alive = alive_, error = std::move(error)]() mutable {
        if (*alive)
            callbacks_.failed(std::move(error));
    });
}

} // namespace drover::xen
