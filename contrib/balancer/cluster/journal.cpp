// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/cluster/journal.h"

#include "contrib/balancer/cluster/journal_schema.h"

#include <cerrno>
#include <cstdio>
#include <unistd.h>

namespace drover::balancer::cluster {

namespace {

std::optional<double> optional_real(const sql::Statement& row, int column)
{
    if (row.is_null(column))
        return std::nullopt;
    return row.real(column);
}

MoveRecord record_of(const sql::Statement& row)
{
    MoveRecord record;
    record.id = row.text(0);
    record.vm = row.text(1);
    record.from = row.text(2);
    record.to = row.text(3);
    record.definition = parse_json(row.text(4)).value_or(Json::object());
    record.policy = row.text(5);
    record.why = row.text(6);
    record.wish = row.text(7);
    record.cost = {row.real(8), row.real(9), row.real(10)};
    record.state = move_state_from(row.text(11)).value_or(MoveState::Unknown);
    record.cancel = row.integer(12) != 0;
    record.uri = row.text(13);
    record.created = row.real(14);
    record.changed = row.real(15);
    record.outcome = row.text(16);
    record.error = row.text(17);
    record.bytes = row.real(18);
    record.downtime = optional_real(row, 19);
    record.total_time = optional_real(row, 20);
    return record;
}

} // namespace

Result<std::unique_ptr<Journal>> Journal::open(const std::string& path, const TimeSource& time)
{
    std::unique_ptr<Journal> journal(new Journal(path, time));
    if (Status opened = journal->open_file(); !opened)
        return pass(opened);
    return journal;
}

std::unique_ptr<Journal> Journal::unopened(const std::string& path, const TimeSource& time,
                                           const Error& why)
{
    std::unique_ptr<Journal> journal(new Journal(path, time));
    journal->trouble_ = why.text();
    return journal;
}

Status Journal::open_file()
{
    Status opened = try_open();
    if (opened || !corrupt_)
        return opened;
    if (Status moved = set_aside(opened.error().message); !moved)
        return moved;
    return try_open();
}

Status Journal::try_open()
{
    corrupt_ = false;
    auto database = sql::Database::open(path_);
    if (!database)
        return pass(database);
    database_ = std::move(*database);
    const auto failed = [this](Error error) -> Status {
        corrupt_ = database_->is_corrupt();
        if (database_->is_busy())
            error = {ErrorKind::Refused, error.message,
                     "another drover-balancer uses " + path_ + "; only one may run"};
        return std::unexpected(std::move(error).in(path_));
    };
    // Exclusive, so that a second balancer cannot begin anything beside us.
    if (Status set = database_->execute("PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; "
                                        "PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON");
        !set)
        return failed(std::move(set.error()));
    auto sound = database_->ask("PRAGMA quick_check(1)");
    if (!sound)
        return failed(std::move(sound.error()));
    if (*sound != "ok") {
        corrupt_ = true;
        return fail(ErrorKind::System, path_ + " is damaged: " + *sound);
    }
    if (Status made = make_schema(*database_); !made)
        return failed(std::move(made.error()));
    if (Status prepared = prepare_all(); !prepared)
        return failed(std::move(prepared.error()));
    return {};
}

Status Journal::prepare_all()
{
    const auto make = [this](sql::Statement& statement, const std::string& text) -> Status {
        auto prepared = database_->prepare(text);
        if (!prepared)
            return pass(prepared);
        statement = std::move(*prepared);
        return {};
    };
    const std::string columns(move_columns);
    const std::string select = "SELECT " + columns + " FROM migrations ";
    const std::pair<sql::Statement*, std::string> all[] = {
        {&put_move_, "INSERT INTO migrations (" + columns + ") VALUES (" +
                         std::string(move_parameters) + ") ON CONFLICT (id) DO UPDATE SET " +
                         std::string(move_updates)},
        {&add_step_, "INSERT INTO steps (migration, time, state, note) VALUES (?1, ?2, ?3, ?4)"},
        {&add_history_, "INSERT INTO history (time, what, id, vm, source, target, text) VALUES "
                        "(?1, ?2, ?3, ?4, ?5, ?6, ?7)"},
        {&open_moves_, select + "WHERE state <> 'closed' ORDER BY created, id"},
        {&latest_moves_,
         select + "WHERE ?2 = '' OR vm = ?2 ORDER BY created DESC, id DESC LIMIT ?1"},
        {&find_move_, select + "WHERE id = ?1"},
        {&steps_, "SELECT time, state, note FROM steps WHERE migration = ?1 ORDER BY rowid"},
        {&history_, "SELECT time, what, id, vm, source, target, text FROM history "
                    "WHERE ?2 = '' OR vm = ?2 ORDER BY rowid DESC LIMIT ?1"},
    };
    for (const auto& [statement, text] : all)
        if (Status made = make(*statement, text); !made)
            return made;
    return {};
}

void Journal::close_file()
{
    for (sql::Statement* statement : {&put_move_, &add_step_, &add_history_, &open_moves_,
                                      &latest_moves_, &find_move_, &steps_, &history_})
        *statement = {};
    database_.reset();
}

Status Journal::set_aside(const std::string& why)
{
    close_file();
    std::string aside = path_ + ".broken-" + std::to_string(static_cast<int64_t>(time_.wall()));
    while (access(aside.c_str(), F_OK) == 0)
        aside += "x";
    if (rename(path_.c_str(), aside.c_str()) != 0)
        return fail_errno("renaming " + path_ + " to " + aside, errno);
    // What was not yet written back belongs to the broken file.
    for (const char* tail : {"-wal", "-shm"})
        (void)rename((path_ + tail).c_str(), (aside + tail).c_str());
    notice_ = "the journal " + path_ + " was broken (" + why + "); it was set aside as " + aside +
              ", and a new one begun";
    return {};
}

Status Journal::write(const std::function<Status()>& what)
{
    Status done = [&]() -> Status {
        if (!database_)
            return fail(ErrorKind::System, "the journal " + path_ + " is not open");
        auto transaction = sql::Transaction::begin(*database_);
        if (!transaction)
            return pass(transaction);
        if (Status inside = what(); !inside)
            return inside;
        return transaction->commit();
    }();
    trouble_ = done ? std::string() : done.error().text();
    return done;
}

Status Journal::put(sql::Statement& statement, const MoveRecord& r)
{
    statement.with(r.id, r.vm, r.from, r.to, dump_json(r.definition), r.policy, r.why, r.wish,
                   r.cost.seconds, r.cost.bytes, r.cost.downtime, to_string(r.state), r.cancel,
                   r.uri, r.created, r.changed, r.outcome, r.error, r.bytes, r.downtime.value_or(0),
                   r.total_time.value_or(0), r.downtime.has_value(), r.total_time.has_value());
    return statement.run();
}

Status Journal::write_step(const MoveRecord& record, const std::string& text)
{
    if (Status kept = put(put_move_, record); !kept)
        return kept;
    add_step_.with(record.id, record.changed, to_string(record.state), text);
    if (Status added = add_step_.run(); !added)
        return added;
    const std::string words = text.empty() ? std::string(to_string(record.state))
                                           : std::string(to_string(record.state)) + ": " + text;
    add_history_.with(record.changed, "migration", record.id, record.vm, record.from, record.to,
                      words);
    return add_history_.run();
}

Status Journal::add(const MoveRecord& record)
{
    return write([&] { return write_step(record, record.why); });
}

Status Journal::step(const MoveRecord& record, const std::string& text)
{
    return write([&] { return write_step(record, text); });
}

Result<std::vector<MoveRecord>> Journal::read_moves(sql::Statement& statement)
{
    std::vector<MoveRecord> records;
    for (;;) {
        auto row = statement.next();
        if (!row)
            return pass(row);
        if (!*row)
            return records;
        records.push_back(record_of(statement));
    }
}

Result<std::vector<MoveRecord>> Journal::open_moves()
{
    return read_moves(open_moves_.with());
}

Result<std::vector<MoveRecord>> Journal::latest_moves(int limit, const std::string& vm)
{
    return read_moves(latest_moves_.with(limit, vm));
}

Result<std::optional<MoveRecord>> Journal::find_move(const std::string& id)
{
    auto found = read_moves(find_move_.with(id));
    if (!found)
        return pass(found);
    if (found->empty())
        return std::nullopt;
    return std::move(found->front());
}

Result<std::vector<Journal::Step>> Journal::steps(const std::string& migration)
{
    std::vector<Step> steps;
    steps_.with(migration);
    for (;;) {
        auto row = steps_.next();
        if (!row)
            return pass(row);
        if (!*row)
            return steps;
        steps.push_back({steps_.real(0), steps_.text(1), steps_.text(2)});
    }
}

Status Journal::mend(const std::vector<MoveRecord>& open)
{
    // A new connection: what the old one believes of the file may be what is wrong.
    close_file();
    Status opened = open_file();
    if (!opened) {
        database_.reset();
        trouble_ = opened.error().text();
        return opened;
    }
    return write([&]() -> Status {
        for (const MoveRecord& record : open)
            if (Status kept = put(put_move_, record); !kept)
                return kept;
        return {};
    });
}

Status Journal::limit_pages(int64_t pages)
{
    const auto most = pages > 0 ? pages : int64_t{1} << 30;
    return database_->execute("PRAGMA max_page_count=" + std::to_string(most));
}

} // namespace drover::balancer::cluster
