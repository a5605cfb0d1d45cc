// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/verbs.h"

#include <cstdio>
#include <unistd.h>

namespace drover::tools {

namespace {

struct QmpOptions {
    std::string where;
    std::string command; ///< empty: none, only wait
    Json arguments = Json::object();
    std::string event; ///< empty: do not wait
    std::vector<std::pair<std::string, std::string>> matches;
    std::optional<std::chrono::milliseconds> timeout;
};

Result<Json> parse_arguments(const std::string& text)
{
    auto arguments = parse_json(text);
    if (!arguments)
        return std::unexpected(std::move(arguments.error()).in("the arguments of the command"));
    if (!arguments->is_object())
        return fail(ErrorKind::Invalid, "the arguments of the command are not a JSON object",
                    R"(write for example '{"uri":"tcp:host:4444"}')");
    return arguments;
}

Status read_option(const std::string& option, Words& words, QmpOptions& options)
{
    auto value = words.take_value(option);
    if (!value)
        return pass(value);
    if (option == "--wait-event") {
        options.event = *value;
    } else if (option == "--match") {
        const size_t equals = value->find('=');
        if (equals == value->npos)
            return fail(ErrorKind::Invalid, "--match " + *value + " has no '='",
                        "write for example --match status=completed");
        options.matches.emplace_back(value->substr(0, equals), value->substr(equals + 1));
    } else if (option == "--timeout") {
        auto timeout = parse_seconds(option, *value);
        if (!timeout)
            return pass(timeout);
        options.timeout = *timeout;
    } else {
        return fail(ErrorKind::Invalid, "unknown option " + option);
    }
    return {};
}

Result<QmpOptions> parse_qmp_options(Words words)
{
    QmpOptions options;
    std::vector<std::string> plain;
    while (!words.empty()) {
        const bool is_option = words.next_is_option();
        std::string word = words.take();
        if (!is_option)
            plain.push_back(std::move(word));
        else if (Status read = read_option(word, words, options); !read)
            return pass(read);
    }
    if (plain.empty() || plain.size() > 3 || (plain.size() == 1 && options.event.empty()))
        return fail(ErrorKind::Invalid, "a socket, and a command or an event, are needed");
    options.where = plain[0];
    if (plain.size() > 1)
        options.command = plain[1];
    if (plain.size() > 2) {
        auto arguments = parse_arguments(plain[2]);
        if (!arguments)
            return pass(arguments);
        options.arguments = std::move(*arguments);
    }
    return options;
}

void print(const Json& value)
{
    printf("%s\n", dump_json(value, isatty(STDOUT_FILENO) != 0).c_str());
    fflush(stdout); // a script may read it while we wait for an event
}

bool matches(const Json& event, const QmpOptions& options)
{
    if (json_string(event, "event") != options.event)
        return false;
    const auto data = event.find("data");
    for (const auto& [key, wanted] : options.matches) {
        if (data == event.end() || !data->is_object() || !data->contains(key))
            return false;
        const Json& value = (*data)[key];
        if ((value.is_string() ? value.get<std::string>() : dump_json(value)) != wanted)
            return false;
    }
    return true;
}

class QmpVerb {
public:
    explicit QmpVerb(QmpOptions options) : options_(std::move(options)) {}

    int run()
    {
        const Status started = run_.start(
            options_.where, [this](const Json& event) { take_event(event); },
            [this] { execute(); });
        if (!started)
            run_.fail(started.error());
        if (options_.timeout)
            timer_ = loop::after(*options_.timeout, [this] { time_out(); });
        return run_.run();
    }

private:
    void execute()
    {
        if (options_.command.empty())
            return;
        run_.client().execute(options_.command, options_.arguments,
                              [this](const Result<Json>& reply) {
                                  if (!reply)
                                      return run_.fail(reply.error());
                                  print(*reply);
                                  replied_ = true;
                                  end_if_done();
                              });
    }

    /// The event may come before the command's reply; it is printed after it.
    void take_event(const Json& event)
    {
        if (event_ || options_.event.empty() || !matches(event, options_))
            return;
        event_ = event;
        end_if_done();
    }

    void end_if_done()
    {
        if ((!options_.command.empty() && !replied_) || (!options_.event.empty() && !event_))
            return;
        if (event_)
            print(*event_);
        run_.end(exit_done);
    }

    void time_out()
    {
        if (!run_.ready())
            return run_.fail(monitor_is_silent());
        const bool waits_for_reply = !options_.command.empty() && !replied_;
        run_.fail({ErrorKind::Refused,
                   "no " +
                       (waits_for_reply ? "reply to " + options_.command
                                        : "such event " + options_.event) +
                       " in time",
                   {}});
    }

    QmpOptions options_;
    ToolRun run_;
    loop::Source timer_;
    bool replied_ = false;
    std::optional<Json> event_;
};

} // namespace

Result<int> run_qmp(Words words)
{
    auto options = parse_qmp_options(words);
    if (!options)
        return pass(options);
    return QmpVerb(std::move(*options)).run();
}

} // namespace drover::tools
