// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/inspect.h"
#include "tools/verbs.h"
#include "util/log.h"
#include "vmm/xen/state/xen_state.h"

#include <cstdio>

namespace drover::tools {

namespace {

constexpr size_t longest_shown_value = 100; // characters; --json has all

Result<InspectOptions> inspect_options(Words words)
{
    InspectOptions options;
    while (!words.empty()) {
        const std::string word = words.take();
        if (word == "--json") {
            options.json = true;
        } else if (word == "--state") {
            options.neutral = true;
        } else if (word == "--section") {
            auto value = words.take_value(word);
            if (!value)
                return pass(value);
            options.section = std::move(*value);
        } else if (word.starts_with("--") || !options.file.empty()) {
            return fail(ErrorKind::Invalid, "unexpected word \"" + word + "\"");
        } else {
            options.file = word;
        }
    }
    if (options.file.empty())
        return fail(ErrorKind::Invalid, "a FILE is needed");
    return options;
}

Status inspect(const InspectOptions& options)
{
    const auto file = FileBytes::open(options.file);
    if (!file)
        return std::unexpected(file.error());
    return xen::is_xen_save(*file) ? inspect_xen(options, *file) : inspect_qemu(options, *file);
}

} // namespace

std::string harmless(const std::string& text)
{
    std::string shown = text.substr(0, longest_shown_value);
    for (char& c : shown)
        if (static_cast<unsigned char>(c) < ' ' || c == 0x7f)
            c = '?';
    return shown.size() < text.size() ? shown + "..." : shown;
}

void print_neutral(const state::MachineState& machine, const std::vector<std::string>& not_carried)
{
    Json whole = state::to_json(machine);
    whole["not-carried"] = not_carried;
    printf("%s\n", dump_json(whole, true).c_str());
}

std::unexpected<Error> no_such_section(const std::string& name)
{
    return fail(ErrorKind::Invalid, "it has no section " + name,
                "without --section all are listed");
}

Result<int> run_inspect(Words words)
{
    const auto options = inspect_options(words);
    if (!options)
        return std::unexpected(options.error());
    if (const Status done = inspect(*options); !done) {
        log::error(done.error().text());
        return exit_failed;
    }
    return exit_done;
}

} // namespace drover::tools
