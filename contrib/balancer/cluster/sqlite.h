// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/result.h"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

struct sqlite3;
struct sqlite3_stmt;

/// Thin RAII over SQLite. Not thread-safe: one thread uses a database and its statements.
namespace drover::balancer::cluster::sql {

/// A prepared statement. Parameters are bound by position, beginning with 1.
class Statement {
public:
    Statement() = default;

    /// Binds all, in order (texts, integers, doubles, bools; nullptr is NULL), and starts afresh.
    template <typename... Values> Statement& with(const Values&... values)
    {
        restart();
        int at = 0;
        (bind(++at, values), ...);
        return *this;
    }

    /// To its end; for statements without rows.
    [[nodiscard]] Status run();
    /// The next row; false: there is none.
    [[nodiscard]] Result<bool> next();

    [[nodiscard]] std::string text(int column) const; ///< columns begin with 0
    [[nodiscard]] double real(int column) const;
    [[nodiscard]] int64_t integer(int column) const;
    [[nodiscard]] bool is_null(int column) const;

    /// Ends it, so that no lock is held for rows that nobody reads.
    void restart();

private:
    friend class Database;
    struct Finalize {
        void operator()(sqlite3_stmt* statement) const;
    };
    explicit Statement(sqlite3_stmt* statement) : statement_(statement) {}
    void bind(int at, std::string_view text);
    void bind(int at, const char* text) { bind(at, std::string_view(text)); }
    void bind(int at, const std::string& text) { bind(at, std::string_view(text)); }
    void bind(int at, double value);
    void bind(int at, int64_t value);
    void bind(int at, int value) { bind(at, int64_t{value}); }
    void bind(int at, bool value) { bind(at, int64_t{value}); }
    void bind(int at, std::nullptr_t);

    std::unique_ptr<sqlite3_stmt, Finalize> statement_;
};

class Database {
public:
    /// Creates the file where there is none.
    [[nodiscard]] static Result<Database> open(const std::string& path);

    /// One or more statements whose rows nobody wants.
    [[nodiscard]] Status execute(const std::string& statements);
    [[nodiscard]] Result<Statement> prepare(std::string_view statement);
    /// The first column of the first row.
    [[nodiscard]] Result<std::string> ask(std::string_view statement);

    /// The latest error means that the file is no database, or a broken one.
    [[nodiscard]] bool is_corrupt() const;
    [[nodiscard]] bool is_busy() const; ///< … that another process has it

private:
    struct Close {
        void operator()(sqlite3* database) const;
    };
    explicit Database(sqlite3* database) : database_(database) {}
    std::unique_ptr<sqlite3, Close> database_;
};

/// BEGIN, and at its end ROLLBACK unless it was committed.
class Transaction {
public:
    [[nodiscard]] static Result<Transaction> begin(Database& database);
    Transaction(Transaction&& other) noexcept : database_(std::exchange(other.database_, nullptr))
    {
    }
    ~Transaction();
    [[nodiscard]] Status commit();

private:
    explicit Transaction(Database& database) : database_(&database) {}
    Database* database_;
};

} // namespace drover::balancer::cluster::sql
