// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/cluster/journal_schema.h"

#include <array>
#include <charconv>

namespace drover::balancer::cluster {

namespace {

/// One entry for each version: what makes it out of the one before. Entries are never changed.
constexpr std::array<const char*, 1> versions = {R"(
CREATE TABLE migrations (
    id TEXT PRIMARY KEY, vm TEXT NOT NULL, source TEXT NOT NULL, target TEXT NOT NULL,
    definition TEXT NOT NULL, policy TEXT NOT NULL, why TEXT NOT NULL, wish TEXT NOT NULL,
    cost_seconds REAL NOT NULL, cost_bytes REAL NOT NULL, cost_downtime REAL NOT NULL,
    state TEXT NOT NULL, cancel INTEGER NOT NULL, uri TEXT NOT NULL,
    created REAL NOT NULL, changed REAL NOT NULL,
    outcome TEXT NOT NULL, error TEXT NOT NULL, bytes REAL NOT NULL,
    downtime REAL, total_time REAL
) STRICT;
-- Whatever the program believes: one migration at a time may have a VM.
CREATE UNIQUE INDEX one_holds_the_vm ON migrations (vm)
    WHERE state IN ('planned', 'preparing', 'starting', 'watching', 'unknown');
CREATE INDEX migrations_by_age ON migrations (created);
CREATE INDEX migrations_open ON migrations (state) WHERE state <> 'closed';
CREATE TABLE steps (
    migration TEXT NOT NULL REFERENCES migrations (id) ON DELETE CASCADE,
    time REAL NOT NULL, state TEXT NOT NULL, note TEXT NOT NULL
) STRICT;
CREATE INDEX steps_of ON steps (migration);
CREATE TABLE history (
    time REAL NOT NULL, what TEXT NOT NULL, id TEXT NOT NULL, vm TEXT NOT NULL,
    source TEXT NOT NULL, target TEXT NOT NULL, text TEXT NOT NULL
) STRICT;
CREATE INDEX history_of ON history (vm);
CREATE TABLE plans (id TEXT PRIMARY KEY, time REAL NOT NULL, body TEXT NOT NULL) STRICT;
CREATE TABLE hotspots (id TEXT PRIMARY KEY, time REAL NOT NULL, body TEXT NOT NULL) STRICT;
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
)"};

} // namespace

const std::string_view move_columns =
    "id, vm, source, target, definition, policy, why, wish, cost_seconds, cost_bytes, "
    "cost_downtime, state, cancel, uri, created, changed, outcome, error, bytes, downtime, "
    "total_time";

const std::string_view move_parameters =
    "?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, "
    "iif(?22, ?20, NULL), iif(?23, ?21, NULL)";

const std::string_view move_updates =
    "state = excluded.state, cancel = excluded.cancel, uri = excluded.uri, "
    "changed = excluded.changed, outcome = excluded.outcome, error = excluded.error, "
    "bytes = excluded.bytes, downtime = excluded.downtime, total_time = excluded.total_time";

Status make_schema(sql::Database& database)
{
    auto text = database.ask("PRAGMA user_version");
    if (!text)
        return pass(text);
    size_t present = 0;
    std::from_chars(text->data(), text->data() + text->size(), present);
    if (present > versions.size())
        return fail(ErrorKind::Incompatible,
                    "it was written by a newer drover-balancer (its format is version " + *text +
                        ", the newest that is known here is " + std::to_string(versions.size()) +
                        ")",
                    "update drover-balancer, or give it another journal");
    for (size_t version = present; version < versions.size(); ++version) {
        auto transaction = sql::Transaction::begin(database);
        if (!transaction)
            return pass(transaction);
        if (Status made = database.execute(versions[version]); !made)
            return made;
        if (Status marked = database.execute("PRAGMA user_version=" + std::to_string(version + 1));
            !marked)
            return marked;
        if (Status done = transaction->commit(); !done)
            return done;
    }
    return {};
}

} // namespace drover::balancer::cluster
