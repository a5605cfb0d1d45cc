// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/config_file.h"

#include "vmm/qemu/opts.h"

#include <algorithm>
#include <array>
#include <optional>

namespace drover::qemu {

namespace {

/// One [group "id"] with its key = "value" lines, in the form of an option's argument.
struct Section {
    std::string group;
    std::string id;
    std::string options;
};

struct Group {
    std::string_view name;
    std::string_view option; ///< empty: of the same name
};

/// The groups of which [group] and -option mean the same, key by key.
constexpr auto known_groups = std::to_array<Group>({
    {"accel", ""},
    {"acpi", "acpitable"},
    {"action", ""},
    {"add-fd", ""},
    {"boot-opts", "boot"},
    {"chardev", ""},
    {"device", ""},
    {"drive", ""},
    {"fsdev", ""},
    {"fw_cfg", ""},
    {"global", ""},
    {"icount", ""},
    {"iscsi", ""},
    {"machine", ""},
    {"memory", "m"},
    {"mon", ""},
    {"msg", ""},
    {"name", ""},
    {"netdev", ""},
    {"numa", ""},
    {"object", ""},
    {"option-rom", ""},
    {"overcommit", ""},
    {"rtc", ""},
    {"sandbox", ""},
    {"smp-opts", "smp"},
    {"spice", ""},
    {"tpmdev", ""},
    {"trace", ""},
    {"vnc", ""},
    {"semihosting-config", ""},
});

std::string_view trim(std::string_view text)
{
    const size_t first = text.find_first_not_of(" \t\r");
    if (first == std::string_view::npos)
        return {};
    return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

/// What is between the first two quotes; nothing where they are missing.
std::optional<std::string_view> quoted(std::string_view text)
{
    const size_t first = text.find('"');
    const size_t last = first == std::string_view::npos ? first : text.find('"', first + 1);
    if (last == std::string_view::npos)
        return std::nullopt;
    return text.substr(first + 1, last - first - 1);
}

/// [group] or [group "id"].
std::optional<Section> read_header(std::string_view line)
{
    const size_t end = line.rfind(']');
    if (end == std::string_view::npos)
        return std::nullopt;
    const std::string_view inside = line.substr(1, end - 1);
    Section section;
    section.group = trim(inside.substr(0, inside.find_first_of(" \t\"")));
    if (inside.find('"') != std::string_view::npos) {
        const auto id = quoted(inside);
        if (!id || id->empty())
            return std::nullopt;
        section.id = *id;
    }
    return section;
}

/// key = "value"
bool read_setting(std::string_view line, Section& section)
{
    const size_t equals = line.find('=');
    if (equals == std::string_view::npos)
        return false;
    const std::string_view key = trim(line.substr(0, equals));
    const auto value = quoted(line.substr(equals + 1));
    if (!value || key.empty() || key.find_first_of(", \t") != std::string_view::npos)
        return false;
    section.options +=
        (section.options.empty() ? "" : ",") + std::string(key) + "=" + escape_commas(*value);
    return true;
}

/// Nothing where a line is none of the syntax that QEMU documents.
std::optional<std::vector<Section>> read_sections(std::string_view text)
{
    std::vector<Section> sections;
    for (size_t start = 0; start < text.size();) {
        const size_t end = std::min(text.find('\n', start), text.size());
        const std::string_view line = trim(text.substr(start, end - start));
        start = end + 1;
        if (line.empty() || line.starts_with('#'))
            continue;
        if (line.starts_with('[')) {
            auto section = read_header(line);
            if (!section)
                return std::nullopt;
            sections.push_back(std::move(*section));
        } else if (sections.empty() || !read_setting(line, sections.back())) {
            return std::nullopt;
        }
    }
    return sections;
}

/// The option that means what the section means.
std::optional<Word> word_of(const Section& section)
{
    const auto* group = std::ranges::find(known_groups, section.group, &Group::name);
    if (group == known_groups.end())
        return std::nullopt;
    std::string text = section.options;
    if (!section.id.empty())
        text += (text.empty() ? "id=" : ",id=") + escape_commas(section.id);
    return Word{std::string(group->option.empty() ? group->name : group->option), std::move(text)};
}

/// Whether a text that Drover does not understand may set up what Drover must see.
bool may_concern_drover(std::string_view text)
{
    return std::ranges::any_of(
        std::to_array<std::string_view>({"[memory", "[mon", "memory-backend", "memdev"}),
        [&](std::string_view sign) { return text.find(sign) != std::string_view::npos; });
}

std::unexpected<Error> cannot_expand(const std::string& path, const std::string& why)
{
    return fail(ErrorKind::Invalid, "-readconfig " + path + ": " + why,
                "write on the command line what it says");
}

/// The words to stand for the file; the -readconfig itself where it is to stay.
Result<std::vector<Word>> expand(const Word& word, const HostFacts& host)
{
    const std::string& path = word.text();
    const PathKind kind = host.path_kind(path);
    const auto text = kind == PathKind::Directory || kind == PathKind::Missing
                          ? std::nullopt
                          : host.read_file(path);
    if (!text)
        return std::vector{word};
    std::vector<Word> words;
    std::string unknown;
    const auto sections = read_sections(*text);
    for (const Section& section : sections.value_or(std::vector<Section>{})) {
        if (auto option = word_of(section))
            words.push_back(std::move(*option));
        else
            unknown = section.group;
    }
    if (sections && unknown.empty())
        return words;
    const std::string why = sections ? "Drover does not know its section [" + unknown + "]"
                                     : "it has a line that Drover cannot read";
    if (kind != PathKind::File)
        return cannot_expand(path, why);
    if (may_concern_drover(*text))
        return cannot_expand(path, why + ", and it sets up memory or a monitor");
    return std::vector{word};
}

} // namespace

Status expand_config_files(CommandLine& line, const HostFacts& host)
{
    std::vector<Word> words;
    for (Word& word : line.words()) {
        if (!word.is("readconfig")) {
            words.push_back(std::move(word));
            continue;
        }
        auto expanded = expand(word, host);
        if (!expanded)
            return pass(expanded);
        std::ranges::move(*expanded, std::back_inserter(words));
    }
    line.words() = std::move(words);
    return {};
}

} // namespace drover::qemu
