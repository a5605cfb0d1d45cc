// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/config_file.h"

namespace drover::qemu {

namespace {

std::string_view trim(std::string_view text)
{
    const size_t first = text.find_first_not_of(" \t\r\"");
    if (first == std::string_view::npos)
        return {};
    return text.substr(first, text.find_last_not_of(" \t\r\"") - first + 1);
}

/// Whether `key = value` in [section] belongs on the command line; an empty key asks for the
/// section as such.
bool concerns_drover(std::string_view section, std::string_view key, std::string_view value)
{
    if (key.empty())
        return section == "memory" || section == "mon";
    if (section == "object")
        return key == "qom-type" && value.starts_with("memory-backend");
    return (section == "machine" && key == "memory-backend") ||
           (section == "numa" && key == "memdev");
}

Status check_config_text(std::string_view path, std::string_view text)
{
    std::string section;
    for (size_t start = 0; start < text.size();) {
        const size_t end = std::min(text.find('\n', start), text.size());
        const std::string_view line = trim(text.substr(start, end - start));
        start = end + 1;
        std::string_view key;
        std::string_view value;
        if (line.starts_with('[')) {
            section = line.substr(1, line.find_first_of(" ]") - 1);
        } else if (const size_t equals = line.find('='); equals != std::string_view::npos) {
            key = trim(line.substr(0, equals));
            value = trim(line.substr(equals + 1));
        } else {
            continue;
        }
        if (concerns_drover(section, key, value))
            return fail(ErrorKind::Invalid,
                        "-readconfig " + std::string(path) + ": its section [" + section +
                            "] sets up memory or a monitor, which Drover must do",
                        "move it to the command line");
    }
    return {};
}

} // namespace

Status check_config_files(const CommandLine& line, const HostFacts& host)
{
    for (const Word& word : line.words()) {
        // Reading a pipe would take its contents from QEMU.
        if (!word.is("readconfig") || host.path_kind(word.text()) != PathKind::File)
            continue;
        if (const auto text = host.read_file(word.text()))
            if (auto status = check_config_text(word.text(), *text); !status)
                return status;
    }
    return {};
}

} // namespace drover::qemu
