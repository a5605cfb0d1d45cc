// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/blank_line.h"

#include "vmm/qemu/command_line.h"
#include "vmm/qemu/opts.h"

#include <algorithm>

namespace drover::qemu {

namespace {

/// Options that have no part in what the guest sees.
constexpr std::string_view dropped[] = {
    "monitor",    "qmp",     "qmp-pretty", "mon",   "vnc",         "spice",  "nographic",
    "display",    "D",       "d",          "trace", "gdb",         "s",      "S",
    "daemonize",  "pidfile", "sandbox",    "runas", "chroot",      "loadvm", "incoming",
    "add-fd",     "qtest",   "qtest-log",  "msg",   "no-shutdown", "action", "watchdog-action",
    "overcommit", "name",
};

/// What would have to be there twice.
constexpr std::string_view refused[] = {"fsdev", "virtfs", "tpmdev", "net", "nic"};

constexpr const char* empty_disk = "null-co://";

template <size_t N> bool is_one_of(const std::string_view (&list)[N], const std::string& name)
{
    return std::ranges::find(list, name) != std::end(list);
}

/// A disk that holds nothing, in the place of the guest's.
Status blank_drive(Word& word)
{
    auto opts = Opts::parse(word.text(), "");
    if (!opts)
        return pass(opts);
    if (opts->get("if") == "pflash") { // what it holds is the size of the guest's firmware
        opts->set("snapshot", "on");
        opts->set("file.locking", "off");
        word.argument = opts->text();
        return {};
    }
    for (const Opts::Item& item : opts->items())
        if (item.key.starts_with("file.") || item.key.starts_with("cache") || item.key == "aio" ||
            item.key == "driver" || item.key == "snapshot")
            opts->remove(item.key);
    opts->set("file", empty_disk);
    opts->set("format", "raw");
    word.argument = opts->text();
    return {};
}

Status blank_blockdev(Word& word)
{
    auto opts = Opts::parse(word.text(), "driver");
    if (!opts)
        return pass(opts);
    const auto name = opts->get("node-name");
    const bool read_only = opts->get("read-only") == "on";
    word.argument = "driver=null-co,read-zeroes=on" +
                    (name ? ",node-name=" + escape_commas(*name) : std::string()) +
                    (read_only ? ",read-only=on" : "");
    return {};
}

Status blank_back_end(Word& word, std::string_view implied, const std::string& in_its_place)
{
    auto opts = Opts::parse(word.text(), implied);
    if (!opts)
        return pass(opts);
    word.argument = in_its_place + ",id=" + escape_commas(opts->get("id").value_or(""));
    return {};
}

class BlankLine {
public:
    explicit BlankLine(CommandLine line) : line_(std::move(line)) {}

    Result<std::vector<std::string>> make()
    {
        std::erase_if(line_.words(), [](const Word& word) {
            return !word.name.empty() && is_one_of(dropped, word.name);
        });
        for (Word& word : line_.words())
            if (Status done = blank(word); !done)
                return std::unexpected(std::move(done.error()).in("-" + word.name));
        line_.append("display", "none");
        return line_.arguments();
    }

private:
    Status blank(Word& word)
    {
        static constexpr std::string_view images[] = {"hda", "hdb", "hdc", "hdd",     "cdrom",
                                                      "fda", "fdb", "sd",  "mtdblock"};
        if (is_one_of(refused, word.name))
            return fail(ErrorKind::Incompatible,
                        "a machine with this option is not translated between hypervisors");
        if (word.name.empty() || is_one_of(images, word.name))
            word.argument = empty_disk;
        else if (word.is("drive"))
            return blank_drive(word);
        else if (word.is("blockdev"))
            return blank_blockdev(word);
        else if (word.is("chardev"))
            return blank_back_end(word, "backend", "null");
        else if (word.is("netdev"))
            return blank_network(word);
        else if (word.is("serial") || word.is("parallel"))
            blank_port(word);
        return {};
    }

    /// User networking is saved, too, and so has to be there.
    Status blank_network(Word& word)
    {
        auto opts = Opts::parse(word.text(), "type");
        if (!opts)
            return pass(opts);
        return blank_back_end(word, "type",
                              opts->get("type") == "user"
                                  ? "user"
                                  : "hubport,hubid=" + std::to_string(first_hub + hubs_++));
    }

    static void blank_port(Word& word)
    {
        if (word.text() != "none" && !word.text().starts_with("chardev:"))
            word.argument = "null";
    }

    static constexpr unsigned first_hub = 1000; // far from a user's own
    CommandLine line_;
    unsigned hubs_ = 0;
};

} // namespace

Result<std::vector<std::string>> blank_arguments(const LaunchPlan& plan)
{
    return BlankLine(CommandLine::parse(plan.arguments)).make();
}

} // namespace drover::qemu
