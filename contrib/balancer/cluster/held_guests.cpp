// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/cluster/held_guests.h"

#include "contrib/balancer/cluster/move_state.h"
#include "util/log.h"

namespace drover::balancer::cluster {

namespace {

constexpr double ask_again_s = 5; // also how long whoever began it has for its own word
constexpr double remembered_s = 60;
constexpr double sweep_asked_s = 10;
constexpr size_t most_asked = 10'000; // a host may name as many as it likes
constexpr size_t longest_move_id = 64;

} // namespace

void HeldGuests::seen(const std::string& host, const std::string& vm, const std::string& migration)
{
    if (!migration.starts_with("m-") || migration.size() > longest_move_id)
        return;
    const double now = time_.now();
    if (now - swept_ >= sweep_asked_s) {
        swept_ = now;
        std::erase_if(asked_,
                      [now](const auto& entry) { return now - entry.second > remembered_s; });
    }
    const auto key = std::make_pair(host, migration);
    if (asked_.size() >= most_asked && !asked_.contains(key))
        return;
    const auto [entry, is_new] = asked_.try_emplace(key, now);
    HostDoor* door = find_door_(host);
    if (is_new || now - entry->second < ask_again_s || door == nullptr || !door->is_up())
        return;
    entry->second = now;
    door->execute("query-vm-migration", {{"migration", migration}},
                  [this, inquiry = Inquiry{host, vm, migration, alive_}](const auto& answer) {
                      if (!inquiry.alive.expired())
                          ask_source(inquiry, answer);
                  });
}

void HeldGuests::ask_source(const Inquiry& inquiry, const HostDoor::Answer& destination)
{
    const Word word = read_word(destination, inquiry.migration, inquiry.vm, "destination");
    if (!word.says("asking") || !word.held)
        return;
    HostDoor* door = find_door_(json_string(*destination, "source-host"));
    if (door == nullptr || !door->is_up())
        return;
    door->execute("query-vm-migration", {{"migration", inquiry.migration}},
                  [this, inquiry](const HostDoor::Answer& answer) {
                      if (!inquiry.alive.expired())
                          settle(inquiry, answer);
                  });
}

void HeldGuests::settle(const Inquiry& inquiry, const HostDoor::Answer& source)
{
    const Word word = read_word(source, inquiry.migration, inquiry.vm, "source");
    HostDoor* door = find_door_(inquiry.host);
    const bool stayed = word.says("failed") || word.says("cancelled");
    if (door == nullptr || !(word.says("completed") || stayed))
        return;
    log::info("migration " + inquiry.migration + " of " + inquiry.vm + " to " + inquiry.host +
              " is not this balancer's; its source says: " + word.status);
    if (stayed && word.guest_here)
        door->execute(
            "vm-abandon",
            {{"migration", inquiry.migration}, {"guest-at-source", true}, {"force", true}},
            [](const HostDoor::Answer&) {});
    else
        door->execute("vm-confirm", {{"migration", inquiry.migration}, {"run", word.guest_ran}},
                      [](const HostDoor::Answer&) {});
}

} // namespace drover::balancer::cluster
