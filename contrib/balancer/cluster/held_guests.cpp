// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/cluster/held_guests.h"

#include "contrib/balancer/cluster/move_state.h"
#include "util/log.h"

namespace drover::balancer::cluster {

namespace {

constexpr double ask_again_s = 5; // also how long whoever began it has for its own word
constexpr double remembered_s = 600;

} // namespace

void HeldGuests::seen(const std::string& host, const std::string& vm, const std::string& migration)
{
    const double now = time_.now();
    std::erase_if(asked_, [now](const auto& entry) { return now - entry.second > remembered_s; });
    const auto [entry, is_new] = asked_.try_emplace(migration, now);
    HostDoor* door = find_door_(host);
    if (is_new || now - entry->second < ask_again_s || door == nullptr || !door->is_up())
        return;
    entry->second = now;
    door->execute("query-vm-migration", {{"migration", migration}},
                  [this, inquiry = Inquiry{host, vm, migration, alive_}](const auto& answer) {
                      if (inquiry.alive.expired())
                          return;
                      const Word word =
                          read_word(answer, inquiry.migration, inquiry.vm, "destination");
                      if (word.says("asking") && json_bool(*answer, "held"))
                          ask_sources(inquiry);
                  });
}

/// The destination does not know who its source is: all are asked, and one of them was it.
void HeldGuests::ask_sources(const Inquiry& inquiry)
{
    for (const std::string& name : hosts_()) {
        HostDoor* door = find_door_(name);
        if (name == inquiry.host || door == nullptr || !door->is_up())
            continue;
        door->execute("query-vm-migration", {{"migration", inquiry.migration}},
                      [this, inquiry](const HostDoor::Answer& answer) {
                          if (!inquiry.alive.expired())
                              settle(inquiry, answer);
                      });
    }
}

void HeldGuests::settle(const Inquiry& inquiry, const HostDoor::Answer& answer)
{
    const Word word = read_word(answer, inquiry.migration, inquiry.vm, "source");
    HostDoor* door = find_door_(inquiry.host);
    const bool went = word.says("completed");
    if (door == nullptr || !(went || word.says("failed") || word.says("cancelled")))
        return;
    log::info("migration " + inquiry.migration + " of " + inquiry.vm + " to " + inquiry.host +
              " is not this balancer's; its source says: " + word.status);
    if (went)
        door->execute("vm-confirm", {{"migration", inquiry.migration}, {"run", word.guest_ran}},
                      [](const HostDoor::Answer&) {});
    else
        door->execute(
            "vm-abandon",
            {{"migration", inquiry.migration}, {"guest-at-source", true}, {"force", true}},
            [](const HostDoor::Answer&) {});
}

} // namespace drover::balancer::cluster
