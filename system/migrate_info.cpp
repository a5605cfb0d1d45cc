// SPDX-License-Identifier: GPL-2.0-or-later
#include "system/migrate_info.h"

#include <algorithm>
#include <cmath>

namespace drover {

namespace {

int64_t whole_ms(double seconds)
{
    return std::llround(seconds * 1e3);
}

bool cancelled(const std::optional<Error>& error)
{
    return error && error->kind == ErrorKind::Cancelled;
}

Json rounds_json(const std::vector<RoundStats>& rounds)
{
    Json list = Json::array();
    for (const RoundStats& round : rounds)
        list.push_back(Json{{"round", round.round},
                            {"sent-pages", round.pages_sent},
                            {"zero-pages", round.pages_zero},
                            {"dirty-pages", round.pages_dirty},
                            {"bytes", round.bytes},
                            {"seconds", round.seconds},
                            {"broken", round.broken_s},
                            {"slowdown", round.slowdown * 100},
                            {"guest-paused", round.guest_paused}});
    return list;
}

/// What the round under way has yet to send; in the first that is all of RAM. Programs draw their
/// bar from it, and libvirt takes 0 for the end.
uint64_t pages_left(const SourceSession& session, uint64_t pages_done, uint64_t ram_bytes)
{
    const SourceReport& report = session.report();
    if (report.postcopy)
        return report.postcopy_left;
    if (session.state() == SourceState::Completed)
        return 0;
    const uint64_t at_start =
        report.rounds.empty() ? ram_bytes / ram_page_size : report.rounds.back().pages_dirty;
    for (const RoundStats& round : report.rounds)
        pages_done -= std::min(pages_done, round.pages_sent + round.pages_zero);
    return at_start - std::min(at_start, pages_done);
}

/// The member "ram": QEMU's MigrationStats.
Json ram_json(const SourceSession& session, uint64_t ram_bytes)
{
    const SourceReport& report = session.report();
    uint64_t sent = 0;
    uint64_t zero = 0;
    uint64_t bytes = 0;
    for (const RoundStats& round : report.rounds) {
        sent += round.pages_sent;
        zero += round.pages_zero;
        bytes += round.bytes;
    }
    if (const SendProgress* progress = session.progress()) {
        sent = progress->pages_sent;
        zero = progress->pages_zero;
        bytes = progress->bytes;
    }
    const double elapsed = std::max(session.elapsed_s() - report.setup_s, 1e-3);
    const uint64_t left = pages_left(session, sent + zero, ram_bytes);
    sent += report.served.pages_sent;
    zero += report.served.pages_zero;
    const double last_s = report.rounds.empty() ? 0 : report.rounds.back().seconds;
    const uint64_t dirty = report.rounds.empty() ? 0 : report.rounds.back().pages_dirty;
    return Json{
        {"transferred", bytes + report.control_bytes},
        {"remaining", left * ram_page_size},
        {"total", ram_bytes},
        {"duplicate", zero},
        {"skipped", 0},
        {"normal", sent},
        {"normal-bytes", sent * ram_page_size},
        {"dirty-pages-rate", last_s > 0 ? std::llround(static_cast<double>(dirty) / last_s) : 0},
        {"mbps", static_cast<double>(bytes) * 8 / elapsed / 1e6},
        // As QEMU counts: the one under way too, from the first on.
        {"dirty-sync-count", report.rounds.size() + (is_final(session.state()) ? 0 : 1)},
        {"dirty-sync-missed-zero-copy", 0},
        {"postcopy-requests", report.served.requests},
        {"page-size", ram_page_size},
        {"multifd-bytes", bytes},
        {"pages-per-second", std::llround(static_cast<double>(sent) / elapsed)},
        {"precopy-bytes", bytes},
        {"downtime-bytes", report.rounds.empty() || !report.rounds.back().guest_paused
                               ? 0
                               : report.rounds.back().bytes},
        {"postcopy-bytes", report.served.bytes}};
}

/// Of the pages that were sent in the rounds: how many in each encoding, as how many bytes, and
/// their part of all, in percent.
Json encodings_json(const EncodingTotals& totals, uint64_t zero_pages)
{
    uint64_t all = zero_pages;
    for (const EncodingTotals::One& one : totals.all)
        all += one.pages;
    const auto entry = [&](uint64_t pages, uint64_t bytes) {
        const double share =
            all > 0 ? static_cast<double>(pages) / static_cast<double>(all) * 100 : 0;
        return Json{{"pages", pages}, {"bytes", bytes}, {"share", share}};
    };
    Json encodings{{"zero", entry(zero_pages, 0)}};
    for (const auto encoding :
         {stream::PageEncoding::Raw, stream::PageEncoding::Repeated, stream::PageEncoding::Lz4,
          stream::PageEncoding::Zstd, stream::PageEncoding::Delta})
        encodings[std::string(to_string(encoding))] =
            entry(totals.of(encoding).pages, totals.of(encoding).bytes);
    return encodings;
}

/// The member "compression": QEMU's CompressionStats. No page waits for a compressor here.
Json compression_json(const EncodingTotals& totals)
{
    const auto& lz4 = totals.of(stream::PageEncoding::Lz4);
    const auto& zstd = totals.of(stream::PageEncoding::Zstd);
    const uint64_t pages = lz4.pages + zstd.pages;
    const uint64_t bytes = lz4.bytes + zstd.bytes;
    return Json{{"pages", pages},
                {"busy", 0},
                {"busy-rate", 0.0},
                {"compressed-size", bytes},
                {"compression-rate", static_cast<double>(pages * ram_page_size) /
                                         static_cast<double>(std::max<uint64_t>(bytes, 1))}};
}

/// The member "xbzrle-cache": QEMU's XBZRLECacheStats.
Json xbzrle_json(const EncodingTotals& totals, uint64_t cache_bytes)
{
    const auto& deltas = totals.of(stream::PageEncoding::Delta);
    const uint64_t asked = deltas.pages + totals.delta_misses;
    return Json{{"cache-size", cache_bytes},
                {"bytes", deltas.bytes},
                {"pages", deltas.pages},
                {"cache-miss", totals.delta_misses},
                {"cache-miss-rate", static_cast<double>(totals.delta_misses) /
                                        static_cast<double>(std::max<uint64_t>(asked, 1))},
                {"encoding-rate", static_cast<double>(deltas.pages * ram_page_size) /
                                      static_cast<double>(std::max<uint64_t>(deltas.bytes, 1))},
                {"overflow", 0}};
}

void add_encodings(const SourceSession& session, Json& info)
{
    const EncodingTotals totals = session.encodings();
    const uint64_t zero_pages = json_u64(info["ram"], "duplicate");
    info["drover"]["encodings"] = encodings_json(totals, zero_pages);
    info["drover"]["compression-cpu"] = totals.cpu_s;
    if (totals.of(stream::PageEncoding::Lz4).pages + totals.of(stream::PageEncoding::Zstd).pages >
        0)
        info["compression"] = compression_json(totals);
    if (totals.of(stream::PageEncoding::Delta).pages > 0)
        info["xbzrle-cache"] = xbzrle_json(totals, session.report().delta_bytes);
}

Json decisions_json(const std::vector<Decision>& decisions)
{
    Json list = Json::array();
    for (const Decision& decision : decisions)
        list.push_back(decision_json(decision));
    return list;
}

/// Of either side.
void add_link(const auto& session, Json& own)
{
    const auto& report = session.report();
    own["link-breaks"] = report.link_breaks;
    if (report.link_error && !is_final(session.state()))
        own["reconnecting"] = Json{{"since", report.link_broken_s},
                                   {"seconds", session.elapsed_s() - report.link_broken_s},
                                   {"reason", report.link_error->message}};
}

Json drover_json(const SourceSession& session, const MigrationWish& wish)
{
    const SourceReport& report = session.report();
    Json own{{"side", "source"},
             {"state", to_string(session.state())},
             {"tracker", report.tracker},
             {"rounds", rounds_json(report.rounds)},
             {"decision", report.decision.reason},
             {"decisions", decisions_json(report.decisions)},
             {"predicted-downtime", report.decision.predicted_downtime_s},
             {"predicted-total", report.decision.predicted_total_s},
             {"slowdown", report.slowdown * 100},
             {"worst-slowdown", report.worst_slowdown * 100},
             {"wished-downtime", wish.downtime_s},
             {"setup", report.setup_s},
             {"switchover", report.switchover_s},
             {"paused", report.paused_s},
             {"downtime", report.downtime_s},
             {"total", session.elapsed_s()},
             {"device-bytes", report.device_bytes},
             {"verify", report.verified},
             {"postcopy", report.postcopy}};
    add_link(session, own);
    if (!report.encryption.empty())
        own["encryption"] = report.encryption;
    if (!report.no_postcopy.empty())
        own["no-postcopy"] = report.no_postcopy;
    if (wish.deadline_s)
        own["deadline"] = *wish.deadline_s;
    if (!report.slowed_by.empty())
        own["slowed-by"] = report.slowed_by;
    return own;
}

} // namespace

Json decision_json(const Decision& decision)
{
    static constexpr const char* actions[] = {"next-round", "switch-over", "postcopy", "abort"};
    Json json{{"action", actions[static_cast<size_t>(decision.action)]},
              {"reason", decision.reason},
              {"slowdown", decision.slowdown * 100},
              {"predicted-downtime", decision.predicted_downtime_s},
              {"predicted-total", decision.predicted_total_s}};
    if (decision.slowdown > 0)
        json["write-rate"] = std::lround(decision.write_rate);
    return json;
}

Json forecast_json(const MigrationStats& stats, const std::vector<Way>& ways,
                   const LinkReport& link)
{
    const auto range = [](const Estimate& estimate) {
        return Json{
            {"expected", estimate.expected}, {"low", estimate.low}, {"high", estimate.high}};
    };
    Json windows = Json::array();
    for (const DirtyWindow& window : stats.windows)
        windows.push_back(Json{{"seconds", window.seconds}, {"pages", window.pages}});
    Json list = Json::array();
    for (const Way& way : ways) {
        Json entry{{"way", way.name},
                   {"possible", way.possible},
                   {"keeps-wish", way.keeps_wish},
                   {"why", way.why}};
        if (way.total_s.expected > 0)
            entry.update(Json{{"total", range(way.total_s)},
                              {"bytes", range(way.bytes)},
                              {"downtime", range(way.downtime_s)},
                              {"slowdown", way.slowdown * 100}});
        list.push_back(std::move(entry));
    }
    return Json{{"pages", stats.pages_total},
                {"windows", std::move(windows)},
                {"bandwidth", stats.link_bytes_s},
                {"round-trip", link.round_trip_s},
                {"contents", Json{{"sampled", stats.contents.sampled},
                                  {"zero", stats.contents.zero * 100},
                                  {"compressed", stats.contents.compressed * 100},
                                  {"rewritten", stats.contents.rewritten},
                                  {"changed", stats.contents.changed * 100}}},
                {"ways", std::move(list)}};
}

Json judgement_json(const Judgement& judgement)
{
    Json told = judgement.to_json();
    told["can-go"] = judgement.blocks.empty();
    return told;
}

namespace {

std::string status_in(SourceState state, const SourceSession& session)
{
    switch (state) {
    case SourceState::Connecting:
    case SourceState::Greeting:
    case SourceState::Joining: return "setup";
    case SourceState::Copying:
    case SourceState::Reconnecting:
    case SourceState::Switching: return "active";
    case SourceState::Paused: return session.awaits_continue() ? "pre-switchover" : "device";
    case SourceState::Loading:
    case SourceState::Committing:
    case SourceState::Asking: return "device";
    case SourceState::Postcopy: return "postcopy-active";
    case SourceState::PostcopyPaused: return "postcopy-paused";
    case SourceState::Completed: return "completed";
    case SourceState::Unwinding:
    case SourceState::Failed: break;
    }
    return "none";
}

} // namespace

/// While it unwinds the status stays what it was: "active" would say that a connection had been
/// made.
std::string migration_status(const SourceSession& session)
{
    const SourceReport& report = session.report();
    switch (session.state()) {
    case SourceState::Unwinding:
        return cancelled(report.error)
                   ? "cancelling"
                   : status_in(report.given_up_in.value_or(SourceState::Copying), session);
    case SourceState::Failed: return cancelled(report.error) ? "cancelled" : "failed";
    default: return status_in(session.state(), session);
    }
}

std::string migration_status(const DestinationSession& session)
{
    switch (session.state()) {
    case DestinationState::Greeting:
    case DestinationState::Preparing: return "setup";
    case DestinationState::Postcopy: return "postcopy-active";
    case DestinationState::PostcopyPaused: return "postcopy-paused";
    case DestinationState::Completed: return "completed";
    case DestinationState::Failed: return "failed";
    default: return "active";
    }
}

Json migrate_info(const SourceSession& session, const MigrationWish& wish, uint64_t ram_bytes)
{
    const SourceReport& report = session.report();
    Json info{{"status", migration_status(session)},
              {"total-time", whole_ms(session.elapsed_s())},
              {"setup-time", whole_ms(report.setup_s)},
              {"drover", drover_json(session, wish)}};
    if (report.slowdown > 0) // QEMU's word for it
        info["cpu-throttle-percentage"] = std::lround(report.slowdown * 100);
    if (session.state() >= SourceState::Copying) {
        info["ram"] = ram_json(session, ram_bytes);
        add_encodings(session, info);
    }
    if (session.state() == SourceState::Completed || is_postcopy(session.state()))
        info["downtime"] = whole_ms(report.downtime_s);
    else // until it can be predicted, what is wished for, as QEMU does
        info["expected-downtime"] = whole_ms(
            report.rounds.empty() ? wish.downtime_s : report.decision.predicted_downtime_s);
    if (report.error && !cancelled(report.error))
        info["error-desc"] = report.error->text();
    return info;
}

Json socket_address(const MigrationAddress& address)
{
    if (address.kind == MigrationAddress::Kind::Unix)
        return Json{{"type", "unix"}, {"path", address.path}};
    const std::string host = address.host.empty() ? "::" : address.host;
    return Json{{"type", "inet"},
                {"host", host},
                {"port", address.port},
                {host.find(':') == host.npos ? "ipv4" : "ipv6", true}};
}

Json migrate_info(const DestinationSession& session)
{
    const DestinationReport& report = session.report();
    Json own{{"side", "destination"},
             {"state", to_string(session.state())},
             {"source", report.source},
             {"source-software", report.source_software},
             {"rounds-received", report.rounds},
             {"device-bytes", report.device_bytes},
             {"load", report.load_s},
             {"link-is-up", session.link_is_up()},
             {"postcopy", report.postcopy}};
    add_link(session, own);
    if (const PageFetcher* fetcher = session.fetcher())
        own.update(Json{{"pages-missing", fetcher->missing_count()},
                        {"pages-requested", fetcher->counters().requests}});
    Json info{{"status", migration_status(session)},
              {"total-time", whole_ms(session.elapsed_s())},
              {"drover", std::move(own)}};
    if (report.error)
        info["error-desc"] = report.error->text();
    return info;
}

} // namespace drover
