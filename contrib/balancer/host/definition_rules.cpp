// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/definition_rules.h"

#include "contrib/balancer/host/definition_words.h"
#include "vmm/qemu/command_line.h"
#include "vmm/qemu/opts.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <functional>
#include <optional>
#include <ranges>
#include <sys/stat.h>
#include <unistd.h>

namespace drover::balancer {

namespace {

using qemu::CommandLine;
using qemu::Opts;
using qemu::Word;

bool is_among(harmless::Names names, std::string_view name)
{
    return std::ranges::find(names, name) != names.end();
}

/// The last part of "file.driver".
std::string_view last_part(std::string_view key)
{
    return key.substr(key.rfind('.') + 1);
}

/// "guestfwd.0.str", too.
bool is_forbidden(std::string_view key)
{
    for (const auto part : std::views::split(key, '.'))
        if (is_among(harmless::forbidden_keys, std::string_view(part)))
            return true;
    return false;
}

/// Whether `text` is of the form `pattern`, in which "*" stands for anything without a comma.
bool fits_pattern(std::string_view pattern, std::string_view text)
{
    const size_t star = std::min(pattern.find('*'), pattern.size());
    if (!text.starts_with(pattern.substr(0, star)))
        return false;
    if (star == pattern.size())
        return text.size() == star;
    for (size_t at = star; at <= text.size(); ++at) {
        if (fits_pattern(pattern.substr(star + 1), text.substr(at)))
            return true;
        if (at < text.size() && text[at] == ',')
            return false;
    }
    return false;
}

class CommandChecker {
public:
    CommandChecker(const DefinitionRules& rules, const std::string& run) : rules_(rules)
    {
        for (const std::string& directory : rules.directories)
            directories_.push_back(canonical(directory));
        directories_.push_back(canonical(run));
    }

    /// Why an option is not harmless, in words; nothing: it is.
    [[nodiscard]] std::optional<std::string> check(const Word& word) const;

private:
    using Complaint = std::optional<std::string>;
    using Visitor = std::function<Complaint(std::string_view key, const std::string& value)>;

    static std::filesystem::path canonical(const std::string& path)
    {
        std::error_code error;
        auto found = std::filesystem::weakly_canonical(path, error);
        if (error)
            return {};
        return found.has_filename() ? found : found.parent_path(); // "/srv/"
    }

    [[nodiscard]] Complaint check_path(const std::string& path) const;
    [[nodiscard]] Complaint check_file(const std::string& name) const;
    [[nodiscard]] Complaint check_port(const std::string& text) const;
    [[nodiscard]] Complaint check_form(const Word& word, const harmless::Form& form) const;
    [[nodiscard]] Complaint check_item(const Word& word, std::string_view key,
                                       const std::string& value) const;
    [[nodiscard]] static Complaint visit(const std::string& text, std::string_view implied,
                                         const Visitor& visitor);
    [[nodiscard]] static Complaint visit_json(const Json& value, std::string_view key,
                                              const Visitor& visitor);

    const DefinitionRules& rules_;
    std::vector<std::filesystem::path> directories_;
};

/// Symbolic links are followed: what counts is the file that would be opened.
std::optional<std::string> CommandChecker::check_path(const std::string& path) const
{
    if (is_among(harmless::harmless_files, path))
        return {};
    const std::filesystem::path real = canonical(path);
    for (const auto& directory : directories_) {
        const auto [end, rest] = std::ranges::mismatch(directory, real);
        if (!directory.empty() && path.starts_with('/') && end == directory.end())
            return {};
    }
    return "it names " + path + ", outside of the directories for guests";
}

/// A name without a directory is one in the VM's own, where its emulator runs.
std::optional<std::string> CommandChecker::check_file(const std::string& name) const
{
    if (name.find('/') != std::string::npos)
        return check_path(name.starts_with("unix:") ? name.substr(5) : name);
    if (name.find(':') != std::string::npos)
        return "it names " + name + ", which is no file";
    return {};
}

/// -serial and its like: "unix:PATH,server=on".
std::optional<std::string> CommandChecker::check_port(const std::string& text) const
{
    const size_t colon = text.find(':');
    const std::string kind = text.substr(0, colon);
    static constexpr std::array<std::string_view, 7> with_path = {
        "file", "pipe", "unix", "tcp", "telnet", "udp", "websocket"};
    static constexpr std::array<std::string_view, 6> others = {"none", "null",    "vc",
                                                               "pty",  "chardev", "stdio"};
    if (is_among(others, kind))
        return {};
    if (colon == std::string::npos || !is_among(with_path, kind))
        return "it may be a monitor, or a device of the host";
    return visit(text.substr(colon + 1), "path",
                 [this, &kind](std::string_view key, const std::string& value) -> Complaint {
                     if (key == "path" && kind != "file" && kind != "pipe" && kind != "unix")
                         return {}; // an address
                     if (is_forbidden(key))
                         return std::string(key) + " is not for guests";
                     return value.find('/') == std::string::npos ? Complaint() : check_path(value);
                 });
}

std::optional<std::string> CommandChecker::visit_json(const Json& value, std::string_view key,
                                                      const Visitor& visitor)
{
    if (value.is_object()) {
        for (const auto& [name, member] : value.items()) {
            if (member.is_structured() && is_forbidden(name))
                return name + " is not for guests"; // whatever its members are called
            if (auto complaint = visit_json(member, name, visitor))
                return complaint;
        }
        return {};
    }
    if (value.is_array()) {
        for (const Json& member : value)
            if (auto complaint = visit_json(member, key, visitor))
                return complaint;
        return {};
    }
    return visitor(key, value.is_string() ? value.get<std::string>() : value.dump());
}

std::optional<std::string> CommandChecker::visit(const std::string& text, std::string_view implied,
                                                 const Visitor& visitor)
{
    if (text.starts_with('{')) {
        const auto json = parse_json(text);
        return json ? visit_json(*json, implied, visitor) : "it is no JSON";
    }
    const auto opts = Opts::parse(text, implied);
    if (!opts)
        return opts.error().text();
    for (const Opts::Item& item : opts->items())
        if (auto complaint = visitor(item.key, item.value))
            return complaint;
    return {};
}

std::optional<std::string> CommandChecker::check_item(const Word& word, std::string_view key,
                                                      const std::string& value) const
{
    const std::string_view name = last_part(key);
    if (is_forbidden(key) || (word.is("vmm") && name == "path"))
        return std::string(key) + " is not for guests";
    if (name == "net" || name == "ipv6-net")
        return {}; // "10.0.2.0/24"
    if ((name == "script" || name == "downscript") && value != "no" && !value.empty())
        return "it runs " + value;
    const bool block = word.is("drive") || word.is("blockdev");
    if (block && (name == "driver" || name == "format") && !is_among(harmless::formats, value))
        return "it reaches its data by " + value;
    if (word.is("device") && name == "driver" &&
        std::ranges::any_of(harmless::host_devices,
                            [&value](std::string_view start) { return value.starts_with(start); }))
        return "it gives the guest a device of the host, or a file";
    if (word.is("fw_cfg") && (name == "string" || name == "name"))
        return {};
    if (word.is("smbios") && name != "file")
        return {};
    if (name == "file" || name == "filename")
        return check_file(value);
    if (value.find('/') != std::string::npos)
        return check_path(value.starts_with("unix:") ? value.substr(5) : value);
    return {};
}

std::optional<std::string> CommandChecker::check_form(const Word& word,
                                                      const harmless::Form& form) const
{
    bool kind_seen = form.kinds.empty();
    auto complaint = visit(word.text(), form.implied,
                           [&](std::string_view key, const std::string& value) -> Complaint {
                               if (!form.kinds.empty() && key == form.implied) {
                                   kind_seen = true;
                                   if (!is_among(form.kinds, value))
                                       return "it is of the kind " + value;
                               }
                               return check_item(word, key, value);
                           });
    if (!complaint && !kind_seen)
        return "it does not say of which kind it is";
    return complaint;
}

std::optional<std::string> CommandChecker::check(const Word& word) const
{
    const std::string whole =
        "-" + word.name + (word.argument ? " " + *word.argument : std::string());
    for (const std::string& pattern : rules_.allow)
        if (fits_pattern(pattern, whole))
            return {};
    if (is_among(harmless::flags, word.name) || is_among(harmless::free_text, word.name))
        return {};
    if (word.name.empty() || is_among(harmless::files, word.name))
        return word.text().find(',') == std::string::npos ? check_file(word.text())
                                                          : "it has a comma";
    if (word.is("serial") || word.is("parallel") || word.is("debugcon"))
        return check_port(word.text());
    if ((word.is("monitor") || word.is("qmp")) && word.text() == "none")
        return {};
    for (const harmless::Form& form : harmless::forms)
        if (word.is(form.option))
            return check_form(word, form);
    return "it is none of those that are known to be harmless";
}

/// Without -nodefaults there is a monitor in a window, and whoever sees the guest's screen over the
/// network has that, too.
bool may_show_a_monitor(const CommandLine& line)
{
    const Word* monitor = line.find_last("monitor");
    const Word* display = line.find_last("display");
    if (line.has("nodefaults") || (monitor != nullptr && monitor->text() == "none"))
        return false;
    const bool hidden = line.has("nographic") || (display != nullptr && display->text() == "none");
    return !hidden || line.has("vnc") || line.has("spice");
}

} // namespace

Status check_foreign_xen_config(const std::string& file, const DefinitionRules& rules)
{
    if (!rules.check)
        return {};
    std::error_code error;
    const std::filesystem::path real = std::filesystem::canonical(file, error);
    const std::string what = "this host takes no guest with xen-config " + file + ": ";
    if (error)
        return fail(ErrorKind::Refused, what + error.message(),
                    "each Xen host needs that file for xl");
    bool inside = false;
    for (const std::string& name : rules.xen_directories) {
        const std::filesystem::path directory = std::filesystem::canonical(name, error);
        if (!error)
            inside |= std::ranges::mismatch(directory, real).in1 == directory.end();
    }
    if (!inside)
        return fail(ErrorKind::Refused, what + "it is outside of the directories for such files",
                    "if it is meant so: [definitions] xen-directories in its droverd.toml");
    struct stat about = {};
    const bool own = stat(real.c_str(), &about) == 0 && S_ISREG(about.st_mode) &&
                     (about.st_uid == 0 || about.st_uid == geteuid());
    if (!own || (about.st_mode & (S_IWGRP | S_IWOTH)) != 0)
        return fail(ErrorKind::Refused, what + "others than root may write it",
                    "chown root, chmod go-w");
    return {};
}

Status check_foreign_command(const std::vector<std::string>& command, const DefinitionRules& rules,
                             const std::string& run)
{
    if (!rules.check)
        return {};
    const CommandChecker checker(rules, run);
    const CommandLine line = CommandLine::parse(command);
    for (const Word& word : line.words())
        if (const auto complaint = checker.check(word))
            return fail(
                ErrorKind::Refused,
                "this host takes no guest with " + word.dashes + word.name +
                    (word.argument ? " " + *word.argument : "") +
                    " from another host: " + *complaint,
                "if it is meant so: [definitions] directories or allow in its droverd.toml");
    if (may_show_a_monitor(line))
        return fail(ErrorKind::Refused,
                    "this host takes no guest from another host whose screen may show QEMU's "
                    "monitor",
                    "add -nodefaults or -monitor none to its command");
    return {};
}

} // namespace drover::balancer
