// SPDX-License-Identifier: GPL-2.0-or-later
//
// query-migrate-forecast, and what forbids a migration before it begins.
#include "system/migrate_control.h"

#include "system/migrate_info.h"

#include <algorithm>

namespace drover {

namespace {

/// Ready, Commit and Running cross the link while the guest stands still, and the device state
/// before them.
constexpr double hand_over_trips = 2;

} // namespace

Status check_blockers(const std::vector<std::string>& blockers)
{
    if (blockers.empty())
        return {};
    const bool more = blockers.size() > 1;
    return fail(ErrorKind::Refused, "this guest cannot be migrated: " + blockers.front(),
                more ? "there are more reasons: see query-migrate's blocked-reasons" : "");
}

/// Bytes a second that the migration may take: as the caller says, or as it would be limited; 0:
/// as many as the link carries.
Result<double> MigrateControl::forecast_bandwidth(const Json& arguments) const
{
    MigrationWish wish;
    if (const auto given = arguments.find("bandwidth"); given != arguments.end()) {
        const std::string text = given->is_string() ? given->get<std::string>() : given->dump();
        if (Status read = apply_policy_option(wish, "bandwidth", text); !read)
            return pass(read);
    }
    const uint64_t bandwidth = wish.bandwidth ? wish.bandwidth : settings_.max_bandwidth();
    if (bandwidth == 0 && !arguments.contains("uri"))
        return fail(ErrorKind::Invalid, "the link's bandwidth is not known",
                    "give the destination's uri, to have it measured, or bandwidth, such as "
                    "\"117MB/s\" for a gigabit link, or set max-bandwidth");
    return static_cast<double>(bandwidth);
}

/// Where the destination is named the link to it is measured, and it is asked what it can.
void MigrateControl::probe_link(const Json& arguments, std::function<void(Result<LinkReport>)> done)
{
    const auto hold = machine_.page_hold();
    const std::string uri = json_string(arguments, "uri");
    if (uri.empty())
        return done(LinkReport{.no_postcopy = hold ? "" : hold.error().text()});
    auto address = MigrationAddress::parse(uri);
    if (!address)
        return done(pass(address));
    if (address->kind == MigrationAddress::Kind::Fd)
        return done(fail(ErrorKind::Invalid, "a link that was handed over (fd:) is used only once",
                         "give bandwidth instead of uri"));
    probe_ = std::make_unique<LinkProbe>(*address, std::move(done));
}

void MigrateControl::forecast(const Json& arguments, const std::vector<std::string>& blockers,
                              QmpResponder respond)
{
    if (Status clear = check_blockers(blockers); !clear)
        return respond(QmpResponse::error(clear.error()));
    auto bandwidth = forecast_bandwidth(arguments);
    if (!bandwidth)
        return respond(QmpResponse::error(bandwidth.error()));
    const auto wish = parse_policy(json_string(arguments, "policy"), settings_.wish());
    if (!wish)
        return respond(QmpResponse::error(wish.error()));
    if (is_migrating() || awaits_guest())
        return respond(QmpResponse::error("a migration is under way: see query-migrate"));
    if (forecast_respond_)
        return respond(QmpResponse::error("a forecast is being made already"));
    forecast_respond_ = std::move(respond);
    forecast_wish_ = *wish;
    ++forecast_number_;
    probe_link(arguments, [this, bandwidth = *bandwidth](Result<LinkReport> link) {
        if (!link)
            return end_forecast(QmpResponse::error(link.error()));
        if (bandwidth > 0)
            link->bytes_s = link->bytes_s > 0 ? std::min(link->bytes_s, bandwidth) : bandwidth;
        watch_guest(*link);
    });
}

void MigrateControl::watch_guest(const LinkReport& link)
{
    machine_.describe([this, number = forecast_number_, link](const Result<Json>& known) {
        if (!forecast_respond_ || number != forecast_number_)
            return;
        if (!known)
            return end_forecast(QmpResponse::error(known.error()));
        watch_ = std::make_unique<GuestWatch>(machine_, [this, link](Result<MigrationStats> stats) {
            watched(std::move(stats), link);
        });
    });
}

void MigrateControl::watched(Result<MigrationStats> stats, const LinkReport& link)
{
    if (!stats)
        return end_forecast(QmpResponse::error(stats.error()));
    stats->link_bytes_s = link.bytes_s;
    stats->handover_s = usual_handover_s + hand_over_trips * link.round_trip_s;
    stats->can_slow = machine_.can_slow().has_value();
    stats->can_postcopy = link.no_postcopy.empty();
    end_forecast(QmpResponse::ok(
        forecast_json(*stats, drover::forecast(forecast_wish_, *stats, link.no_postcopy), link)));
}

void MigrateControl::end_forecast(const QmpResponse& response)
{
    if (!forecast_respond_)
        return;
    std::exchange(forecast_respond_, nullptr)(response);
    // Not within their calls.
    loop::post([watch = std::shared_ptr<GuestWatch>(std::move(watch_)),
                probe = std::shared_ptr<LinkProbe>(std::move(probe_))] {});
}

} // namespace drover
