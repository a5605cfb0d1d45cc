// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/cluster/sqlite.h"

#include <sqlite3.h>

namespace drover::balancer::cluster::sql {

namespace {

const char* hint_for(int code)
{
    switch (code & 0xff) {
    case SQLITE_FULL: return "make room on its file system";
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: return "the file is not a sound database";
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return "another process uses it";
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_READONLY: return "see to it that the directory exists and may be written to";
    default: return "";
    }
}

std::unexpected<Error> failure(sqlite3* database)
{
    const int code = sqlite3_extended_errcode(database);
    return fail(ErrorKind::System, std::string("the journal: ") + sqlite3_errmsg(database),
                hint_for(code));
}

} // namespace

void Statement::Finalize::operator()(sqlite3_stmt* statement) const
{
    sqlite3_finalize(statement);
}

void Statement::restart()
{
    sqlite3_reset(statement_.get());
}

/// SQLITE_TRANSIENT, without the cast in the style of C that its macro has.
static const auto copy_it = reinterpret_cast<sqlite3_destructor_type>(-1);

void Statement::bind(int at, std::string_view text)
{
    const char* data = text.empty() ? "" : text.data(); // a null pointer would be NULL
    sqlite3_bind_text(statement_.get(), at, data, static_cast<int>(text.size()), copy_it);
}

void Statement::bind(int at, double value)
{
    sqlite3_bind_double(statement_.get(), at, value);
}

void Statement::bind(int at, int64_t value)
{
    sqlite3_bind_int64(statement_.get(), at, value);
}

void Statement::bind(int at, std::nullptr_t)
{
    sqlite3_bind_null(statement_.get(), at);
}

Status Statement::run()
{
    auto row = next();
    while (row && *row)
        row = next();
    if (!row)
        return pass(row);
    return {};
}

Result<bool> Statement::next()
{
    if (!statement_)
        return fail(ErrorKind::System, "the journal is not open");
    const int code = sqlite3_step(statement_.get());
    if (code == SQLITE_ROW)
        return true;
    if (code == SQLITE_DONE) {
        restart();
        return false;
    }
    const auto error = failure(sqlite3_db_handle(statement_.get()));
    restart();
    return error;
}

std::string Statement::text(int column) const
{
    const auto* bytes = sqlite3_column_text(statement_.get(), column);
    if (bytes == nullptr)
        return {};
    const auto size = static_cast<size_t>(sqlite3_column_bytes(statement_.get(), column));
    return {reinterpret_cast<const char*>(bytes), size};
}

double Statement::real(int column) const
{
    return sqlite3_column_double(statement_.get(), column);
}

int64_t Statement::integer(int column) const
{
    return sqlite3_column_int64(statement_.get(), column);
}

bool Statement::is_null(int column) const
{
    return sqlite3_column_type(statement_.get(), column) == SQLITE_NULL;
}

void Database::Close::operator()(sqlite3* database) const
{
    sqlite3_close_v2(database); // waits for the statements that are left
}

Result<Database> Database::open(const std::string& path)
{
    sqlite3* raw = nullptr;
    const int code =
        sqlite3_open_v2(path.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nullptr);
    Database database(raw);
    if (code != SQLITE_OK) {
        Error error = failure(raw).error();
        error.message += ": " + path;
        return std::unexpected(std::move(error));
    }
    return database;
}

Status Database::execute(const std::string& statements)
{
    if (sqlite3_exec(database_.get(), statements.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK)
        return failure(database_.get());
    return {};
}

Result<Statement> Database::prepare(std::string_view statement)
{
    sqlite3_stmt* raw = nullptr;
    if (sqlite3_prepare_v2(database_.get(), statement.data(), static_cast<int>(statement.size()),
                           &raw, nullptr) != SQLITE_OK)
        return failure(database_.get());
    return Statement(raw);
}

Result<std::string> Database::ask(std::string_view statement)
{
    auto prepared = prepare(statement);
    if (!prepared)
        return pass(prepared);
    auto row = prepared->next();
    if (!row)
        return pass(row);
    return *row ? prepared->text(0) : std::string();
}

bool Database::is_corrupt() const
{
    const int code = sqlite3_errcode(database_.get());
    return code == SQLITE_CORRUPT || code == SQLITE_NOTADB;
}

bool Database::is_busy() const
{
    const int code = sqlite3_errcode(database_.get());
    return code == SQLITE_BUSY || code == SQLITE_LOCKED;
}

Result<Transaction> Transaction::begin(Database& database)
{
    if (Status begun = database.execute("BEGIN IMMEDIATE"); !begun)
        return pass(begun);
    return Transaction(database);
}

Transaction::~Transaction()
{
    if (database_ != nullptr)
        (void)database_->execute("ROLLBACK");
}

Status Transaction::commit()
{
    Status done = database_->execute("COMMIT");
    if (done)
        database_ = nullptr;
    return done;
}

} // namespace drover::balancer::cluster::sql
