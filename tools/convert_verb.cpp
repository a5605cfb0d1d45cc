// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/convert.h"
#include "tools/verbs.h"
#include "util/log.h"

#include <cstdio>
#include <fstream>
#include <sstream>

namespace drover::tools {

namespace {

struct ConvertOptions {
    std::string from;
    std::string to;
    std::vector<std::string> command; ///< of the QEMU that is to take the guest
    XenOptions xen;                   ///< its name is empty where a QEMU is to take it
};

Result<Json> read_json_file(const std::string& path)
{
    std::ifstream file(path);
    std::ostringstream text;
    text << file.rdbuf();
    if (!file)
        return fail_errno("reading " + path, errno);
    auto json = parse_json(text.str());
    if (!json)
        return std::unexpected(std::move(json.error()).in(path));
    return json;
}

Status read_convert_option(const std::string& word, Words& words, ConvertOptions& options)
{
    auto value = words.take_value(word);
    if (!value)
        return pass(value);
    if (word == "--xen") {
        options.xen.name = *value;
        return {};
    }
    if (word != "--config")
        return fail(ErrorKind::Invalid, "unknown option " + word);
    auto config = read_json_file(*value);
    if (!config)
        return pass(config);
    options.xen.config = std::move(*config);
    return {};
}

Result<ConvertOptions> convert_options(Words words)
{
    ConvertOptions options;
    while (!words.empty()) {
        std::string word = words.take();
        if (word == "--") {
            while (!words.empty())
                options.command.push_back(words.take());
        } else if (word.starts_with("--")) {
            if (Status read = read_convert_option(word, words, options); !read)
                return pass(read);
        } else if (options.from.empty() || options.to.empty()) {
            (options.from.empty() ? options.from : options.to) = std::move(word);
        } else {
            return fail(ErrorKind::Invalid, "unexpected word \"" + word + "\"");
        }
    }
    if (options.to.empty() || options.command.empty() == options.xen.name.empty())
        return fail(ErrorKind::Invalid,
                    "two files are needed, and either the command line of the QEMU that will run "
                    "the guest, or its name on Xen",
                    "drover convert GUEST NEW -- qemu-system-x86_64 -M pc …, or "
                    "drover convert GUEST NEW --xen NAME");
    return options;
}

Changes convert(const ConvertOptions& options)
{
    auto guest = read_saved_guest(options.from);
    if (!guest)
        return pass(guest);
    return options.xen.name.empty() ? convert_to_qemu(**guest, options.to, options.command)
                                    : convert_to_xen(**guest, options.to, options.xen);
}

} // namespace

Result<int> run_convert(Words words)
{
    auto options = convert_options(words);
    if (!options)
        return pass(options);
    const auto changes = convert(*options);
    if (!changes) {
        log::error(changes.error().text());
        return exit_failed;
    }
    for (const std::string& change : *changes)
        printf("%s\n", change.c_str());
    return exit_done;
}

} // namespace drover::tools
