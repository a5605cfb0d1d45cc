// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/host_cpus.h"

#include "accel/kvm/probe.h"
#include "contrib/balancer/host/vm_start.h"
#include "contrib/balancer/host/xen_watch.h"
#include "util/loop.h"

#include <array>
#include <gio/gio.h>

namespace drover::balancer {

namespace {

std::string usual_accelerator()
{
    if (is_xen_host())
        return "xen";
    const auto kvm = kvm::probe_kvm();
    return kvm && kvm->usable() ? "kvm" : "tcg";
}

std::string take_message(GError* error)
{
    std::string message = error->message;
    g_error_free(error);
    return message;
}

/// What a process that has ended has written; why it failed stands in our log.
Result<Json> said_by(GSubprocess* process, GAsyncResult* result)
{
    gchar* output = nullptr;
    GError* error = nullptr;
    if (g_subprocess_communicate_utf8_finish(process, result, &output, nullptr, &error) == 0)
        return fail(ErrorKind::Machine, "drover-xen cpus: " + take_message(error));
    const std::string text = output != nullptr ? output : "";
    g_free(output);
    if (g_subprocess_get_successful(process) == 0)
        return fail(ErrorKind::Machine, "drover-xen cpus has failed",
                    "the log of this host's droverd says why");
    return parse_json(text);
}

} // namespace

void HostCpus::query(const Json& arguments, const Answer& answer)
{
    std::string accelerator = json_string(arguments, "accelerator");
    if (accelerator.empty())
        accelerator = usual_accelerator();
    if (accelerator != "kvm" && accelerator != "tcg" && accelerator != "xen")
        return answer(fail(ErrorKind::Invalid, "there is no accelerator " + accelerator,
                           "it is kvm, tcg or xen"));
    Asked& asked = asked_[accelerator];
    if (!asked.told.is_null())
        return answer(asked.told);
    asked.waiting.push_back(answer);
    if (!std::exchange(asked.begun, true))
        begin(accelerator, asked);
}

void HostCpus::begin(const std::string& accelerator, Asked& asked)
{
    if (accelerator == "xen")
        return ask_xen();
    VmDefinition any;
    any.kind = VmKind::Qemu;
    auto binary = find_emulator(config_, any);
    if (!binary)
        return ended(accelerator, pass(binary));
    asked.inquiry = std::make_unique<qemu::CpuInquiry>(
        qemu::CpuInquiry::Wish{.binary = *binary, .accelerator = accelerator, .model = {}},
        [this, accelerator](const Result<Json>& told) { ended(accelerator, told); });
}

void HostCpus::ask_xen()
{
    const std::string program = find_program("drover-xen");
    if (program.empty())
        return ended("xen",
                     fail(ErrorKind::Refused, "this host has no drover-xen", "it is no Xen host"));
    const std::array<const gchar*, 3> words = {program.c_str(), "cpus", nullptr};
    GError* error = nullptr;
    GSubprocess* process = g_subprocess_newv(words.data(), G_SUBPROCESS_FLAGS_STDOUT_PIPE, &error);
    if (process == nullptr)
        return ended("xen", fail(ErrorKind::Machine, program + ": " + take_message(error)));
    g_subprocess_communicate_utf8_async(
        process, nullptr, nullptr,
        [](GObject* object, GAsyncResult* result, gpointer data) {
            const std::unique_ptr<std::weak_ptr<HostCpus*>> asker(
                static_cast<std::weak_ptr<HostCpus*>*>(data));
            const auto told = said_by(G_SUBPROCESS(object), result);
            if (const auto alive = asker->lock())
                (*alive)->ended("xen", told);
        },
        new std::weak_ptr<HostCpus*>(alive_));
    g_object_unref(process);
}

/// What failed is tried again when somebody asks again.
void HostCpus::ended(const std::string& accelerator, const Result<Json>& told)
{
    Asked& asked = asked_[accelerator];
    asked.begun = false;
    if (told)
        asked.told = *told;
    loop::post([inquiry = std::shared_ptr<qemu::CpuInquiry>(std::move(asked.inquiry))] {});
    for (const Answer& answer : std::exchange(asked.waiting, {}))
        answer(told);
}

} // namespace drover::balancer
