// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/cluster/forecasts.h"

namespace drover::balancer::cluster {

namespace {

constexpr double good_for = 30;
constexpr double forecast_limit = 8; // it watches the guest for a second and a half

} // namespace

void Forecasts::tick()
{
    const double now = time_.now();
    for (auto entry = entries_.begin(); entry != entries_.end();) {
        if (now - entry->second.asked < good_for) {
            ++entry;
            continue;
        }
        judgement_.forget_forecast(entry->first);
        entry = entries_.erase(entry);
    }
}

void Forecasts::forget(const std::string& vm)
{
    if (entries_.erase(vm) > 0)
        judgement_.forget_forecast(vm);
}

bool Forecasts::known(const Fleet& fleet, const ChosenMove& move, double bandwidth)
{
    const double now = time_.now();
    const auto [entry, fresh] = entries_.try_emplace(move.vm, Entry{now, -1});
    if (!fresh)
        return entry->second.answered >= 0 || now - entry->second.asked > forecast_limit;
    HostDoor* door = fleet.door(move.from);
    if (door == nullptr || !door->is_up())
        return false;
    Json arguments = {{"name", move.vm}};
    if (bandwidth > 0)
        arguments["bandwidth"] = static_cast<uint64_t>(bandwidth);
    door->execute("query-vm-forecast", std::move(arguments),
                  [this, alive = std::weak_ptr<int>(alive_), vm = move.vm,
                   asked = now](const HostDoor::Answer& answer) {
                      if (alive.expired())
                          return;
                      const auto to = entries_.find(vm);
                      if (to == entries_.end() || to->second.asked != asked)
                          return;
                      to->second.answered = time_.now();
                      // A guest that cannot tell (stock QEMU) is moved by our own estimate.
                      judgement_.foretold(vm, answer ? *answer : Json());
                  });
    return false;
}

} // namespace drover::balancer::cluster
