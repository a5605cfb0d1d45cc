// SPDX-License-Identifier: GPL-2.0-or-later
//
// Guests of Xen's. Their process is drover-xen, which serves a domain or takes one in; the guest is
// the domain, and lives on when that process ends. So the rule here is: a guest is gone only if Xen
// was asked, after its process had ended, and knew no such domain. Until then nothing is concluded.
#include "contrib/balancer/host/host_vms_state.h"

#include "contrib/balancer/host/state_file.h"
#include "util/log.h"
#include "vmm/xen/guest/incoming_name.h"

#include <fnmatch.h>

namespace drover::balancer {

namespace {

/// A source that lost its link at the commit asks the process that took the guest in.
constexpr std::chrono::seconds asked_so_long{20};
/// Who ended so soon ends again: xl, too, needs its time.
constexpr double young_s = 5;

Json merged_definition(Json definition, const Json& more)
{
    if (more.is_object())
        definition.update(more);
    return definition;
}

} // namespace

/// Two domains of one name, or one that nobody looked for, must not come about.
Status HostVms::check_xen(const VmDefinition& definition, const VmStart& how) const
{
    const XenFacts* facts = xen_ != nullptr ? xen_->facts() : nullptr;
    if (facts == nullptr)
        return fail(ErrorKind::Refused,
                    xen_ == nullptr ? "this is no Xen host (Dom0, with drover-xen)"
                                    : "nothing is heard of Xen on this host",
                    xen_ == nullptr ? "" : "its log says why drover-xen watch does not tell");
    if (how.is_there)
        return {};
    if (definition.xen_config.empty())
        return fail(ErrorKind::Invalid, "how Xen is to run " + definition.name + " is not said",
                    "\"xen-config\" names a file for xl");
    for (const std::string& name : {definition.name, xen::incoming_name(definition.name)})
        if (facts->find(name) != nullptr)
            return fail(ErrorKind::Refused, "there is a domain " + name + " on this host already",
                        "vm-adopt takes it as it is");
    return {};
}

void HostVms::adopt_domain(const Json& arguments, const Answer& answer)
{
    const auto name = text_argument(arguments, "domain");
    if (!name)
        return answer(std::unexpected(name.error()));
    const XenFacts* facts = xen_ != nullptr ? xen_->facts() : nullptr;
    const XenDomainFacts* domain = facts != nullptr ? facts->find(*name) : nullptr;
    if (domain == nullptr || !domain->hvm)
        return answer(fail(ErrorKind::Invalid, domain == nullptr
                                                   ? "Xen knows no domain " + *name + " here"
                                                   : "the domain " + *name + " is no HVM guest"));
    auto definition = vm_definition_from_json(merged_definition(
        {{"name", *name}, {"kind", "xen"}}, arguments.value("definition", Json::object())));
    if (definition && (definition->kind != VmKind::Xen || definition->name != *name))
        definition = fail(ErrorKind::Invalid, "a domain is of the kind xen, and has its own name");
    if (!definition)
        return answer(pass(definition));
    if (kept_.find(*name) != nullptr)
        return answer(fail(ErrorKind::Refused, "there is a VM " + *name + " on this host already"));
    VmRecord record;
    record.definition = std::move(*definition);
    record.adopted = true;
    const auto vm = start(std::move(record), {.is_there = true, .cgroups = {}});
    if (!vm)
        return answer(std::unexpected(vm.error()));
    answer_when_up(*name, answer);
}

void HostVms::adopt_domains(const std::string& pattern)
{
    const XenFacts* facts = xen_ != nullptr ? xen_->facts() : nullptr;
    if (facts == nullptr)
        return;
    for (const XenDomainFacts& domain : std::vector(facts->domains)) {
        const bool taken = vms_.contains(domain.name) || kept_.find(domain.name) != nullptr;
        if (domain.id == 0 || !domain.hvm || domain.dying || taken || !is_vm_name(domain.name) ||
            xen::is_incoming_name(domain.name) ||
            fnmatch(pattern.c_str(), domain.name.c_str(), 0) != 0)
            continue;
        adopt_domain({{"domain", domain.name}}, [name = domain.name](const Result<Json>& adopted) {
            if (!adopted)
                log::debug("not adopted: domain " + name + ": " + adopted.error().text());
        });
    }
}

/// The hypervisor's button is that of a guest that was born on Xen, the device model's that of one
/// that came from QEMU; the other one does nothing.
void HostVms::press_power_button(Vm& vm, const Answer& answer)
{
    if (vm.record().definition.kind != VmKind::Xen)
        return vm.link().execute("system_powerdown", Json::object(), answer);
    run_xl_later({"trigger", vm.name(), "power"});
    vm.link().execute("system_powerdown", Json::object(), [](const Result<Json>&) {});
    answer(Json::object());
}

/// Its process has ended.
void HostVms::look_for_domain(Entry& entry)
{
    entry.served = false;
    entry.handover.reset();
    entry.grace.reset();
    if (xen_ == nullptr)
        return;
    entry.judge_at = xen_->told_times() + 2; // what is told next may have been seen before
    xen_->ask();
}

void HostVms::xen_news()
{
    std::vector<std::string> names;
    for (const auto& [name, entry] : vms_)
        if (entry->vm.record().definition.kind == VmKind::Xen && !entry->ending)
            names.push_back(name);
    for (const std::string& name : names) {
        Entry& entry = *vms_.at(name);
        if (!entry.served && xen_->told_times() >= entry.judge_at)
            judge_domain(entry);
        else if (entry.served && entry.vm.record().takes_in)
            relieve_receiver(entry);
        else if (entry.served)
            compare_state(entry);
    }
    take_up_kept();
}

/// Domains that somebody started by other means, or xl anew when the guest wanted to reboot.
void HostVms::take_up_kept()
{
    for (const auto& [name, kept] : std::map(kept_.all())) {
        const bool ours = kept.definition.kind == VmKind::Xen && kept.migration.empty();
        if (!ours || vms_.contains(name) || xen_->facts()->find(name) == nullptr)
            continue;
        VmRecord record;
        record.definition = kept.definition;
        const auto vm = start(std::move(record), {.is_there = true, .cgroups = {}});
        if (vm)
            log::info("the domain " + name + " is there again");
        else
            log::debug("the domain " + name + " is not served: " + vm.error().text());
    }
}

void HostVms::judge_domain(Entry& entry)
{
    const std::string name = entry.vm.name();
    const XenDomainFacts* domain = xen_->facts()->find(name);
    const bool never_came = entry.retired && entry.vm.state() != VmState::Moved;
    const XenDomainFacts* incoming = xen_->facts()->find(xen::incoming_name(name));
    if (domain == nullptr && incoming != nullptr) {
        // xl gives it its name, or destroys it; but one that loses us while it makes the domain
        // leaves that behind, paused. Our process had said that the guest stayed at its source.
        if (never_came && !incoming->runs() && !std::exchange(entry.destroying, true))
            run_xl_later({"destroy", std::to_string(incoming->id)}); // another may get its name
        return;
    }
    if (domain == nullptr || never_came)
        return gone(entry.vm);
    if (entry.vm.state() != VmState::Moved || domain->runs()) // or somebody has taken it back
        return serve_again(entry, *domain);
    // Its guest runs elsewhere, and who would have destroyed this was ended before.
    if (!std::exchange(entry.destroying, true))
        run_xl_later({"destroy", std::to_string(domain->id)});
}

void HostVms::serve_again(Entry& entry, const XenDomainFacts& domain)
{
    if (seconds_since(entry.started) < young_s)
        return; // with the next news, or those after them
    entry.started = drover::Clock::now();
    VmRecord record = entry.vm.record();
    const std::string name = entry.vm.name();
    record.takes_in = false;
    Status started = start_vm(config_, {.is_there = true, .cgroups = {}}, record);
    if (started)
        started = save_state(state_of(name), vm_state_json(record));
    if (!started)
        log::warning("serving " + name + ": " + started.error().text());
    if (record.process == entry.vm.record().process)
        return; // it is tried again
    log::info("domain " + name + " is served by process " + std::to_string(record.process.pid));
    const bool runs = domain.runs();
    const Answer waiting = std::exchange(entry.waiting, nullptr);
    const bool is_handover = entry.vm.hands_over();
    Vm* vm = add(std::move(record));
    if (is_handover)
        vm->assume(runs ? "running" : "paused");
    if (waiting)
        answer_when_up(name, waiting);
    callbacks_.served_again(*vm, runs);
    changed(*vm);
}

/// `xl pause` tells nobody.
void HostVms::compare_state(Entry& entry)
{
    const XenDomainFacts* domain = xen_->facts()->find(entry.vm.name());
    if (domain != nullptr && entry.vm.knows_state() &&
        domain->runs() != (entry.vm.run_state() == "running"))
        entry.vm.refresh();
}

/// The guest came, and whoever took it in has told that to its source, or can no longer.
void HostVms::relieve_receiver(Entry& entry)
{
    if (!entry.vm.record().migration.empty() || entry.handover || !entry.vm.link().is_up())
        return;
    entry.handover = loop::after(asked_so_long, [this, name = entry.vm.name()] {
        Vm* vm = find(name);
        if (vm == nullptr)
            return;
        vm->hand_over();
        vm->link().execute("quit", Json::object(), [](const Result<Json>&) {});
    });
}

} // namespace drover::balancer
