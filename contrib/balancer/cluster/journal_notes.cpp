// SPDX-License-Identifier: GPL-2.0-or-later
//
// The parts of the journal that no migration depends on: history, plans, hotspots, settings.
#include "contrib/balancer/cluster/journal.h"

namespace drover::balancer::cluster {

namespace {

constexpr double day = 24 * 3600.0;
constexpr double keep_moves = 90 * day;
constexpr double keep_plans = 7 * day;
constexpr int64_t keep_history = 100'000; // entries

Result<Json> body_of(std::optional<sql::Database>& database, const char* query,
                     const std::string& id)
{
    if (!database)
        return Json();
    auto statement = database->prepare(query);
    if (!statement)
        return pass(statement);
    auto row = statement->with(id).next();
    if (!row)
        return pass(row);
    if (!*row)
        return Json();
    return parse_json(statement->text(0));
}

Status run(std::optional<sql::Database>& database, const char* text, auto... values)
{
    auto statement = database->prepare(text);
    if (!statement)
        return pass(statement);
    return statement->with(values...).run();
}

} // namespace

Status Journal::add_entry(const HistoryEntry& e)
{
    return add_history_.with(e.time, e.what, e.id, e.vm, e.from, e.to, e.text).run();
}

Status Journal::note(const HistoryEntry& e)
{
    return write([&] { return add_entry(e); });
}

Result<std::vector<HistoryEntry>> Journal::history(int limit, const std::string& vm)
{
    std::vector<HistoryEntry> entries;
    if (!database_)
        return entries;
    history_.with(limit, vm);
    for (;;) {
        auto row = history_.next();
        if (!row)
            return pass(row);
        if (!*row)
            return entries;
        entries.push_back({history_.real(0), history_.text(1), history_.text(2), history_.text(3),
                           history_.text(4), history_.text(5), history_.text(6)});
    }
}

Status Journal::keep_plan(const std::string& id, const Json& body)
{
    return write([&] {
        return run(database_, "INSERT OR REPLACE INTO plans VALUES (?1, ?2, ?3)", id, time_.wall(),
                   dump_json(body));
    });
}

Status Journal::keep_hotspots(const std::vector<KeptHotspot>& hotspots)
{
    return write([&]() -> Status {
        for (const auto& [body, e] : hotspots) {
            if (Status kept = run(database_, "INSERT OR REPLACE INTO hotspots VALUES (?1, ?2, ?3)",
                                  e.id, e.time, dump_json(body));
                !kept)
                return kept;
            if (Status noted = add_entry(e); !noted)
                return noted;
        }
        return {};
    });
}

Result<Json> Journal::plan(const std::string& id)
{
    return body_of(database_, "SELECT body FROM plans WHERE id = ?1", id);
}

Result<Json> Journal::hotspot(const std::string& id)
{
    return body_of(database_, "SELECT body FROM hotspots WHERE id = ?1", id);
}

Status Journal::set(const std::string& name, const std::string& value)
{
    return write([&] {
        return run(database_, "INSERT OR REPLACE INTO settings VALUES (?1, ?2)", name, value);
    });
}

Result<std::string> Journal::get(const std::string& name)
{
    if (!database_)
        return std::string();
    auto statement = database_->prepare("SELECT value FROM settings WHERE name = ?1");
    if (!statement)
        return pass(statement);
    auto row = statement->with(name).next();
    if (!row)
        return pass(row);
    return *row ? statement->text(0) : std::string();
}

Status Journal::prune()
{
    const double now = time_.wall();
    return write([&]() -> Status {
        // Open migrations are kept, however old.
        if (Status done =
                run(database_, "DELETE FROM migrations WHERE state = 'closed' AND changed < ?1",
                    now - keep_moves);
            !done)
            return done;
        for (const char* text :
             {"DELETE FROM plans WHERE time < ?1", "DELETE FROM hotspots WHERE time < ?1"})
            if (Status done = run(database_, text, now - keep_plans); !done)
                return done;
        return run(database_,
                   "DELETE FROM history WHERE rowid <= (SELECT max(rowid) FROM history) - ?1",
                   keep_history);
    });
}

} // namespace drover::balancer::cluster
