// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/disk_aio.h"

#include "vmm/qemu/command_line.h"
#include "vmm/qemu/opts.h"

namespace drover::qemu {

namespace {

constexpr const char* seen = "threads";

bool is_unseen(std::string_view value)
{
    return value == "native" || value == "io_uring";
}

/// "aio", and "file.aio" of a node below.
bool is_aio(std::string_view key)
{
    return key == "aio" || key.ends_with(".aio");
}

/// What cannot be read is for QEMU to refuse.
bool change_text(std::string& argument)
{
    auto opts = Opts::parse(argument, "");
    if (!opts)
        return false;
    bool changed = false;
    for (const Opts::Item& item : opts->items())
        if (is_aio(item.key) && is_unseen(item.value)) {
            opts->set(item.key, seen);
            changed = true;
        }
    if (changed)
        argument = opts->text();
    return changed;
}

bool change_json_text(std::string& argument)
{
    Json json = Json::parse(argument, nullptr, false);
    if (json.is_discarded() || !use_aio_threads(json))
        return false;
    argument = dump_json(json);
    return true;
}

} // namespace

bool use_aio_threads(Json& arguments)
{
    bool changed = false;
    if (arguments.is_object())
        for (auto& [key, value] : arguments.items())
            if (is_aio(key) && value.is_string() && is_unseen(value.get<std::string>())) {
                value = seen;
                changed = true;
            }
    if (arguments.is_structured())
        for (Json& member : arguments)
            changed = use_aio_threads(member) || changed;
    return changed;
}

bool use_aio_threads(CommandLine& line)
{
    bool changed = false;
    for (Word& word : line.words()) {
        if (!word.argument || !(word.is("drive") || word.is("blockdev") || word.is("set")))
            continue;
        const bool json = word.argument->starts_with('{');
        changed =
            (json ? change_json_text(*word.argument) : change_text(*word.argument)) || changed;
    }
    return changed;
}

} // namespace drover::qemu
