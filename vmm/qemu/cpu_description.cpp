// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/cpu_description.h"

#include "util/fd.h"
#include "util/gref.h"
#include "util/loop.h"

#include <csignal>
#include <cstdlib>
#include <sys/prctl.h>
#include <vector>

namespace drover::qemu {

namespace {

constexpr std::chrono::seconds inquiry_limit{30};
constexpr int inquiry_fd = 3; ///< of ours, in QEMU

struct CpuQuestions {
    QmpClient& qmp;
    std::string model;
    std::function<void(Result<Json>)> done;
    Json told = Json{{"models", Json::object()}};
    size_t models_left = 0;
};

using Questions = std::shared_ptr<CpuQuestions>;

/// "Nehalem-v2": what it means stays as it is from version to version of QEMU.
bool is_versioned_model(const std::string& name)
{
    const size_t at = name.rfind("-v");
    return at != std::string::npos && at + 2 < name.size() &&
           name.find_first_not_of("0123456789", at + 2) == std::string::npos;
}

Json names_of(const Json& properties, bool all)
{
    Json names = Json::array();
    for (const auto& [name, value] : properties.items())
        if (value.is_boolean() && (all || value.get<bool>()))
            names.push_back(name);
    return names;
}

/// The properties of an answer to query-cpu-model-expansion.
const Json* properties_of(const Json& answer)
{
    const auto model = answer.find("model");
    if (model == answer.end() || !model->is_object())
        return nullptr;
    const auto properties = model->find("props");
    return properties != model->end() && properties->is_object() ? &*properties : nullptr;
}

void expand_model(const Questions& asked, const std::string& name,
                  std::function<void(const Json& properties)> take)
{
    asked->qmp.execute("query-cpu-model-expansion",
                       Json{{"type", "static"}, {"model", {{"name", name}}}},
                       [take = std::move(take)](const Result<Json>& answer) {
                           const Json* properties = answer ? properties_of(*answer) : nullptr;
                           take(properties != nullptr ? *properties : Json());
                       });
}

void ask_models(const Questions& asked, const Json& definitions)
{
    std::vector<std::string> names;
    for (const Json& definition : definitions)
        if (std::string name = json_string(definition, "name"); is_versioned_model(name))
            names.push_back(std::move(name));
    asked->models_left = names.size();
    if (names.empty())
        return asked->done(fail(ErrorKind::Refused, "this QEMU has no CPU models with versions",
                                "it must be one for x86, 4.1 or newer"));
    for (const std::string& name : names)
        expand_model(asked, name, [asked, name](const Json& properties) {
            if (properties.is_object())
                asked->told["models"][name] = names_of(properties, false);
            if (--asked->models_left == 0)
                asked->done(std::move(asked->told));
        });
}

void ask_features(const Questions& asked)
{
    if (asked->model.empty())
        asked->model = json_string(asked->told, "accelerator") == "kvm" ? "host" : "max";
    expand_model(asked, asked->model, [asked](const Json& properties) {
        if (!properties.is_object())
            return asked->done(fail(ErrorKind::Refused,
                                    "this QEMU does not tell what a CPU " + asked->model + " has"));
        asked->told["features"] = names_of(properties, false);
        asked->told["known"] = names_of(properties, true);
        asked->told["vendor"] = json_string(properties, "vendor");
        asked->qmp.execute("query-cpu-definitions", Json::object(),
                           [asked](Result<Json> definitions) {
                               if (!definitions)
                                   return asked->done(pass(definitions));
                               ask_models(asked, *definitions);
                           });
    });
}

} // namespace

void describe_cpus(QmpClient& qmp, std::string model, std::function<void(Result<Json>)> done)
{
    auto asked = std::make_shared<CpuQuestions>(
        CpuQuestions{.qmp = qmp, .model = std::move(model), .done = std::move(done)});
    qmp.execute("query-version", Json::object(), [asked](const Result<Json>& answer) {
        const Json version = answer ? answer->value("qemu", Json::object()) : Json::object();
        asked->told["version"] = std::to_string(json_u64(version, "major")) + "." +
                                 std::to_string(json_u64(version, "minor")) + "." +
                                 std::to_string(json_u64(version, "micro"));
    });
    qmp.execute("query-kvm", Json::object(), [asked](Result<Json> kvm) {
        if (!kvm)
            return asked->done(pass(kvm));
        asked->told["accelerator"] = json_bool(*kvm, "enabled") ? "kvm" : "tcg";
        ask_features(asked);
    });
}

class CpuInquiry::Impl {
public:
    Impl(Wish wish, std::function<void(Result<Json>)> done)
        : wish_(std::move(wish)), done_(std::move(done))
    {
        limit_ = loop::after(inquiry_limit, [this] {
            end(fail(ErrorKind::Machine, wish_.binary + " has not answered within 30 s"));
        });
        if (Status begun = begin(); !begun)
            failure_ = loop::after(std::chrono::milliseconds(0),
                                   [this, why = begun.error()] { end(std::unexpected(why)); });
    }
    ~Impl()
    {
        client_.reset();
        // At once: g_subprocess_force_exit() leaves it to a thread, which may not live that long.
        const char* pid = process_ ? g_subprocess_get_identifier(process_.get()) : nullptr;
        if (pid != nullptr)
            kill(static_cast<pid_t>(strtol(pid, nullptr, 10)), SIGKILL);
    }
    Impl(const Impl&) = delete;
    Impl& operator=(const Impl&) = delete;

private:
    Status begin()
    {
        auto pair = socket_pair();
        if (!pair)
            return pass(pair);
        const char* const words[] = {wish_.binary.c_str(),
                                     "-M",
                                     "none",
                                     "-nodefaults",
                                     "-no-user-config",
                                     "-display",
                                     "none",
                                     "-accel",
                                     wish_.accelerator.c_str(),
                                     "-chardev",
                                     "socket,id=cpus,fd=3",
                                     "-mon",
                                     "chardev=cpus,mode=control",
                                     nullptr};
        const GRef<GSubprocessLauncher> launcher(
            g_subprocess_launcher_new(G_SUBPROCESS_FLAGS_STDOUT_SILENCE));
        g_subprocess_launcher_take_fd(launcher.get(), pair->second.release(), inquiry_fd);
        g_subprocess_launcher_set_child_setup(
            launcher.get(), [](gpointer) { prctl(PR_SET_PDEATHSIG, SIGKILL); }, nullptr, nullptr);
        GError* error = nullptr;
        process_.reset(g_subprocess_launcher_spawnv(launcher.get(), words, &error));
        if (!process_) {
            const std::string why = error->message;
            g_error_free(error);
            return fail(ErrorKind::Machine, "starting " + wish_.binary + ": " + why);
        }
        talk(std::move(pair->first));
        return {};
    }

    void talk(UniqueFd socket)
    {
        client_ = std::make_unique<QmpClient>(
            std::move(socket),
            QmpClient::Callbacks{[](const Json&) {},
                                 [this](const Error&) {
                                     end(fail(ErrorKind::Machine,
                                              wish_.binary + " -accel " + wish_.accelerator +
                                                  " has ended before it answered"));
                                 }});
        client_->negotiate(false, [this](Result<Json> greeting) {
            if (!greeting)
                return end(pass(greeting));
            describe_cpus(*client_, wish_.model,
                          [this](Result<Json> told) { end(std::move(told)); });
        });
    }

    void end(Result<Json> outcome)
    {
        limit_.reset();
        if (auto done = std::exchange(done_, nullptr))
            done(std::move(outcome));
    }

    Wish wish_;
    std::function<void(Result<Json>)> done_;
    GRef<GSubprocess> process_;
    std::unique_ptr<QmpClient> client_;
    loop::Source limit_;
    loop::Source failure_;
};

CpuInquiry::CpuInquiry(Wish wish, std::function<void(Result<Json>)> done)
    : impl_(std::make_unique<Impl>(std::move(wish), std::move(done)))
{
}

CpuInquiry::~CpuInquiry() = default;

} // namespace drover::qemu
