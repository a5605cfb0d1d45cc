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

Result<MigrateControl::ForecastWish> MigrateControl::forecast_wish(const Json& arguments) const
{
    ForecastWish asked;
    asked.check = json_bool(arguments, "check");
    const std::string uri = json_string(arguments, "uri");
    if (asked.check && uri.empty())
        return fail(ErrorKind::Invalid, "Parameter 'uri' is missing",
                    "whether a guest can go somewhere is for the destination that waits there");
    auto bandwidth = asked.check ? 0.0 : forecast_bandwidth(arguments);
    auto wish = parse_policy(json_string(arguments, "policy"), settings_.wish());
    if (!bandwidth || !wish)
        return bandwidth ? pass(wish) : pass(bandwidth);
    asked.bandwidth = *bandwidth;
    asked.wish = *wish;
    if (uri.empty())
        return asked;
    auto address = MigrationAddress::parse(uri);
    if (!address)
        return pass(address);
    if (address->kind == MigrationAddress::Kind::Fd)
        return fail(ErrorKind::Invalid, "a link that was handed over (fd:) is used only once",
                    "give bandwidth instead of uri");
    asked.destination = MigrationPeer{std::move(*address), nullptr};
    return asked;
}

void MigrateControl::forecast(const Json& arguments, const std::vector<std::string>& blockers,
                              QmpResponder respond)
{
    auto asked = forecast_wish(arguments);
    if (asked && !asked->check)
        if (Status clear = check_blockers(blockers); !clear)
            return respond(QmpResponse::error(clear.error()));
    if (!asked)
        return respond(QmpResponse::error(asked.error()));
    if (is_migrating() || awaits_guest())
        return respond(QmpResponse::error("a migration is under way: see query-migrate"));
    if (forecast_respond_)
        return respond(QmpResponse::error("a forecast is being made already"));
    forecast_respond_ = std::move(respond);
    forecast_ = std::move(*asked);
    forecast_judgement_ = {};
    for (const std::string& blocker : blockers)
        forecast_judgement_.block(blocker, "");
    machine_.may_save([this, number = ++forecast_number_](const Status& may) {
        if (!forecast_respond_ || number != forecast_number_)
            return;
        forecast_judgement_.note(may);
        read_credentials();
    });
}

void MigrateControl::read_credentials()
{
    if (!forecast_.destination)
        return probe_link();
    read_tls_credentials(qemu_, settings_.tls(), TlsWords::Endpoint::Client,
                         forecast_.destination->address.host,
                         [this, number = forecast_number_](Result<SharedTlsCredentials> tls) {
                             if (!forecast_respond_ || number != forecast_number_)
                                 return;
                             if (!tls)
                                 return end_forecast(QmpResponse::error(tls.error()));
                             forecast_.destination->tls = std::move(*tls);
                             probe_link();
                         });
}

/// Where the destination is named the link to it is measured, and it is asked what it can, and what
/// it thinks of our guest: as a migration would ask it.
void MigrateControl::probe_link()
{
    if (!forecast_.destination) {
        const auto hold = machine_.page_hold();
        return probed(LinkReport{.no_postcopy = hold ? "" : hold.error().text(), .judgement = {}});
    }
    const GreetingOptions greeting{.software = own_software,
                                   .channels = 1,
                                   .validate_uuid = settings_.capability("validate-uuid"),
                                   .downtime_s = forecast_.wish.downtime_s};
    make_hello(machine_, greeting, [this, number = forecast_number_](Result<stream::Hello> hello) {
        if (!forecast_respond_ || number != forecast_number_)
            return;
        if (!hello && !forecast_.check)
            return end_forecast(QmpResponse::error(hello.error()));
        if (!hello)
            forecast_judgement_.blocks.push_back(hello.error());
        LinkProbe::Wish wish{
            .destination = *forecast_.destination, .hello = {}, .measure = !forecast_.check};
        if (hello)
            wish.hello = std::move(*hello);
        probe_ = std::make_unique<LinkProbe>(
            std::move(wish), [this](Result<LinkReport> link) { probed(std::move(link)); });
    });
}

void MigrateControl::probed(Result<LinkReport> link)
{
    if (!link)
        return end_forecast(QmpResponse::error(link.error()));
    if (link->judgement)
        forecast_judgement_.add(std::move(*link->judgement));
    else if (forecast_.destination)
        forecast_judgement_.warn("the destination does not say beforehand whether the guest can go "
                                 "there",
                                 "it has an older release of Drover");
    if (forecast_.check)
        return end_forecast(QmpResponse::ok(judgement_json(forecast_judgement_)));
    if (forecast_.bandwidth > 0)
        link->bytes_s =
            link->bytes_s > 0 ? std::min(link->bytes_s, forecast_.bandwidth) : forecast_.bandwidth;
    watch_guest(*link);
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
    Json told =
        forecast_json(*stats, drover::forecast(forecast_.wish, *stats, link.no_postcopy), link);
    if (forecast_.destination)
        told.update(judgement_json(forecast_judgement_));
    end_forecast(QmpResponse::ok(std::move(told)));
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
