// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/cluster/balancer_commands.h"

#include "util/log.h"

#include <algorithm>

namespace drover::balancer::cluster {

namespace {

constexpr uint64_t default_history = 100;

QmpResponse response(Result<Json> result)
{
    return result ? QmpResponse::ok(std::move(*result)) : QmpResponse::error(result.error());
}

QmpResponse response(const Status& status)
{
    return status ? QmpResponse::ok() : QmpResponse::error(status.error());
}

void add_queries(CommandTable& table, Balancer& balancer)
{
    using Query = Json (Balancer::*)() const;
    const std::pair<const char*, Query> queries[] = {
        {"query-status", &Balancer::query_status},
        {"query-hosts", &Balancer::query_hosts},
        {"query-vms", &Balancer::query_vms},
        {"query-hotspots", &Balancer::query_hotspots},
        {"query-plan", &Balancer::query_plan},
        {"query-migrations", &Balancer::query_migrations},
    };
    for (const auto& [name, query] : queries)
        table.add(name, Role::Observe, {},
                  [&balancer, query](const Json&, const Client&, const QmpResponder& respond) {
                      respond(QmpResponse::ok((balancer.*query)()));
                  });
    table.add("query-history", Role::Observe, {{"limit?", "int"}, {"vm?", "str"}},
              [&balancer](const Json& arguments, const Client&, const QmpResponder& respond) {
                  const uint64_t limit = json_u64(arguments, "limit", default_history);
                  respond(response(
                      balancer.query_history(static_cast<int>(std::min<uint64_t>(limit, 1U << 20)),
                                             json_string(arguments, "vm"))));
              });
    table.add("explain", Role::Observe, {{"id", "str"}},
              [&balancer](const Json& arguments, const Client&, const QmpResponder& respond) {
                  respond(response(balancer.explain(json_string(arguments, "id"))));
              });
}

/// Answered when the hosts have answered.
void add_questions(CommandTable& table, Balancer& balancer)
{
    table.add("query-host-cpus", Role::Observe, {{"host", "str"}},
              [&balancer](const Json& arguments, const Client&, const QmpResponder& respond) {
                  balancer.query_host_cpus(
                      json_string(arguments, "host"),
                      [respond](Result<Json> told) { respond(response(std::move(told))); });
              });
    table.add("check-migration", Role::Operate, {{"vm", "str"}, {"host", "str"}},
              [&balancer](const Json& arguments, const Client&, const QmpResponder& respond) {
                  balancer.check_migration(
                      json_string(arguments, "vm"), json_string(arguments, "host"),
                      [respond](Result<Json> told) { respond(response(std::move(told))); });
              });
}

void add_orders(CommandTable& table, Balancer& balancer)
{
    table.add("approve", Role::Operate, {{"id", "str"}},
              [&balancer](const Json& arguments, const Client& who, const QmpResponder& respond) {
                  respond(response(balancer.approve(json_string(arguments, "id"), who.name)));
              });
    table.add("migrate", Role::Operate, {{"vm", "str"}, {"host?", "str"}},
              [&balancer](const Json& arguments, const Client& who, const QmpResponder& respond) {
                  respond(response(balancer.migrate(json_string(arguments, "vm"),
                                                    json_string(arguments, "host"), who.name)));
              });
    table.add("evacuate", Role::Operate, {{"host", "str"}, {"cancel?", "bool"}},
              [&balancer](const Json& arguments, const Client& who, const QmpResponder& respond) {
                  respond(response(balancer.evacuate(json_string(arguments, "host"),
                                                     json_bool(arguments, "cancel"), who.name)));
              });
    table.add("cancel", Role::Operate, {{"id", "str"}},
              [&balancer](const Json& arguments, const Client& who, const QmpResponder& respond) {
                  respond(response(balancer.cancel(json_string(arguments, "id"), who.name)));
              });
}

} // namespace

void add_commands(CommandTable& table, Balancer& balancer)
{
    add_queries(table, balancer);
    add_orders(table, balancer);
    add_questions(table, balancer);
    table.add("set-mode", Role::Administer, {{"mode", "str"}},
              [&balancer](const Json& arguments, const Client& who, const QmpResponder& respond) {
                  const auto mode = mode_from(json_string(arguments, "mode"));
                  if (!mode)
                      return respond(QmpResponse::error(
                          "there is no such mode: it is off, recommend or automatic"));
                  respond(response(balancer.set_mode(*mode, who.name)));
              });
    table.add("reload", Role::Administer, {},
              [&balancer](const Json&, const Client&, const QmpResponder& respond) {
                  respond(response(balancer.reload()));
              });
}

} // namespace drover::balancer::cluster
