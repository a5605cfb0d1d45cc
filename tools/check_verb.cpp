// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/fleet_link.h"
#include "tools/fleet_views.h"
#include "tools/verbs.h"
#include "util/log.h"

#include <cstdio>
#include <unistd.h>

namespace drover::tools {

namespace {

/// Scripts must not take "nobody knows" for "it cannot".
constexpr int exit_unknown = 3;
constexpr std::chrono::seconds check_limit{30};  ///< a destination answers within 10
constexpr std::chrono::seconds fleet_limit{180}; ///< it has to be started first

struct CheckedGuest {
    std::string vm;   ///< its QMP socket, or its name in the fleet
    std::string host; ///< a migration address, or the name of a host of the fleet
    bool in_fleet = false;
};

/// "WHAT (REMEDY)" of each, a line each.
void print_findings(const Json& judgement, const char* list, const char* word)
{
    for (const Json& finding : list_in(judgement, list)) {
        const std::string remedy = clean(json_string(finding, "remedy"));
        printf("%s: %s%s\n", word, clean(json_string(finding, "what")).c_str(),
               remedy.empty() ? "" : (" (" + remedy + ")").c_str());
    }
}

/// One question, by either way, and the judgement that is its answer.
class CheckVerb {
public:
    CheckVerb(FleetOptions options, CheckedGuest guest)
        : options_(std::move(options)), guest_(std::move(guest))
    {
    }

    int run()
    {
        limit_ = loop::after(guest_.in_fleet ? fleet_limit : check_limit, [this] {
            give_up({ErrorKind::Refused, "no answer came in time", ""});
        });
        if (guest_.in_fleet)
            link_ = std::make_unique<FleetLink>(
                options_, FleetLink::Callbacks{[this] { ask_balancer(); }, nullptr,
                                               [this](const Error& why) { give_up(why); }});
        else if (Status started = run_.start(
                     guest_.vm, [](const Json&) {}, [this] { ask_guest(); });
                 !started)
            give_up(started.error());
        const int code = run_.run();
        return answered_ ? code : exit_unknown;
    }

private:
    void ask_balancer()
    {
        link_->client().execute("check-migration", {{"vm", guest_.vm}, {"host", guest_.host}},
                                [this](const Result<Json>& answer) { take(answer); });
    }

    void ask_guest()
    {
        run_.client().execute("query-migrate-forecast", {{"uri", guest_.host}, {"check", true}},
                              [this](const Result<Json>& answer) { take(answer); });
    }

    void take(const Result<Json>& answer)
    {
        if (!answer)
            return give_up(answer.error());
        if (!answer->contains("can-go"))
            return give_up({ErrorKind::Protocol, "it was not said whether the guest can go",
                            "use the same release of Drover on all hosts"});
        const bool can = json_bool(*answer, "can-go");
        if (options_.json)
            printf("%s\n", dump_json(*answer, isatty(STDOUT_FILENO) != 0).c_str());
        else
            print(*answer, can);
        answered_ = true;
        run_.end(can ? exit_done : exit_failed);
    }

    static void print(const Json& judgement, bool can)
    {
        print_findings(judgement, "blocks", "blocks");
        print_findings(judgement, "warnings", "changes");
        const bool translated = json_string(judgement, "state-form") == "neutral";
        printf("%s\n", !can         ? "the guest cannot go there"
                       : translated ? "the guest can go there; its devices are translated"
                                    : "the guest can go there");
    }

    void give_up(const Error& why)
    {
        log::error(why.text());
        run_.end(exit_unknown);
    }

    FleetOptions options_;
    CheckedGuest guest_;
    ToolRun run_;
    std::unique_ptr<FleetLink> link_;
    loop::Source limit_;
    bool answered_ = false;
};

} // namespace

Result<int> run_check_migration(Words words)
{
    auto options = parse_fleet_options(words);
    if (!options)
        return pass(options);
    if (options->plain.size() != 2)
        return fail(ErrorKind::Invalid,
                    "a guest (its socket, or its name in the fleet) and where it is to go are "
                    "needed");
    CheckedGuest guest{.vm = options->plain[0], .host = options->plain[1]};
    // As with migrate: a VM's name has neither, and a host's no colon.
    guest.in_fleet = guest.vm.find_first_of("/:") == std::string::npos;
    if (guest.in_fleet == (guest.host.find(':') != std::string::npos))
        return fail(ErrorKind::Invalid, guest.in_fleet
                                            ? "a VM of the fleet goes to a host of the fleet"
                                            : "a guest at a socket goes to a migration address");
    return CheckVerb(std::move(*options), std::move(guest)).run();
}

} // namespace drover::tools
