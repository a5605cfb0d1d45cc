// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/default_ports.h"

#include "vmm/qemu/opts.h"

namespace drover::qemu {

namespace {

/// "mon:DEVICE" puts the human monitor on the port as well.
bool carries_monitor(const Word& word)
{
    return word.text().starts_with("mon:");
}

std::string driver_of(const Word& word)
{
    const auto opts = Opts::parse(word.text(), "driver");
    return opts ? opts->get("driver").value_or("") : "";
}

bool is_monitor_object(const Word& word)
{
    if (!word.is("object"))
        return false;
    const auto opts = Opts::parse(word.text(), "qom-type");
    return opts && opts->get("qom-type").value_or("").starts_with("monitor-");
}

} // namespace

DefaultPorts default_ports(const CommandLine& line)
{
    DefaultPorts ports;
    if (line.has("nodefaults"))
        return {false, false, false};
    for (const Word& word : line.words()) {
        const bool serial = word.is("serial");
        const bool parallel = word.is("parallel");
        const std::string driver = word.is("device") ? driver_of(word) : "";
        if (serial || driver == "isa-serial")
            ports.serial = false;
        if (parallel || driver == "isa-parallel")
            ports.parallel = false;
        if (word.is("monitor") || word.is("mon") || word.is("qmp") || word.is("qmp-pretty") ||
            is_monitor_object(word) || ((serial || parallel) && carries_monitor(word)))
            ports.monitor = false;
    }
    return ports;
}

} // namespace drover::qemu
