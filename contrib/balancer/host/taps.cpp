// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/taps.h"

#include <gio/gio.h>
#include <initializer_list>

namespace drover::balancer {

namespace {

Status run_ip(std::initializer_list<const char*> words)
{
    std::vector<const char*> argv = {"ip"};
    argv.insert(argv.end(), words.begin(), words.end());
    argv.push_back(nullptr);
    GError* error = nullptr;
    GSubprocess* process =
        g_subprocess_newv(argv.data(),
                          static_cast<GSubprocessFlags>(G_SUBPROCESS_FLAGS_STDERR_PIPE |
                                                        G_SUBPROCESS_FLAGS_STDOUT_SILENCE),
                          &error);
    char* said = nullptr;
    const bool done =
        process != nullptr &&
        g_subprocess_communicate_utf8(process, nullptr, nullptr, nullptr, &said, &error) != 0 &&
        g_subprocess_get_successful(process) != 0;
    std::string why = error != nullptr ? error->message : said != nullptr ? said : "";
    while (why.ends_with('\n'))
        why.pop_back();
    g_clear_error(&error);
    g_free(said);
    if (process != nullptr)
        g_object_unref(process);
    if (done)
        return {};
    std::string line = "ip";
    for (const char* word : words)
        line += std::string(" ") + word;
    return fail(ErrorKind::System, line + ": " + why,
                "droverd needs CAP_NET_ADMIN and iproute2 to make taps; leave \"bridge\" out to "
                "make them yourself");
}

Status make_tap(const VmNic& nic)
{
    const char* tap = nic.ifname.c_str();
    if (const Status made = run_ip({"tuntap", "add", "dev", tap, "mode", "tap"}); !made)
        return made;
    const Status joined = run_ip({"link", "set", "dev", tap, "master", nic.bridge.c_str(), "up"});
    if (!joined)
        (void)run_ip({"link", "del", "dev", tap});
    return joined;
}

} // namespace

Status make_taps(const VmDefinition& definition)
{
    VmDefinition made;
    for (const VmNic& nic : definition.nics) {
        if (nic.bridge.empty())
            continue;
        if (const Status done = make_tap(nic); !done) {
            remove_taps(made);
            return done;
        }
        made.nics.push_back(nic);
    }
    return {};
}

void remove_taps(const VmDefinition& definition)
{
    for (const VmNic& nic : definition.nics)
        if (!nic.bridge.empty())
            (void)run_ip({"link", "del", "dev", nic.ifname.c_str()});
}

} // namespace drover::balancer
