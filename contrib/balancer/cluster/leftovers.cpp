// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/cluster/leftovers.h"

#include "util/log.h"

#include <cstdio>
#include <random>

namespace drover::balancer::cluster {

namespace {

constexpr double forget_after_s = 600;
constexpr double tell_again_s = 30;
constexpr double look_twice_s = 5; // how long one that was given up is watched first
constexpr double sweep_every_s = 10;
constexpr size_t longest_id = 64;
constexpr size_t most_sights = 10'000;

std::string new_id(const char* kind)
{
    std::random_device random;
    const uint64_t high = random();
    char text[24];
    snprintf(text, sizeof text, "%s-%016llx", kind,
             static_cast<unsigned long long>(high << 32 | random()));
    return text;
}

} // namespace

void Leftovers::seen(const std::string& host, const std::string& migration)
{
    if (!migration.starts_with("m-") || migration.size() > longest_id)
        return;
    const double now = time_.now();
    if (now - swept_ >= sweep_every_s) {
        swept_ = now;
        std::erase_if(sights_,
                      [now](const auto& e) { return now - e.second.latest > forget_after_s; });
    }
    if (sights_.size() >= most_sights && !sights_.contains(migration))
        return;
    Sight& sight = sights_.try_emplace(migration, Sight{now, now}).first->second;
    sight.latest = now;
    if (now - sight.first < look_twice_s || now - sight.told < tell_again_s ||
        !is_left_over(host, migration, sight))
        return;
    HostDoor* door = find_door_(host);
    if (door == nullptr || !door->is_up())
        return;
    sight.told = now;
    door->execute("vm-abandon", {{"migration", migration}, {"owner", owner_}},
                  [](const HostDoor::Answer&) {});
}

bool Leftovers::is_left_over(const std::string& host, const std::string& migration, Sight& sight)
{
    const auto record = journal_.find_move(migration);
    if (!record)
        return false; // nothing is concluded from a journal that cannot be read
    if (!*record) {
        if (!std::exchange(sight.strange, true))
            log::info("migration " + migration + " to " + host + " is not this balancer's (" +
                      owner_ + "): it is left to come to its end");
        return false;
    }
    return (*record)->state == MoveState::Closed && (*record)->outcome != "completed";
}

std::string new_move_id()
{
    return new_id("m");
}

std::string new_balancer_id()
{
    return new_id("b");
}

} // namespace drover::balancer::cluster
