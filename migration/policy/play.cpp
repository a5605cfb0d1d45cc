// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/policy/play.h"

#include "migration/ram/ram_block.h"

#include <algorithm>
#include <cmath>

namespace drover {

namespace {

constexpr unsigned most_rounds = 400;
/// So many rounds in a row without a gain, and no other decision, are no end in sight.
constexpr unsigned rounds_without_gain = 12;
constexpr double gain = 0.97;
/// From the decision until the hypervisor has paused the guest; rounds go on meanwhile.
constexpr double switching_s = 0.005;

class Play {
public:
    Play(const MigrationWish& wish, MigrationStats stats, const DirtyModel& dirty,
         const LinkModel& link)
        : wish_(wish), stats_(std::move(stats)), dirty_(dirty), link_(link),
          left_(static_cast<double>(stats_.pages_total) * (1 - stats_.contents.zero))
    {
    }

    Played run(const Policy& policy)
    {
        if (link_.bytes_s <= 0)
            return {};
        unsigned without_gain = 0;
        for (unsigned round = 1; round <= most_rounds; ++round) {
            const double before = left_;
            make_round(round);
            const Decision decision = policy.decide(wish_, stats_);
            if (decision.action != Decision::Action::NextRound)
                return end(decision.action == Decision::Action::SwitchOver);
            const bool slower = decision.slowdown > stats_.slowdown;
            stats_.slowdown = decision.slowdown;
            worst_ = std::max(worst_, decision.slowdown);
            const bool gained = round == 1 || left_ < gain * before;
            without_gain = gained || slower ? 0 : without_gain + 1;
            if (without_gain == rounds_without_gain)
                break;
        }
        return end(false);
    }

private:
    void make_round(unsigned round)
    {
        RoundStats done;
        done.round = round;
        done.pages_sent = static_cast<uint64_t>(std::lround(left_));
        const double page_bytes = round == 1 ? link_.first_page_bytes : link_.page_bytes;
        done.bytes = static_cast<uint64_t>(std::lround(left_ * page_bytes));
        done.page_bytes = link_.page_bytes;
        done.held_by_encoding = round > 1 && link_.page_cpu_s > 0;
        done.seconds = left_ / (round == 1 ? link_.first_pages_s() : link_.pages_s());
        done.slowdown = stats_.slowdown;
        outcome_.bytes += left_ * page_bytes;
        ++outcome_.rounds;
        left_ = dirty_.left_after(done.seconds * (1 - stats_.slowdown), round == 1);
        done.pages_dirty = static_cast<uint64_t>(std::lround(left_));
        stats_.elapsed_s += done.seconds;
        stats_.rounds.push_back(done);
    }

    Played end(bool decided)
    {
        const double sent = std::min(left_, switching_s * link_.pages_s());
        if (decided) {
            left_ +=
                dirty_.left_after(sent / link_.pages_s() * (1 - stats_.slowdown), false) - sent;
            stats_.elapsed_s += switching_s;
        }
        outcome_.downtime_s = left_ / link_.pages_s() + stats_.handover_s;
        outcome_.fits = decided && outcome_.downtime_s <= wish_.downtime_s;
        outcome_.seconds = stats_.elapsed_s + outcome_.downtime_s;
        outcome_.bytes += (left_ + (decided ? sent : 0)) * link_.page_bytes;
        return {outcome_, worst_};
    }

    const MigrationWish& wish_;
    MigrationStats stats_;
    const DirtyModel& dirty_;
    const LinkModel& link_;
    double left_;
    double worst_ = 0;
    Prediction outcome_;
};

} // namespace

Played play(const Policy& policy, const MigrationWish& wish, MigrationStats stats,
            const DirtyModel& dirty, const LinkModel& link)
{
    return Play(wish, std::move(stats), dirty, link).run(policy);
}

} // namespace drover
