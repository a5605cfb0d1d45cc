// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/policy/statistics.h"

namespace drover {

/// In which the guest is slowed and let go: of its speed.
inline constexpr double slowdown_step = 0.05;

/// How many distinct pages a guest at full speed writes within a time: D(t) = scale · t^exponent,
/// and never more than `ceiling`. The exponent is 1 for a sweep through fresh memory and near 0
/// for a small set that is written over and over (the writable working set of Clark et al., 2005);
/// all guests lie between, and within the few powers of two that matter the law holds.
class DirtyModel {
public:
    /// Learned from the windows and rounds; the latest weigh most, so that a change of phase is
    /// believed after two or three rounds, and one burst is not.
    [[nodiscard]] static DirtyModel of(const MigrationStats& stats);

    [[nodiscard]] double pages_within(double seconds) const;
    /// Left by a round of so many seconds. `first`: the round that sends everything; what is sent
    /// late in it has little time to be written again.
    [[nodiscard]] double left_after(double seconds, bool first) const;

    /// The same guest, writing `factor` times as much.
    [[nodiscard]] DirtyModel scaled(double factor) const;

    [[nodiscard]] bool known() const { return known_; }
    [[nodiscard]] double exponent() const { return exponent_; }
    /// By which factor a typical observation misses the law, 1 or more.
    [[nodiscard]] double spread() const { return spread_; }

private:
    bool known_ = false;
    double scale_ = 0;
    double exponent_ = 1;
    double ceiling_ = 0;
    double spread_ = 1;
};

/// What the link carries.
struct LinkModel {
    double bytes_s = 0;   ///< the level to reckon with; 0: unknown
    double low = 0;       ///< what it carries in a bad moment: the level less one deviation
    bool dropped = false; ///< the latest round saw less than half of the level
    double latest = 0;    ///< what the latest telling round saw
    /// What a page takes: bytes on the wire, as they are encoded, and seconds that this costs
    /// besides.
    double page_bytes = 4096;
    double page_cpu_s = 0;
    double first_page_bytes = 4096; ///< in the first round, which has no deltas

    [[nodiscard]] static LinkModel of(const MigrationStats& stats);
    [[nodiscard]] double pages_s() const;
    /// Of the first round.
    [[nodiscard]] double first_pages_s() const { return bytes_s / first_page_bytes; }
    /// For so many pages, over a link that carries `bytes_s`, which is not 0.
    [[nodiscard]] double seconds_for(double pages, double carried_bytes_s) const;

private:
    void set_level(double weight, double sum, double squares);
};

/// How a migration goes on, by the models.
struct Prediction {
    bool fits = false;     ///< the downtime comes down to the wish
    double seconds = 0;    ///< from now until the guest runs at the destination
    double downtime_s = 0; ///< then
    double bytes = 0;      ///< still to be sent
    unsigned rounds = 0;   ///< still to be made
};

struct Situation {
    double pages_left = 0;
    double handover_s = 0;
    double downtime_s = 0;    ///< wished
    bool first_round = false; ///< the round to come is the first
};

/// Plays the rounds to come with the guest slowed by `slowdown` until the downtime fits, or until
/// rounds no longer gain.
[[nodiscard]] Prediction predict(const DirtyModel& dirty, const LinkModel& link,
                                 const Situation& now, double slowdown);

} // namespace drover
