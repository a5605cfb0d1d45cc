// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/host_cpus.h"

#include "accel/kvm/probe.h"
#include "contrib/balancer/host/vm_start.h"
#include "util/loop.h"

namespace drover::balancer {

namespace {

std::string usual_accelerator()
{
    const auto kvm = kvm::probe_kvm();
    return kvm && kvm->usable() ? "kvm" : "tcg";
}

} // namespace

void HostCpus::query(const Json& arguments, const Answer& answer)
{
    std::string accelerator = json_string(arguments, "accelerator");
    if (accelerator.empty())
        accelerator = usual_accelerator();
    if (accelerator != "kvm" && accelerator != "tcg")
        return answer(
            fail(ErrorKind::Invalid, "there is no accelerator " + accelerator, "it is kvm or tcg"));
    Asked& asked = asked_[accelerator];
    if (!asked.told.is_null())
        return answer(asked.told);
    asked.waiting.push_back(answer);
    if (!asked.inquiry)
        begin(accelerator, asked);
}

void HostCpus::begin(const std::string& accelerator, Asked& asked)
{
    VmDefinition any;
    any.kind = VmKind::Qemu;
    auto binary = find_emulator(config_, any);
    if (!binary)
        return ended(accelerator, pass(binary));
    asked.inquiry = std::make_unique<qemu::CpuInquiry>(
        qemu::CpuInquiry::Wish{.binary = *binary, .accelerator = accelerator, .model = {}},
        [this, accelerator](const Result<Json>& told) { ended(accelerator, told); });
}

/// What failed is tried again when somebody asks again.
void HostCpus::ended(const std::string& accelerator, const Result<Json>& told)
{
    Asked& asked = asked_[accelerator];
    if (told)
        asked.told = *told;
    loop::post([inquiry = std::shared_ptr<qemu::CpuInquiry>(std::move(asked.inquiry))] {});
    for (const Answer& answer : std::exchange(asked.waiting, {}))
        answer(told);
}

} // namespace drover::balancer
