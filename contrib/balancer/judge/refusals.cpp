// SPDX-License-Identifier: GPL-2.0-or-later
//
// The rules of the decision that are not about loads, and all refusals in words.
#include "contrib/balancer/judge/scene.h"
#include "contrib/balancer/judge/text.h"

#include <algorithm>

namespace drover::balancer {

namespace {
constexpr double xen_overhead = 1.02; ///< page tables, and what the device model has
}

std::string_view to_string(Reason reason)
{
    constexpr std::array names{
        "none",          "unknown",      "unreachable",    "pinned",         "settling",
        "moving",        "same-host",    "not-receiving",  "group",          "needs",
        "hypervisor",    "apart",        "together",       "too-many-out",   "too-many-in",
        "link-busy",     "vm-cool-down", "host-cool-down", "host-hot",       "would-return",
        "failed-lately", "impossible",   "no-room-cpu",    "no-room-memory", "no-room-bandwidth",
        "no-huge-pages", "no-gain",      "costs-more",     "better-there"};
    static_assert(names.size() == static_cast<size_t>(Reason::BetterThere) + 1);
    return names[static_cast<size_t>(reason)];
}

bool is_no_room(Reason reason)
{
    return reason == Reason::NoRoomCpu || reason == Reason::NoRoomMemory ||
           reason == Reason::NoRoomBandwidth;
}

Reason Scene::vm_refusal(VmId vm, Purpose purpose) const
{
    if (!fleet().has_vm(vm) || vm >= snapshot_.vms.size() || fleet().host_of(vm) == no_host)
        return Reason::Unknown;
    const VmSpec& spec = fleet().vm(vm);
    const HostId host = fleet().host_of(vm);
    if (!spec.reachable || !snapshot_.vms[vm].fresh || !fleet().has_host(host) ||
        host >= hosts_.size() || !snapshot_.hosts[host].fresh)
        return Reason::Unreachable;
    if (spec.settling)
        return Reason::Settling;
    if (going_.contains(vm))
        return Reason::Moving;
    if (const auto told = snapshot_.forecasts.find(vm);
        told != snapshot_.forecasts.end() && !told->second.possible)
        return Reason::Impossible;
    if (purpose == Purpose::Asked)
        return Reason::None;
    if (spec.pinned)
        return Reason::Pinned;
    if (purpose == Purpose::Evacuation)
        return Reason::None;
    if (const auto past = past_.find(vm); past != past_.end())
        for (const PastMove* move : past->second)
            if (!move->failed && snapshot_.now - move->time < rules().vm_cool_down)
                return Reason::VmCoolDown;
    return Reason::None;
}

Reason Scene::host_refusal(HostId to, Purpose purpose) const
{
    if (!fleet().has_host(to) || to >= hosts_.size())
        return Reason::Unknown;
    const HostSpec& spec = fleet().host(to);
    if (!spec.receives || spec.evacuating)
        return Reason::NotReceiving;
    if (!snapshot_.hosts[to].fresh)
        return Reason::Unreachable;
    return hosts_[to].cooling && purpose == Purpose::Relief ? Reason::HostCoolDown : Reason::None;
}

Reason Scene::door_refusal(HostId to) const
{
    const Reason refusal = host_refusal(to, Purpose::Asked);
    return refusal == Reason::None && hosts_[to].hot ? Reason::HostHot : refusal;
}

Reason Scene::pair_refusal(VmId vm, HostId to, Purpose purpose, std::span<const VmId> along) const
{
    if (const Reason refusal = host_refusal(to, purpose); refusal != Reason::None)
        return refusal;
    const VmSpec& spec = fleet().vm(vm);
    const HostSpec& host = fleet().host(to);
    if (fleet().host_of(vm) == to)
        return Reason::SameHost;
    if (!spec.groups.empty() && !spec.groups.meets(host.groups))
        return Reason::Group;
    if (!host.offers.includes(spec.needs))
        return Reason::Needs;
    if (host.xen ? !spec.for_xen : !spec.for_qemu)
        return Reason::Hypervisor;
    const HostId from = fleet().host_of(vm);
    if (host.xen && purpose != Purpose::Asked && fleet().has_host(from) && fleet().host(from).xen)
        return Reason::Hypervisor;
    if (lacks_ram(vm, to))
        return Reason::NoRoomMemory;
    if (spec.huge > 0 && spec.huge > huge_left(to))
        return Reason::NoHugePages;
    if (const Reason refusal = company_refusal(vm, to, along); refusal != Reason::None)
        return refusal;
    if (const auto past = past_.find(vm); past != past_.end() && purpose != Purpose::Asked)
        for (const PastMove* move : past->second) {
            const double age = snapshot_.now - move->time;
            if (move->failed && move->to == to && age < rules().failed_back_off)
                return Reason::FailedLately;
            if (!move->failed && move->from == to && age < rules().no_return &&
                purpose == Purpose::Relief)
                return Reason::WouldReturn;
        }
    return Reason::None;
}

/// Huge pages of a host that no VM on its way there needs. One that has arrived in part counts
/// twice for a moment: rather refused than begun in vain.
double Scene::huge_left(HostId host) const
{
    double left = fleet().host(host).huge_free;
    for (const auto& [vm, to] : going_)
        left -= to == host ? fleet().vm(vm).huge : 0;
    return std::max(0.0, left);
}

double Scene::xen_left(HostId host) const
{
    double left = fleet().host(host).xen_free;
    for (const auto& [vm, to] : going_)
        left -= to == host ? fleet().vm(vm).memory * xen_overhead : 0;
    return std::max(0.0, left);
}

bool Scene::lacks_ram(VmId vm, HostId host) const
{
    return fleet().host(host).xen && fleet().vm(vm).memory * xen_overhead > xen_left(host);
}

bool Scene::may_be_on(VmId vm, HostId host) const
{
    if (fleet().host_of(vm) == host)
        return true;
    const auto going = going_.find(vm);
    return going != going_.end() && going->second == host;
}

bool Scene::must_part(VmId a, VmId b) const
{
    const auto& others = fleet().vm(b).apart;
    return std::find_first_of(others.begin(), others.end(), fleet().vm(a).apart.begin(),
                              fleet().vm(a).apart.end()) != others.end();
}

Reason Scene::company_refusal(VmId vm, HostId to, std::span<const VmId> along) const
{
    for (const WordId label : fleet().vm(vm).apart)
        for (const VmId other : fleet().vms_labelled(label))
            if (other != vm && may_be_on(other, to) && must_part(vm, other))
                return Reason::Apart;
    for (const WordId label : fleet().vm(vm).together)
        for (const VmId other : fleet().vms_labelled(label)) {
            const auto& labels = fleet().vm(other).together;
            if (other == vm || std::find(labels.begin(), labels.end(), label) == labels.end() ||
                may_be_on(other, to) || std::find(along.begin(), along.end(), other) != along.end())
                continue;
            // From a host that is evacuated they leave one after another.
            const HostId there = fleet().host_of(other);
            const bool follows = there != no_host && there == fleet().host_of(vm) &&
                                 fleet().host(there).evacuating && !going_.contains(other);
            if (!follows)
                return Reason::Together;
        }
    return Reason::None;
}

namespace {

Resource resource_of(Reason reason, const Scene& scene, VmId vm, HostId to)
{
    if (reason == Reason::NoRoomCpu)
        return Resource::Cpu;
    if (reason == Reason::NoRoomMemory)
        return Resource::Memory;
    const double rx = scene.host(to).peak[Resource::Rx] + scene.load_of(vm)[Resource::Rx];
    return rx > scene.limit(to, Resource::Rx) ? Resource::Rx : Resource::Tx;
}

std::string room_text(const Scene& scene, Reason reason, VmId vm, HostId to)
{
    const Resource r = resource_of(reason, scene, vm, to);
    const HostSpec& host = scene.fleet().host(to);
    if (r == Resource::Memory && scene.lacks_ram(vm, to))
        return host.name + " has " + text_of(r, scene.xen_left(to)) +
               " free, and Xen gives a guest all of its RAM at once, " +
               text_of(r, scene.fleet().vm(vm).memory);
    return host.name + " would have " + text_of(r, scene.host(to).peak[r] + scene.load_of(vm)[r]) +
           " of " + text_of(r, host.capacity[r]) + " wanted; with the reserve it takes " +
           text_of(r, scene.limit(to, r));
}

std::string needs_text(const Scene& scene, VmId vm, HostId to)
{
    std::string text = scene.fleet().host(to).name + " does not offer";
    const char* comma = " ";
    for (const WordId word : scene.fleet().vm(vm).needs.without(scene.fleet().host(to).offers)) {
        text += comma + std::string(scene.fleet().words().text(word));
        comma = ", ";
    }
    return text;
}

std::string hypervisor_text(const Scene& scene, VmId vm, HostId to)
{
    const VmSpec& spec = scene.fleet().vm(vm);
    const HostSpec& host = scene.fleet().host(to);
    if (!host.xen)
        return host.name + " runs QEMU, for which the definition of " + spec.name +
               " has no command line";
    if (!spec.for_xen)
        return host.name + " runs Xen, for which the definition of " + spec.name +
               " has no file (xen-config)";
    return "from one Xen host to another a VM goes only if a user asks for it: nobody has tried";
}

} // namespace

std::string refusal_text(const Scene& scene, Reason reason, VmId vm, HostId to)
{
    const Fleet& fleet = scene.fleet();
    const Rules& rules = scene.rules();
    const std::string name = fleet.has_vm(vm) ? fleet.vm(vm).name : "the VM";
    const std::string host = fleet.has_host(to) ? fleet.host(to).name : "the host";
    const auto minutes = [](double seconds) { return seconds_text(seconds); };
    switch (reason) {
    case Reason::None: return "nothing hinders it";
    case Reason::Unknown: return "there is no such VM or host, or it is not known where it runs";
    case Reason::Unreachable:
        return "nothing was heard of " + (to == no_host ? name : host) + " lately";
    case Reason::Pinned: return name + " is pinned: only a user moves it";
    case Reason::Settling:
        return name + " has just come to its host, which can let it go in half a minute";
    case Reason::Moving: return name + " is being moved already";
    case Reason::SameHost: return name + " runs on " + host + " already";
    case Reason::NotReceiving:
        return host + " takes no VMs: it is being emptied, or out of service";
    case Reason::Group: return host + " is in no host group that " + name + " may be on";
    case Reason::Needs: return needs_text(scene, vm, to);
    case Reason::Hypervisor: return hypervisor_text(scene, vm, to);
    case Reason::Apart: return "a VM that " + name + " must not share a host with is on " + host;
    case Reason::Together: return "VMs that " + name + " must share a host with are not on " + host;
    case Reason::TooManyOut: return "as many migrations leave its host as may at a time";
    case Reason::TooManyIn: return "as many migrations come to " + host + " as may at a time";
    case Reason::LinkBusy: return "the links carry as many migrations as they may at a time";
    case Reason::VmCoolDown:
        return name + " was moved less than " + minutes(rules.vm_cool_down) + " ago";
    case Reason::HostCoolDown:
        return host + " took part in a move less than " + minutes(rules.host_cool_down) + " ago";
    case Reason::HostHot: return host + " is hot itself";
    case Reason::WouldReturn:
        return name + " left " + host + " less than " + minutes(rules.no_return) + " ago";
    case Reason::FailedLately:
        return "a move of " + name + " to " + host + " failed less than " +
               minutes(rules.failed_back_off) + " ago";
    case Reason::Impossible: return scene.snapshot().forecasts.at(vm).why;
    case Reason::NoRoomCpu:
    case Reason::NoRoomMemory:
    case Reason::NoRoomBandwidth: return room_text(scene, reason, vm, to);
    case Reason::NoHugePages:
        return host + " has " + text_of(Resource::Memory, scene.huge_left(to)) +
               " of huge pages free, and " + name + " needs " +
               text_of(Resource::Memory, fleet.vm(vm).huge);
    case Reason::NoGain: return "its going would not help";
    case Reason::CostsMore: return "it would disturb more than it helps";
    case Reason::BetterThere: return "another choice is better";
    }
    return "";
}

NobodyTakes nobody_takes(const Scene& scene, VmId vm)
{
    constexpr size_t named = 3;
    NobodyTakes nobody;
    size_t hosts = 0;
    for (HostId id = 0; id < scene.host_count(); ++id) {
        const Reason refusal = scene.door_refusal(id);
        if (refusal == Reason::Unknown || refusal == Reason::None ||
            id == scene.fleet().host_of(vm))
            continue;
        if (hosts == 0 || refusal == Reason::HostHot)
            nobody.reason = refusal; // a hotspot passes
        if (++hosts <= named)
            nobody.why += (hosts == 1 ? "" : "; ") + refusal_text(scene, refusal, vm, id);
    }
    if (hosts == 0)
        nobody.why = "there is no other host";
    else if (hosts > named)
        nobody.why += "; and " + std::to_string(hosts - named) + " more take none";
    return nobody;
}

} // namespace drover::balancer
