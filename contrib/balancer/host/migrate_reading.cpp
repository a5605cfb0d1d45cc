// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/migrate_reading.h"

#include <array>
#include <utility>

namespace drover::balancer {

namespace {

/// The names of QEMU's MigrationStatus (qapi/migration.json), which Drover's emulator uses too.
constexpr std::array<std::pair<std::string_view, MoveStatus>, 12> statuses = {{
    {"setup", MoveStatus::Active},
    {"active", MoveStatus::Active},
    {"wait-unplug", MoveStatus::Active},
    {"pre-switchover", MoveStatus::Active},
    {"device", MoveStatus::Active},
    {"cancelling", MoveStatus::Active},
    {"postcopy-active", MoveStatus::Postcopy},
    {"postcopy-paused", MoveStatus::Postcopy},
    {"postcopy-recover", MoveStatus::Postcopy},
    {"completed", MoveStatus::Completed},
    {"failed", MoveStatus::Failed},
    {"cancelled", MoveStatus::Cancelled},
}};

const Json& part_of(const Json& object, const char* key)
{
    static const Json nothing = Json::object();
    const auto found = object.find(key);
    return found != object.end() && found->is_object() ? *found : nothing;
}

/// The two moments that only Drover tells of: a destination that has not heard of its source yet,
/// and a side that must ask the other who has the guest.
MoveStatus refine(MoveStatus status, std::string_view word, const Json& drover, bool incoming)
{
    const std::string state = json_string(drover, "state");
    if (!incoming)
        return state == "asking" ? MoveStatus::Asking : status;
    if (status == MoveStatus::Active && (state == "greeting" || (state.empty() && word == "setup")))
        return MoveStatus::Waiting;
    if (state == "ready" && !json_bool(drover, "link-is-up", true))
        return MoveStatus::Asking;
    return status;
}

/// Until its first migration away an emulator goes on telling how its guest came to it. Stock QEMU
/// tells of RAM at the source only.
bool tells_how_the_guest_came(const Json& info)
{
    if (const Json& drover = part_of(info, "drover"); !drover.empty())
        return json_string(drover, "side") == "destination";
    return json_string(info, "status") == "completed" && part_of(info, "ram").empty();
}

/// Stock QEMU's sum has what post-copy sent in it; Drover tells that apart.
double transferred(const Json& info)
{
    const Json& ram = part_of(info, "ram");
    const double postcopy =
        part_of(info, "drover").empty() ? 0 : json_quantity(ram, "postcopy-bytes");
    return json_quantity(ram, "transferred") + postcopy;
}

} // namespace

MigrateReading read_migrate_info(const Json& info, bool incoming)
{
    MigrateReading reading;
    if (!info.is_object() || (!incoming && tells_how_the_guest_came(info)))
        return reading;
    const std::string word = json_string(info, "status");
    for (const auto& [name, status] : statuses)
        if (word == name)
            reading.status = refine(status, word, part_of(info, "drover"), incoming);
    reading.error = json_string(info, "error-desc");
    reading.total = json_quantity(part_of(info, "ram"), "total");
    reading.remaining = json_quantity(part_of(info, "ram"), "remaining");
    reading.transferred = transferred(info);
    reading.downtime = json_quantity(info, "downtime") / 1e3;
    reading.total_time = json_quantity(info, "total-time") / 1e3;
    return reading;
}

bool guest_may_be_here(MoveStatus status, bool incoming)
{
    switch (status) {
    case MoveStatus::Postcopy:
    case MoveStatus::Completed: return incoming;
    case MoveStatus::Asking: return true;
    default: return !incoming;
    }
}

} // namespace drover::balancer
