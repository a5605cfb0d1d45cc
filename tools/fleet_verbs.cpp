// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/fleet_link.h"
#include "tools/fleet_views.h"
#include "tools/verbs.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <unistd.h>

namespace drover::tools {

namespace {

/// What a verb asks the balancer, and how it shows the answer.
struct Question {
    std::string command;
    Json arguments = Json::object();
    std::string (*show)(const Json& answer, const FleetView& view) = nullptr;
};

/// One question, one answer.
class AskingVerb {
public:
    AskingVerb(FleetOptions options, Question question)
        : options_(std::move(options)), question_(std::move(question))
    {
    }

    int run()
    {
        link_ = std::make_unique<FleetLink>(
            options_, FleetLink::Callbacks{[this] { ask(); }, nullptr,
                                           [this](const Error& why) { run_.fail(why); }});
        return run_.run();
    }

private:
    void ask()
    {
        link_->client().execute(question_.command, question_.arguments,
                                [this](const Result<Json>& answer) {
                                    if (!answer)
                                        return run_.fail(answer.error());
                                    print(*answer);
                                    run_.end(exit_done);
                                });
    }

    void print(const Json& answer) const
    {
        if (options_.json)
            printf("%s\n", dump_json(answer, isatty(STDOUT_FILENO) != 0).c_str());
        else
            fputs(question_.show(answer, view_of_stdout(options_.colour)).c_str(), stdout);
    }

    FleetOptions options_;
    Question question_;
    ToolRun run_;
    std::unique_ptr<FleetLink> link_;
};

/// Asks, if there are as many plain words as the verb takes.
Result<int> ask(Result<FleetOptions>& options, size_t least, size_t most, const char* needed,
                Question (*question)(const FleetOptions&))
{
    if (!options)
        return pass(options);
    const size_t count = options->plain.size();
    if (count < least || count > most)
        return fail(ErrorKind::Invalid, needed);
    Question asked = question(*options);
    return AskingVerb(std::move(*options), std::move(asked)).run();
}

std::string show_id(const Json& answer, const FleetView&)
{
    const std::string id = text_in(answer, "id");
    return "migration " + id + " is ordered; look at it with: drover explain " + id + "\n";
}

std::string show_moves(const Json& answer, const FleetView&)
{
    std::string text;
    for (const Json& id : list_in(answer, "moves"))
        text += (text.empty() ? "" : ", ") + (id.is_string() ? clean(id.get<std::string>()) : "?");
    text = text.empty() ? "" : "ordered: " + text + "\n";
    for (const Json& guest : list_in(answer, "remaining"))
        text += clean(json_string(guest, "vm")) + ": " + clean(json_string(guest, "why")) + "\n";
    return text.empty() ? "no guest has to move\n" : text;
}

std::string show_explanation(const Json& answer, const FleetView&)
{
    std::string text = clean(json_string(answer, "text"), true);
    if (!text.ends_with('\n'))
        text += '\n';
    return text;
}

std::string show_done(const Json&, const FleetView&)
{
    return "done\n";
}

std::string show_mode(const Json& status, const FleetView&)
{
    return text_in(status, "mode") + "\n";
}

} // namespace

Result<int> run_hosts(Words words)
{
    auto options = parse_fleet_options(words);
    return ask(options, 0, 0, "it takes no words", [](const FleetOptions&) {
        return Question{"query-hosts", Json::object(), show_hosts};
    });
}

Result<int> run_vms(Words words)
{
    auto options = parse_fleet_options(words);
    return ask(options, 0, 0, "it takes no words", [](const FleetOptions&) {
        return Question{"query-vms", Json::object(), show_vms};
    });
}

Result<int> run_plan(Words words)
{
    auto options = parse_fleet_options(words);
    return ask(options, 0, 0, "it takes no words", [](const FleetOptions&) {
        return Question{"query-plan", Json::object(), show_plan};
    });
}

Result<int> run_explain(Words words)
{
    auto options = parse_fleet_options(words);
    return ask(options, 1, 1, "the ID of a hotspot, plan or migration is needed",
               [](const FleetOptions& given) {
                   return Question{"explain", {{"id", given.plain[0]}}, show_explanation};
               });
}

Result<int> run_approve(Words words)
{
    auto options = parse_fleet_options(words);
    return ask(options, 1, 1, "the ID of a plan or of one of its moves is needed",
               [](const FleetOptions& given) {
                   return Question{"approve", {{"id", given.plain[0]}}, show_done};
               });
}

Result<int> run_cancel(Words words)
{
    auto options = parse_fleet_options(words);
    return ask(options, 1, 1, "the ID of a migration is needed", [](const FleetOptions& given) {
        return Question{"cancel", {{"id", given.plain[0]}}, show_done};
    });
}

Result<int> run_fleet_migrate(Words words)
{
    auto options = parse_fleet_options(words);
    return ask(options, 1, 2, "the name of a VM is needed, and perhaps that of a host",
               [](const FleetOptions& given) {
                   Json arguments = {{"vm", given.plain[0]}};
                   if (given.plain.size() > 1)
                       arguments["host"] = given.plain[1];
                   return Question{"migrate", std::move(arguments), show_id};
               });
}

Result<int> run_evacuate(Words words)
{
    auto options = parse_fleet_options(words, {"--cancel"});
    return ask(options, 1, 1, "the name of a host is needed", [](const FleetOptions& given) {
        Json arguments = {{"host", given.plain[0]}};
        if (!own_option(given, "--cancel"))
            return Question{"evacuate", std::move(arguments), show_moves};
        arguments["cancel"] = true;
        return Question{"evacuate", std::move(arguments), show_done};
    });
}

Result<int> run_history(Words words)
{
    auto options = parse_fleet_options(words, {"--limit=", "--vm="});
    if (options) {
        const std::string limit = own_option(*options, "--limit").value_or("1");
        unsigned number = 0;
        const char* end = limit.data() + limit.size();
        const auto [rest, error] = std::from_chars(limit.data(), end, number);
        if (error != std::errc{} || rest != end || number == 0)
            return fail(ErrorKind::Invalid, "--limit: '" + limit + "' is not a number of entries");
    }
    return ask(options, 0, 0, "it takes no words", [](const FleetOptions& given) {
        Json arguments = Json::object();
        if (const auto limit = own_option(given, "--limit"))
            arguments["limit"] = std::stoul(*limit);
        if (const auto vm = own_option(given, "--vm"))
            arguments["vm"] = *vm;
        return Question{"query-history", std::move(arguments), show_history};
    });
}

Result<int> run_mode(Words words)
{
    auto options = parse_fleet_options(words);
    return ask(options, 0, 1, "at most one mode: off, recommend or automatic",
               [](const FleetOptions& given) {
                   if (given.plain.empty())
                       return Question{"query-status", Json::object(), show_mode};
                   return Question{"set-mode", {{"mode", given.plain[0]}}, show_done};
               });
}

bool is_fleet_migrate(Words words)
{
    std::vector<std::string> plain;
    while (!words.empty()) {
        const bool is_option = words.next_is_option();
        const std::string word = words.take();
        if (!is_option)
            plain.push_back(word);
        else if (word.starts_with("--tls-") || word == "--balancer")
            return true;
        else if (word != "--json" && !words.empty())
            words.take();
    }
    if (plain.empty())
        return false;
    // A VM's name has neither, and a host's no colon.
    return plain[0].find_first_of("/:") == std::string::npos &&
           (plain.size() < 2 || !plain[1].contains(':'));
}

} // namespace drover::tools
