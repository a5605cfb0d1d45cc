// SPDX-License-Identifier: GPL-2.0-or-later
#include "system/xen_options.h"

#include <algorithm>
#include <array>

namespace drover {

const char* const xen_usage =
    "usage: drover-xen serve DOMAIN -qmp unix:PATH[,server=on,wait=off] [-migrate-policy POLICY]\n"
    "       drover-xen create FILE [-name NAME] -qmp …\n"
    "       drover-xen incoming ADDRESS [-S] [-qmp …] [-name NAME] [-disks DIRECTORY]… "
    "[-netdev …]…\n"
    "                           [-serial …]… [-balloon idle] [-config FILE]\n"
    "       drover-xen watch\n"
    "       drover-xen cpus\n"
    "\n"
    "serve: QMP monitors for a guest that Xen runs on this host, a HVM guest without Xen's\n"
    "paravirtual drivers, so that it can be migrated to QEMU: migrate, query-migrate, … as of\n"
    "drover-system-x86_64. quit destroys the domain if its guest runs elsewhere.\n"
    "create: makes the domain of FILE, which is xl's, and serves it.\n"
    "incoming: waits at ADDRESS (tcp:HOST:PORT, unix:PATH; defer: migrate-incoming says which) "
    "for\n"
    "a guest of QEMU's machine `pc`, and makes a domain of it. Its configuration follows from "
    "what\n"
    "the source says: of its disks those are taken that lie in an allowed DIRECTORY, its network\n"
    "cards get the back end (-netdev, as QEMU's) that has the id of the source's, its serial "
    "ports\n"
    "those of -serial, or a pty. A balloon must not be used on Xen, since a guest ends its own "
    "device\n"
    "model by putting a page into it: -balloon idle lets a guest come with one. With -config "
    "FILE,\n"
    "xl's, it is that configuration. -S: it stays paused. -name: what the guest is called here; a\n"
    "FILE of another is refused.\n"
    "watch: what Xen knows of its host and domains, a line of JSON each second, for droverd.\n"
    "cpus: what CPU Xen gives guests here, as JSON: a HOST for drover cpu-baseline.\n"
    "All: as root, in Dom0.\n";

namespace {

/// Of a guest that comes: whether it is one of these.
bool take_local_part(XenOptions& options, std::string_view name, const std::string& value)
{
    xen::LocalParts& local = options.local;
    if (name == "-config")
        options.config = value;
    else if (name == "-name")
        local.name = value;
    else if (name == "-disks")
        local.disks.push_back(value);
    else if (name == "-netdev")
        local.networks.push_back(value);
    else if (name == "-serial")
        local.serial_ports.push_back(value);
    else
        return false;
    return true;
}

/// Options begin with one dash, as QEMU's, or with two.
std::string_view without_second_dash(std::string_view name)
{
    return name.starts_with("--") ? name.substr(1) : name;
}

Status parse_option(XenOptions& options, std::string_view name, const std::string& value)
{
    const bool serves = options.verb != "incoming";
    if (name == "-qmp") {
        auto endpoint = qemu::device_endpoint(value);
        if (!endpoint)
            return pass(endpoint);
        if (*endpoint)
            options.monitors.push_back(std::move(**endpoint));
    } else if (name == "-migrate-policy" && serves) {
        auto wish = parse_policy(value);
        if (!wish)
            return pass(wish);
        options.wish = std::move(*wish);
    } else if (name == "-balloon" && !serves) {
        if (value != "idle")
            return fail(ErrorKind::Invalid, "a balloon cannot be used on Xen", "-balloon idle");
        options.local.balloon = true;
    } else if (serves || !take_local_part(options, name, value)) {
        return fail(ErrorKind::Invalid, "an option " + std::string(name) + " is not known",
                    "drover-xen --help");
    }
    return {};
}

} // namespace

Result<XenOptions> parse_xen_options(std::span<const std::string> words)
{
    XenOptions options;
    static constexpr std::array verbs = {"serve", "create", "incoming"};
    if (words.size() < 2 || std::find(verbs.begin(), verbs.end(), words[0]) == verbs.end())
        return fail(ErrorKind::Invalid, "what is to be done is not said", "drover-xen --help");
    options.verb = words[0];
    options.subject = words[1];
    for (size_t i = 2; i < words.size(); ++i) {
        if (words[i] == "-S" && options.verb == "incoming") {
            options.paused = true;
            continue;
        }
        if (i + 1 >= words.size())
            return fail(ErrorKind::Invalid, words[i] + " lacks its argument");
        if (Status parsed = parse_option(options, without_second_dash(words[i]), words[i + 1]);
            !parsed)
            return pass(parsed);
        ++i;
    }
    if (options.verb != "incoming" && options.monitors.empty())
        return fail(ErrorKind::Invalid, "no monitor is asked for", "-qmp unix:PATH,server=on");
    return options;
}

} // namespace drover
