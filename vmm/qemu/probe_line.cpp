// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/command_line.h"

#include "vmm/qemu/option_table.h"

#include <algorithm>

namespace drover::qemu {

namespace {

bool asks_for_help(std::string_view argument)
{
    if (argument.starts_with('{'))
        return false;
    size_t start = 0;
    while (start <= argument.size()) {
        const size_t end = std::min(argument.find(',', start), argument.size());
        const std::string_view part = argument.substr(start, end - start);
        if (part == "help" || part == "?")
            return true;
        start = end + 1;
    }
    return false;
}

bool prints_and_exits(const Word& word)
{
    if (word.is("h") || word.is("help") || word.is("version") || word.is("audio-help") ||
        word.is("dump-vmstate"))
        return true;
    return option_has_help(word.name) && asks_for_help(word.text());
}

} // namespace

bool is_probe_line(const CommandLine& line)
{
    return line.machine_property("type") == "none" ||
           std::ranges::any_of(line.words(), prints_and_exits);
}

} // namespace drover::qemu
