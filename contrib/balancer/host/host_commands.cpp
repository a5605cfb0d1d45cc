// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/host_commands.h"

#include "accel/kvm/probe.h"
#include "contrib/balancer/host/xen_watch.h"
#include "util/fd.h"

#include <algorithm>
#include <set>
#include <sstream>
#include <unistd.h>

namespace drover::balancer {

namespace {

constexpr int most_samples = 20'000; ///< in one answer: some 10 MB of text

using Arguments = std::vector<std::pair<std::string, std::string>>;
using Member = void (*)(const HostParts&, const Json&, const Answer&);

Answer responder(QmpResponder respond)
{
    return [respond = std::move(respond)](Result<Json> result) {
        respond(result ? QmpResponse::ok(std::move(*result)) : QmpResponse::error(result.error()));
    };
}

double seconds_of(const Json& arguments)
{
    const auto found = arguments.find("seconds");
    return found == arguments.end() ? 0 : std::clamp(found->get<double>(), 0.0, 3600.0);
}

std::string one_line(const std::string& path)
{
    auto text = read_file(path);
    if (!text)
        return {};
    return text->substr(0, text->find('\n'));
}

Json slice_json(const HostParts& parts)
{
    return {{"cores", parts.config.slice.cores},
            {"memory", parts.config.slice.memory},
            {"link", parts.config.slice.link},
            {"enforced", parts.slice.enforced},
            {"gaps", parts.slice.gaps}};
}

void query_host(const HostParts& parts, const Json&, const Answer& answer)
{
    const HostLoad& load = parts.meters.loads().host();
    Json nics = Json::array();
    for (const NicLoad& nic : load.nics)
        nics.push_back({{"name", nic.name}, {"capacity", nic.capacity}});
    Json host = {{"name", parts.config.name},
                 {"version", DROVER_VERSION},
                 {"boot-id", one_line("/proc/sys/kernel/random/boot_id")},
                 {"cores", load.cores},
                 {"memory", load.memory_total},
                 {"nics", std::move(nics)},
                 {"offers", parts.offers},
                 {"migrate-address", parts.config.migrate_address}};
    if (parts.config.slice.given)
        host["slice"] = slice_json(parts);
    answer(std::move(host));
}

Json vm_loads(const HostParts& parts)
{
    Json list = Json::array();
    for (const VmLoad& load : parts.meters.loads().vms())
        list.push_back(to_json(load));
    return list;
}

void query_load(const HostParts& parts, const Json&, const Answer& answer)
{
    answer(Json{{"host", to_json(parts.meters.loads().host())}, {"vms", vm_loads(parts)}});
}

void query_host_load(const HostParts& parts, const Json& arguments, const Answer& answer)
{
    Json list = Json::array();
    for (const HostLoad& load : parts.meters.loads().host_history(seconds_of(arguments)))
        list.push_back(to_json(load));
    answer(std::move(list));
}

void query_vm_load(const HostParts& parts, const Json& arguments, const Answer& answer)
{
    Json list = Json::array();
    const std::string wanted = json_string(arguments, "name");
    if (!wanted.empty() && parts.service.vms().find(wanted) == nullptr)
        return answer(fail(ErrorKind::Invalid, "there is no VM " + wanted + " on this host"));
    const size_t vms = wanted.empty() ? parts.meters.loads().vms().size() : 1;
    if (static_cast<double>(vms) * seconds_of(arguments) > most_samples)
        return answer(fail(ErrorKind::Refused,
                           "that would be more than " + std::to_string(most_samples) + " samples",
                           "ask for one VM by its \"name\", or for fewer \"seconds\""));
    for (const VmLoad& vm : parts.meters.loads().vms()) {
        if (!wanted.empty() && vm.name != wanted)
            continue;
        for (const VmLoad& load : parts.meters.loads().vm_history(vm.name, seconds_of(arguments)))
            list.push_back(to_json(load));
    }
    answer(std::move(list));
}

struct Entry {
    const char* name;
    Role least;
    Arguments arguments;
    Member run;
};

template <auto Method>
void of_vms(const HostParts& parts, const Json& arguments, const Answer& answer)
{
    (parts.service.vms().*Method)(arguments, answer);
}

template <auto Method>
void of_moves(const HostParts& parts, const Json& arguments, const Answer& answer)
{
    (parts.service.moves().*Method)(arguments, answer);
}

void query_host_cpus(const HostParts& parts, const Json& arguments, const Answer& answer)
{
    parts.service.cpus().query(arguments, answer);
}

void query_vms(const HostParts& parts, const Json&, const Answer& answer)
{
    answer(parts.service.vms().list());
}

const std::vector<Entry>& entries()
{
    static const std::vector<Entry> table = {
        {"query-host", Role::Observe, {}, query_host},
        {"query-host-cpus", Role::Observe, {{"accelerator?", "str"}}, query_host_cpus},
        {"query-load", Role::Observe, {}, query_load},
        {"query-host-load", Role::Observe, {{"seconds?", "number"}}, query_host_load},
        {"query-vm-load", Role::Observe, {{"name?", "str"}, {"seconds?", "number"}}, query_vm_load},
        {"query-vms", Role::Observe, {}, query_vms},
        {"query-vm-migration", Role::Observe, {{"migration", "str"}}, of_moves<&HostMoves::query>},
        {"query-vm-migrations", Role::Observe, {}, of_moves<&HostMoves::query_all>},
        {"query-vm-forecast",
         Role::Observe,
         {{"name", "str"},
          {"uri?", "str"},
          {"bandwidth?", "number"},
          {"check?", "bool"},
          {"policy?", "str"},
          {"tls-hostname?", "str"}},
         of_moves<&HostMoves::forecast>},
        {"vm-create",
         Role::Operate,
         {{"definition?", "object"}, {"file?", "str"}},
         of_vms<&HostVms::create>},
        {"vm-adopt",
         Role::Operate,
         {{"socket?", "str"}, {"domain?", "str"}, {"definition?", "object"}},
         of_vms<&HostVms::adopt>},
        {"vm-start",
         Role::Operate,
         {{"name", "str"}, {"force?", "bool"}},
         of_vms<&HostVms::start_kept>},
        {"vm-forget", Role::Operate, {{"name", "str"}}, of_vms<&HostVms::forget>},
        {"host-shut-down", Role::Administer, {{"limit?", "int"}}, of_vms<&HostVms::shut_down>},
        {"vm-end", Role::Operate, {{"name", "str"}, {"force?", "bool"}}, of_vms<&HostVms::end>},
        {"vm-prepare",
         Role::Operate,
         {{"migration", "str"},
          {"definition", "object"},
          {"owner?", "str"},
          {"confirms?", "bool"},
          {"source-host?", "str"}},
         of_moves<&HostMoves::prepare>},
        {"vm-confirm",
         Role::Operate,
         {{"migration", "str"}, {"run?", "bool"}},
         of_moves<&HostMoves::confirm>},
        {"vm-migrate",
         Role::Operate,
         {{"migration", "str"},
          {"name", "str"},
          {"uri", "str"},
          {"policy?", "str"},
          {"tls-hostname?", "str"},
          {"owner?", "str"}},
         of_moves<&HostMoves::migrate>},
        {"vm-cancel", Role::Operate, {{"migration", "str"}}, of_moves<&HostMoves::cancel>},
        {"vm-abandon",
         Role::Operate,
         {{"migration", "str"},
          {"guest-at-source?", "bool"},
          {"owner?", "str"},
          {"force?", "bool"}},
         of_moves<&HostMoves::abandon>},
        {"vm-execute",
         Role::Administer,
         {{"name", "str"}, {"command", "str"}, {"arguments?", "object"}},
         of_vms<&HostVms::execute>},
    };
    return table;
}

/// These are asked about a migration that must be known here; the caller tells by the class.
bool asks_of_known(const std::string& command)
{
    return command == "query-vm-migration" || command == "vm-cancel" || command == "vm-confirm" ||
           command == "vm-abandon";
}

void add_cpu_features(std::set<std::string>& offers)
{
    const auto text = read_file("/proc/cpuinfo", 64U << 20);
    const size_t at = text ? text->find("\nflags") : std::string::npos;
    if (at == std::string::npos)
        return;
    const size_t colon = text->find(':', at);
    const size_t end = text->find('\n', at + 1);
    if (colon == std::string::npos || colon > end)
        return;
    std::istringstream words(text->substr(colon + 1, end - colon - 1));
    for (std::string word; words >> word;)
        offers.insert("cpu:" + word);
}

} // namespace

void add_host_commands(CommandTable& table, const HostParts& parts)
{
    for (const Entry& entry : entries())
        table.add(entry.name, entry.least, entry.arguments,
                  [parts, &entry](const Json& arguments, const Client&, QmpResponder respond) {
                      if (asks_of_known(entry.name) &&
                          !parts.service.moves().knows(json_string(arguments, "migration")))
                          return respond(
                              QmpResponse::error("this host never heard of the migration " +
                                                     json_string(arguments, "migration"),
                                                 "DeviceNotFound"));
                      entry.run(parts, arguments, responder(std::move(respond)));
                  });
}

std::vector<std::string> find_offers(const DroverdConfig& config)
{
    std::set<std::string> offers(config.offers.begin(), config.offers.end());
    if (is_xen_host()) { // Dom0 could run QEMU, but is not there for that
        offers.insert("xen");
        return {offers.begin(), offers.end()};
    }
    offers.insert("tcg");
    if (const auto kvm = kvm::probe_kvm(); kvm && kvm->usable())
        offers.insert("kvm");
    for (const VmKind kind : {VmKind::Drover, VmKind::Qemu}) {
        VmDefinition any;
        any.kind = kind;
        if (find_emulator(config, any))
            offers.insert(std::string(to_string(kind)));
    }
    add_cpu_features(offers);
    return {offers.begin(), offers.end()};
}

} // namespace drover::balancer
