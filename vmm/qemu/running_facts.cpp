// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/running_facts.h"

#include "util/fd.h"
#include "vmm/qemu/qmp_sequence.h"

#include <filesystem>

namespace drover::qemu {

namespace {

/// What the process's descriptors are open on. What came by a way that we do not know (descriptors
/// that were handed over, legacy options) is seen here too.
std::vector<std::string> open_files(pid_t pid)
{
    namespace fs = std::filesystem;
    std::vector<std::string> files;
    std::error_code error;
    const fs::directory_iterator directory("/proc/" + std::to_string(pid) + "/fd", error);
    for (fs::directory_iterator at = directory; !error && at != fs::directory_iterator();
         at.increment(error)) {
        std::error_code gone; // it may be closed meanwhile
        const fs::path target = fs::read_symlink(at->path(), gone);
        if (!gone)
            files.push_back(target.string());
    }
    return files;
}

Json joined(Json list, const Json& more)
{
    if (!list.is_array())
        list = Json::array();
    if (more.is_array())
        list.insert(list.end(), more.begin(), more.end());
    return list;
}

Json list_or_none(Json value)
{
    return value.is_array() ? std::move(value) : Json::array();
}

} // namespace

void ask_running(QmpClient& qmp, pid_t pid, std::function<void(Result<RunningFacts>)> done)
{
    std::vector<QmpStep> steps;
    steps.push_back({"query-memdev"});
    steps.push_back({"query-named-block-nodes", Json{{"flat", true}}});
    steps.push_back({"query-block"});
    steps.push_back({"qom-list", Json{{"path", "/machine/peripheral"}}});
    steps.push_back({"qom-list", Json{{"path", "/machine/peripheral-anon"}}});
    steps.push_back({"human-monitor-command", Json{{"command-line", "info network"}}});
    steps.push_back({"query-migrate"});
    run_sequence(
        qmp, std::move(steps), [] { return true; },
        [pid, done = std::move(done)](Result<std::vector<Json>> answers) {
            if (!answers)
                return done(pass(answers));
            std::vector<Json>& a = *answers;
            RunningFacts facts;
            facts.memdevs = list_or_none(std::move(a[0]));
            facts.nodes = list_or_none(std::move(a[1]));
            facts.blocks = list_or_none(std::move(a[2]));
            facts.devices = joined(std::move(a[3]), a[4]);
            facts.network = a[5].is_string() ? a[5].get<std::string>() : "";
            facts.migration = std::move(a[6]);
            facts.files = open_files(pid);
            const auto maps = read_file("/proc/" + std::to_string(pid) + "/maps");
            facts.linux_aio = maps && maps->find(" /[aio]") != std::string::npos;
            done(std::move(facts));
        });
}

} // namespace drover::qemu
