// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/cluster/forecasts.h"

#include "util/log.h"

namespace drover::balancer::cluster {

namespace {

constexpr double good_for = 30;
constexpr double shown_for = 120;    // where a person decides
constexpr double forecast_limit = 8; // it watches the guest for a second and a half
constexpr double urgent_limit = 4;   // of all guests of a host together
constexpr double urgency_over = 60;  // nothing urgent for so long: the next one is another

} // namespace

void Forecasts::tick()
{
    const double now = time_.now();
    for (auto entry = entries_.begin(); entry != entries_.end();) {
        if (now - entry->second.asked < 2 * shown_for) {
            ++entry;
            continue;
        }
        judgement_.forget_forecast(entry->first);
        entry = entries_.erase(entry);
    }
    std::erase_if(urgent_, [now](const auto& e) { return now - e.second.second > urgency_over; });
}

void Forecasts::forget(const std::string& vm)
{
    if (entries_.erase(vm) > 0)
        judgement_.forget_forecast(vm);
}

/// A host that swaps answers late, and each plan may want another guest's word: the patience is the
/// host's, not the guest's, or nothing would ever move.
double Forecasts::waited_since(const Question& question)
{
    const double now = time_.now();
    auto& [since, latest] = urgent_.try_emplace(question.host, now, now).first->second;
    latest = now;
    return since;
}

bool Forecasts::known(HostDoor* door, const Question& question)
{
    const double now = time_.now();
    const auto entry = entries_.find(question.vm);
    const bool fresh = entry != entries_.end() && now - entry->second.asked < good_for;
    if (!fresh && door != nullptr && door->is_up())
        ask(*door, question);
    if (fresh && (entry->second.answered >= 0 || now - entry->second.asked > forecast_limit))
        return true;
    return question.urgent && now - waited_since(question) > urgent_limit;
}

void Forecasts::keep_known(HostDoor* door, const Question& question)
{
    const auto entry = entries_.find(question.vm);
    const bool good = entry != entries_.end() && time_.now() - entry->second.asked < shown_for;
    if (!good && door != nullptr && door->is_up())
        ask(*door, question);
}

void Forecasts::ask(HostDoor& door, const Question& question)
{
    const double now = time_.now();
    entries_[question.vm] = {.asked = now, .answered = -1, .complaint = {}};
    ++asked_;
    Json arguments = {{"name", question.vm}};
    if (question.bandwidth >= 1)
        arguments["bandwidth"] = static_cast<uint64_t>(question.bandwidth);
    if (!question.policy.empty())
        arguments["policy"] = question.policy;
    door.execute("query-vm-forecast", std::move(arguments),
                 [this, alive = std::weak_ptr<int>(alive_), vm = question.vm,
                  asked = now](const HostDoor::Answer& answer) {
                     if (!alive.expired())
                         take(vm, asked, answer);
                 });
}

void Forecasts::take(const std::string& vm, double asked, const HostDoor::Answer& answer)
{
    const auto entry = entries_.find(vm);
    if (entry == entries_.end() || entry->second.asked != asked)
        return;
    entry->second.answered = time_.now();
    judgement_.foretold(vm, answer ? *answer : Json()); // null: by our own estimate
    if (answer) {
        ++answered_;
        return;
    }
    ++refused_;
    const std::string complaint = vm + " foretells nothing: " + answer.error().text;
    if (std::exchange(latest_complaint_, complaint) != complaint)
        log::warning(complaint + "; what its migration costs is estimated");
    entry->second.complaint = answer.error().text;
}

std::string Forecasts::complaint(const std::string& vm) const
{
    const auto entry = entries_.find(vm);
    return entry == entries_.end() ? std::string() : entry->second.complaint;
}

Json Forecasts::to_json() const
{
    Json json = {{"asked", asked_}, {"answered", answered_}, {"refused", refused_}};
    if (!latest_complaint_.empty())
        json["latest-refusal"] = latest_complaint_;
    return json;
}

} // namespace drover::balancer::cluster
