// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/migration_record.h"

#include "contrib/balancer/host/vm_definition.h"

#include <array>

namespace drover::balancer {

namespace {

constexpr std::array status_names = {"preparing", "waiting",   "active", "postcopy",
                                     "asking",    "completed", "failed", "cancelled"};

} // namespace

std::string_view to_string(MoveStatus status)
{
    return status_names.at(static_cast<size_t>(status));
}

bool is_over(MoveStatus status)
{
    return status == MoveStatus::Completed || status == MoveStatus::Failed ||
           status == MoveStatus::Cancelled;
}

bool is_migration_id(std::string_view id)
{
    return is_vm_name(id);
}

Json to_json(const MigrationRecord& record)
{
    Json json = {{"migration", record.id},
                 {"name", record.vm},
                 {"role", record.incoming ? "destination" : "source"},
                 {"status", to_string(record.status)},
                 {"guest-here", record.guest_here},
                 {"total", record.total},
                 {"remaining", record.remaining},
                 {"rate", is_over(record.status) ? 0 : record.rate},
                 {"downtime", record.downtime},
                 {"total-time", record.total_time}};
    if (record.incoming)
        json.update(Json{{"held", record.held}, {"source-host", record.source_host}});
    else
        json["guest-ran"] = record.guest_ran;
    if (!record.owner.empty())
        json["owner"] = record.owner;
    if (!record.error.empty())
        json["error"] = record.error;
    return json;
}

Json migration_state(const MigrationRecord& record)
{
    Json state = to_json(record);
    state["uri"] = record.uri;
    state["changed"] = record.changed;
    return state;
}

Result<MigrationRecord> migration_from_state(const Json& state)
{
    MigrationRecord record;
    record.id = json_string(state, "migration");
    record.vm = json_string(state, "name");
    const std::string status = json_string(state, "status");
    size_t index = 0;
    while (index < status_names.size() && status != status_names.at(index))
        ++index;
    if (!is_migration_id(record.id) || !is_vm_name(record.vm) || index == status_names.size())
        return fail(ErrorKind::Invalid, "this is no record of a migration");
    record.status = static_cast<MoveStatus>(index);
    record.incoming = json_string(state, "role") == "destination";
    record.owner = json_string(state, "owner");
    record.uri = json_string(state, "uri");
    record.error = json_string(state, "error");
    record.guest_here = json_bool(state, "guest-here");
    record.source_host = json_string(state, "source-host");
    record.held = json_bool(state, "held");
    record.guest_ran = json_bool(state, "guest-ran", true);
    record.changed = json_quantity(state, "changed");
    record.total = json_quantity(state, "total");
    record.downtime = json_quantity(state, "downtime");
    record.total_time = json_quantity(state, "total-time");
    return record;
}

} // namespace drover::balancer
