// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/monitor_plan.h"

#include "vmm/qemu/default_ports.h"
#include "vmm/qemu/monitor_endpoint.h"
#include "vmm/qemu/opts.h"

#include <algorithm>
#include <array>
#include <optional>

namespace drover::qemu {

namespace {

bool uses_chardev(const Word& word, const std::string& id)
{
    constexpr auto users = std::to_array<std::string_view>(
        {"debugcon", "device", "gdb", "mon", "monitor", "netdev", "object", "parallel", "qmp",
         "qmp-pretty", "qtest", "semihosting-config", "serial", "tpmdev"});
    if (std::ranges::find(users, word.name) == users.end())
        return false;
    if (word.text() == "chardev:" + id)
        return true;
    const auto opts = Opts::parse(word.text(), word.is("mon") ? "chardev" : "driver");
    return opts && std::ranges::any_of(opts->items(), [&](const Opts::Item& item) {
               return item.key == "chardev" && item.value == id;
           });
}

/// What a word asks for, if it asks for a QMP monitor.
struct Wanted {
    std::string option;  ///< as the user wrote it
    std::string device;  ///< as in -qmp; empty if `chardev` is set
    std::string chardev; ///< an id
    bool pretty = false;
};

/// Monitors are objects from QEMU 11.1 on: "monitor-qmp,id=ID,chardev=ID[,pretty=on]".
Result<std::optional<Wanted>> wanted_object(const Word& word, const std::string& option)
{
    const auto opts = Opts::parse(word.text(), "qom-type");
    if (!opts || opts->get("qom-type") != "monitor-qmp")
        return std::optional<Wanted>(); // what is no object at all is for QEMU to say
    for (const Opts::Item& item : opts->items())
        if (item.key != "qom-type" && item.key != "id" && item.key != "chardev" &&
            item.key != "pretty")
            return fail(ErrorKind::Invalid, "the option '" + item.key + "' is not known",
                        "a monitor-qmp has id, chardev and pretty");
    const auto pretty = opts->get_bool("pretty", false);
    if (!pretty)
        return std::unexpected(pretty.error());
    return std::optional(Wanted{option, {}, opts->get("chardev").value_or(""), *pretty});
}

Result<std::optional<Wanted>> wanted_monitor(const Word& word)
{
    const std::string option = "-" + word.name + " " + word.text();
    if (word.is("qmp") || word.is("qmp-pretty")) {
        Wanted wanted{.option = option, .pretty = word.is("qmp-pretty")};
        if (word.text().starts_with("chardev:"))
            wanted.chardev = word.text().substr(8);
        else
            wanted.device = word.text();
        return std::optional(std::move(wanted));
    }
    if (word.is("object"))
        return wanted_object(word, option);
    if (!word.is("mon"))
        return std::optional<Wanted>();
    const auto opts = Opts::parse(word.text(), "chardev");
    if (!opts)
        return std::unexpected(opts.error());
    if (opts->get("mode") != "control")
        return std::optional<Wanted>();
    const auto pretty = opts->get_bool("pretty", false);
    if (!pretty)
        return std::unexpected(pretty.error());
    return std::optional(Wanted{option, {}, opts->get("chardev").value_or(""), *pretty});
}

/// Takes the options that ask for QMP monitors out.
Result<std::vector<Wanted>> take_wanted(CommandLine& line)
{
    std::vector<Wanted> all;
    auto& words = line.words();
    for (auto word = words.begin(); word != words.end();) {
        auto wanted = wanted_monitor(*word);
        if (!wanted)
            return std::unexpected(std::move(wanted.error()).in("-" + word->name));
        if (*wanted)
            all.push_back(std::move(**wanted));
        word = *wanted ? words.erase(word) : word + 1;
    }
    return all;
}

/// Finds the -chardev, makes sure that it serves the monitor alone, and takes it out.
Result<std::optional<MonitorEndpoint>> take_chardev(CommandLine& line, const std::string& id)
{
    auto& words = line.words();
    for (auto word = words.begin(); word != words.end(); ++word) {
        if (!word->is("chardev"))
            continue;
        const auto opts = Opts::parse(word->text(), "backend");
        if (!opts || opts->get("id") != id)
            continue;
        if (std::ranges::count_if(words, [&](const Word& w) { return uses_chardev(w, id); }) > 0)
            return fail(ErrorKind::Invalid,
                        "the chardev '" + id + "' is used by a QMP monitor and by something else",
                        "give the monitor a chardev of its own");
        auto endpoint = chardev_endpoint(*opts);
        words.erase(word);
        return endpoint;
    }
    return fail(ErrorKind::Invalid, "a QMP monitor asks for the chardev '" + id +
                                        "', but there is no -chardev with that id");
}

/// QEMU makes a human monitor by itself if no monitor is asked for. It sees one of ours, so what it
/// would have done is spelled out.
void add_default_monitor(CommandLine& line, const DefaultPorts& ports)
{
    if (!line.has("nographic"))
        line.append("monitor", "vc:80Cx24C");
    else if (ports.serial)
        line.append("serial", "mon:stdio");
    else
        line.append("monitor", "stdio");
}

Status check_stdio(const CommandLine& line, const std::vector<MonitorEndpoint>& monitors)
{
    const auto on_stdio =
        std::ranges::count(monitors, MonitorEndpoint::Kind::Stdio, &MonitorEndpoint::kind);
    if (on_stdio > 1 || (on_stdio == 1 && uses_stdio(line)))
        return fail(ErrorKind::Invalid,
                    "standard input and output are used by a QMP monitor and by something else",
                    "use -qmp unix:PATH,server=on,wait=off, or -display none with -serial");
    return {};
}

} // namespace

bool uses_stdio(const CommandLine& line)
{
    constexpr auto users = std::to_array<std::string_view>(
        {"chardev", "debugcon", "gdb", "monitor", "parallel", "serial"});
    const bool named = std::ranges::any_of(line.words(), [&](const Word& word) {
        return std::ranges::find(users, word.name) != users.end() &&
               (word.text() == "stdio" || word.text() == "mon:stdio" ||
                word.text().starts_with("stdio,"));
    });
    return named || (line.has("nographic") && default_ports(line).serial);
}

Result<std::vector<MonitorEndpoint>> plan_monitors(CommandLine& line)
{
    const DefaultPorts ports = default_ports(line); // before our monitors are taken out
    std::vector<MonitorEndpoint> monitors;
    auto wanted = take_wanted(line);
    if (!wanted)
        return pass(wanted);
    for (const Wanted& monitor : *wanted) {
        auto endpoint = monitor.chardev.empty() ? device_endpoint(monitor.device)
                                                : take_chardev(line, monitor.chardev);
        if (!endpoint)
            return std::unexpected(std::move(endpoint.error()).in(monitor.option));
        if (!*endpoint)
            continue;
        (*endpoint)->pretty = monitor.pretty;
        monitors.push_back(std::move(**endpoint));
    }
    if (ports.monitor)
        add_default_monitor(line, ports);
    if (auto status = check_stdio(line, monitors); !status)
        return pass(status);
    return monitors;
}

} // namespace drover::qemu
