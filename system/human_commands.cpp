// SPDX-License-Identifier: GPL-2.0-or-later
#include "system/human_commands.h"

#include <array>
#include <map>
#include <sstream>
#include <vector>

namespace drover {

namespace {

using Words = std::vector<std::string>;

/// QEMU skips blanks and lets a format follow a command ("c/x").
Words split(const std::string& line)
{
    std::istringstream in(line);
    Words words;
    for (std::string word; in >> word;)
        words.push_back(word);
    if (!words.empty())
        words[0] = words[0].substr(0, words[0].find('/'));
    return words;
}

HumanCommand refuse(std::string why)
{
    return {{}, Json::object(), "Error: " + std::move(why)};
}

/// "64k", "5M", "on", "none": as the parameter's present value is.
Json value_of(const std::string& name, const std::string& text, const Json& present)
{
    if (present.is_boolean())
        return text == "on" || text == "true" || text == "yes";
    if (!present.is_number())
        return text;
    size_t end = 0;
    unsigned long long number = 0;
    if (text.empty() || text[0] < '0' || text[0] > '9')
        return text; // QEMU says what is wrong with it
    number = strtoull(text.c_str(), nullptr, 10);
    end = text.find_first_not_of("0123456789");
    std::string suffix = end == text.npos ? "" : text.substr(end);
    if (suffix.empty() && name.find("bandwidth") != name.npos)
        suffix = "M"; // QEMU's unit at this place
    static const std::map<std::string, unsigned> shifts = {
        {"", 0},   {"b", 0},  {"B", 0},  {"k", 10}, {"K", 10}, {"m", 20},
        {"M", 20}, {"g", 30}, {"G", 30}, {"t", 40}, {"T", 40}};
    const auto shift = shifts.find(suffix);
    return shift == shifts.end() ? Json(text) : Json(number << shift->second);
}

HumanCommand migrate(const Words& words)
{
    Json arguments = Json::object();
    for (size_t i = 1; i < words.size(); ++i) {
        if (words[i] == "-d")
            arguments["detach"] = true;
        else if (words[i] == "-r")
            arguments["resume"] = true;
        else if (words[i] == "-b")
            arguments["blk"] = true;
        else if (words[i] == "-i")
            arguments["inc"] = true;
        else
            arguments["uri"] = words[i];
    }
    return {"migrate", std::move(arguments), {}};
}

HumanCommand set_parameter(const Words& words, const Json& parameters)
{
    if (words.size() != 3)
        return refuse("migrate_set_parameter needs a name and a value");
    const auto present = parameters.find(words[1]);
    const Json value =
        value_of(words[1], words[2], present == parameters.end() ? Json() : *present);
    return {"migrate-set-parameters", Json{{words[1], value}}, {}};
}

HumanCommand set_capability(const Words& words)
{
    if (words.size() != 3 || (words[2] != "on" && words[2] != "off"))
        return refuse("migrate_set_capability needs a name, and on or off");
    return {"migrate-set-capabilities",
            Json{{"capabilities",
                  Json::array({Json{{"capability", words[1]}, {"state", words[2] == "on"}}})}},
            {}};
}

/// Words with at most one argument, of this name.
struct Simple {
    const char* word;
    const char* command;
    const char* argument = nullptr;
};
constexpr std::array simple_words = {
    Simple{"q", "quit"},
    Simple{"quit", "quit"},
    Simple{"c", "cont"},
    Simple{"cont", "cont"},
    Simple{"s", "stop"},
    Simple{"stop", "stop"},
    Simple{"migrate_cancel", "migrate_cancel"},
    Simple{"migrate_continue", "migrate-continue", "state"},
    Simple{"migrate_incoming", "migrate-incoming", "uri"},
    Simple{"migrate_start_postcopy", "migrate-start-postcopy"},
    Simple{"migrate_pause", "migrate-pause"},
    Simple{"migrate_recover", "migrate-recover", "uri"},
};

std::optional<HumanCommand> info(const Words& words)
{
    if (words.size() < 2)
        return std::nullopt;
    if (words[1] == "migrate")
        return HumanCommand{"query-migrate", Json::object(), {}};
    if (words[1] == "migrate_parameters")
        return HumanCommand{"query-migrate-parameters", Json::object(), {}};
    if (words[1] == "migrate_capabilities")
        return HumanCommand{"query-migrate-capabilities", Json::object(), {}};
    return std::nullopt;
}

std::string shown(const Json& value)
{
    if (value.is_string())
        return value.get<std::string>();
    if (value.is_boolean())
        return value.get<bool>() ? "on" : "off";
    return dump_json(value);
}

/// "name: value" lines; what is within an object is named by both.
void add_lines(const Json& object, const std::string& prefix, std::string& text)
{
    for (const auto& [name, value] : object.items()) {
        if (name == "drover")
            continue; // for programs
        if (value.is_object())
            add_lines(value, prefix + name + " ", text);
        else
            text.append(prefix).append(name).append(": ").append(shown(value)).append("\r\n");
    }
}

} // namespace

std::optional<HumanCommand> read_human_command(const std::string& line, const Json& parameters)
{
    const Words words = split(line);
    if (words.empty())
        return std::nullopt;
    const std::string& word = words[0];
    if (word == "info")
        return info(words);
    if (word == "migrate")
        return migrate(words);
    if (word == "migrate_set_parameter")
        return set_parameter(words, parameters);
    if (word == "migrate_set_capability")
        return set_capability(words);
    for (const Simple& simple : simple_words) {
        if (word != simple.word)
            continue;
        Json arguments = Json::object();
        if (simple.argument && words.size() > 1)
            arguments[simple.argument] = words[1];
        return HumanCommand{simple.command, std::move(arguments), {}};
    }
    if (word.starts_with("migrate"))
        return refuse("HMP's " + word + " would go past Drover: use the QMP command instead");
    return std::nullopt;
}

std::string human_answer(const std::string& command, const Json& response)
{
    if (const auto error = response.find("error"); error != response.end())
        return "Error: " + json_string(*error, "desc") + "\r\n";
    const auto value = response.find("return");
    std::string text;
    if (!command.starts_with("query-") || value == response.end())
        return text;
    if (command == "query-migrate-capabilities") {
        for (const Json& item : *value)
            text += json_string(item, "capability") +
                    (json_bool(item, "state") ? ": on\r\n" : ": off\r\n");
        return text;
    }
    if (value->contains("status"))
        text = "Migration status: " + json_string(*value, "status") + "\r\n";
    add_lines(*value, "", text);
    return text;
}

} // namespace drover
