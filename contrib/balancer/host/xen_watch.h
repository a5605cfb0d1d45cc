// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/host/measure/xen_facts.h"
#include "util/fd.h"
#include "util/loop.h"

#include <functional>
#include <gio/gio.h>

namespace drover::balancer {

/// Whether this is Dom0 of a Xen host on which droverd can do something: drover-xen is there.
[[nodiscard]] bool is_xen_host();

/// Runs xl in the background; what goes wrong is in the log.
void run_xl_later(std::vector<std::string> words);

/// Such entries of the configuration's `adopt` are of domains' names.
inline constexpr std::string_view xen_pattern = "xen:";

/// `drover-xen watch`, started and, if it ends, started again; what it told last. A process that
/// calls Xen for us: droverd itself needs nothing of Xen's. Loop thread only.
class XenWatcher {
public:
    /// `told`: there are new facts; `lost`: there are none until then.
    XenWatcher(std::string program, std::function<void()> told, std::function<void()> lost);
    ~XenWatcher();
    XenWatcher(const XenWatcher&) = delete;
    XenWatcher& operator=(const XenWatcher&) = delete;

    /// Waits for the first facts, so that what is found again is judged by what Xen says; for ten
    /// seconds at most.
    void await_first();

    /// Null: nothing is known.
    [[nodiscard]] const XenFacts* facts() const { return facts_ ? &*facts_ : nullptr; }
    /// How often it has told. What is asked for now is told, at the latest, two times later: one
    /// may be on its way.
    [[nodiscard]] uint64_t told_times() const { return told_times_; }
    /// New facts, sooner than by themselves.
    void ask();

private:
    void start();
    void read_lines();
    void take_line(std::string_view line);
    void ended();

    std::string program_;
    std::function<void()> told_;
    std::function<void()> lost_;
    GSubprocess* process_ = nullptr;
    UniqueFd output_;
    loop::Source watch_;
    loop::Source retry_;
    std::string text_; ///< of a line that is not whole yet
    std::optional<XenFacts> facts_;
    uint64_t told_times_ = 0;
    bool silent_ = false; ///< that it does not tell was said
};

} // namespace drover::balancer
