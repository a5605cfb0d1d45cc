// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/cluster/move_record.h"
#include "contrib/balancer/cluster/sqlite.h"
#include "contrib/balancer/cluster/time_source.h"

#include <optional>
#include <string>
#include <vector>

namespace drover::balancer::cluster {

/// Something that happened, for those who ask later.
struct HistoryEntry {
    double time = 0;  ///< wall clock
    std::string what; ///< "migration", "hotspot", "plan", "mode", "host", …
    std::string id;   ///< of the migration, hotspot or plan; may be empty
    std::string vm;   ///< these three may be empty
    std::string from;
    std::string to;
    std::string text;
};

struct KeptHotspot {
    Json body;
    HistoryEntry entry; ///< its ID is the hotspot's
};

/// What the balancer must not forget, in a SQLite database (WAL; each step is on the disk before
/// the call returns). One process has it at a time. A write that fails changes nothing and says
/// why; the next one tries again. Loop thread only.
class Journal : public MoveLog {
public:
    /// A file that is no sound database is set aside as PATH.broken-TIME, never deleted, and a new
    /// one is begun: notice() says so. One of a newer Drover (Incompatible), or that another
    /// process has (Refused), is left alone.
    [[nodiscard]] static Result<std::unique_ptr<Journal>> open(const std::string& path,
                                                               const TimeSource& time);

    /// One whose file could not be opened yet: every write fails until mend() has opened it.
    [[nodiscard]] static std::unique_ptr<Journal>
    unopened(const std::string& path, const TimeSource& time, const Error& why);

    [[nodiscard]] Status add(const MoveRecord& record) override;
    [[nodiscard]] Status step(const MoveRecord& record, const std::string& note) override;

    /// Those that are not closed, oldest first.
    [[nodiscard]] Result<std::vector<MoveRecord>> open_moves();
    /// The latest first; of one VM, or (empty) of all.
    [[nodiscard]] Result<std::vector<MoveRecord>> latest_moves(int limit, const std::string& vm);
    /// Nothing if there is none of that ID.
    [[nodiscard]] Result<std::optional<MoveRecord>> find_move(const std::string& id);
    /// The steps of one: "STATE: note", with their wall clock, oldest first.
    struct Step {
        double time = 0;
        std::string state;
        std::string note;
    };
    [[nodiscard]] Result<std::vector<Step>> steps(const std::string& migration);

    [[nodiscard]] Status note(const HistoryEntry& entry);
    /// The latest first.
    [[nodiscard]] Result<std::vector<HistoryEntry>> history(int limit, const std::string& vm);

    /// A plan as people are shown it, or a hotspot; replaces what was kept under its ID.
    [[nodiscard]] Status keep_plan(const std::string& id, const Json& plan);
    /// All or none of them, each with its line in the history.
    [[nodiscard]] Status keep_hotspots(const std::vector<KeptHotspot>& hotspots);
    /// Null if there is none of that ID.
    [[nodiscard]] Result<Json> plan(const std::string& id);
    [[nodiscard]] Result<Json> hotspot(const std::string& id);

    /// A small thing of a name; empty if it was never set.
    [[nodiscard]] Status set(const std::string& name, const std::string& value);
    [[nodiscard]] Result<std::string> get(const std::string& name);

    /// Drops what is older than people ask for: to be called now and then.
    [[nodiscard]] Status prune();

    /// After a write has failed: looks at the file again, sets it aside if it is broken, and writes
    /// `open` (the migrations that are known to be open) into what is there then.
    [[nodiscard]] Status mend(const std::vector<MoveRecord>& open);

    /// Why the latest write failed; empty: it did not.
    [[nodiscard]] const std::string& trouble() const { return trouble_; }
    /// What the user should know of the opening; empty: nothing.
    [[nodiscard]] const std::string& notice() const { return notice_; }
    /// For tests: bounds the file, as a full disk does. In pages of 4 KiB; 0: no bound.
    [[nodiscard]] Status limit_pages(int64_t pages);

private:
    Journal(std::string path, const TimeSource& time) : path_(std::move(path)), time_(time) {}
    [[nodiscard]] Status open_file();
    [[nodiscard]] Status try_open();
    [[nodiscard]] Status prepare_all();
    void close_file();
    [[nodiscard]] Status set_aside(const std::string& why);
    [[nodiscard]] Status write(const std::function<Status()>& what);
    [[nodiscard]] Status put(sql::Statement& statement, const MoveRecord& record);
    [[nodiscard]] Status add_entry(const HistoryEntry& entry);
    [[nodiscard]] Status write_step(const MoveRecord& record, const std::string& text);
    [[nodiscard]] Result<std::vector<MoveRecord>> read_moves(sql::Statement& statement);

    std::string path_;
    const TimeSource& time_;
    std::optional<sql::Database> database_;
    sql::Statement put_move_;
    sql::Statement add_step_;
    sql::Statement add_history_;
    sql::Statement open_moves_;
    sql::Statement latest_moves_;
    sql::Statement find_move_;
    sql::Statement steps_;
    sql::Statement history_;
    std::string trouble_;
    std::string notice_;
    bool corrupt_ = false; // what try_open() found
};

} // namespace drover::balancer::cluster
