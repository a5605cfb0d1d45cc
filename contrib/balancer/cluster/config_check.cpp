// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/cluster/config.h"

#include "util/fd.h"

#include <cstdio>

namespace drover::balancer::cluster {

std::string describe(const std::string& file, const ConfigFault& fault)
{
    std::string text = file + ":";
    if (fault.line > 0)
        text += std::to_string(fault.line) + ":" + std::to_string(fault.column) + ":";
    text += " " + fault.message;
    if (!fault.remedy.empty())
        text += " (" + fault.remedy + ")";
    return text;
}

Json to_json(const std::string& file, const ConfigReading& reading)
{
    Json faults = Json::array();
    for (const ConfigFault& fault : reading.faults)
        faults.push_back({{"line", fault.line},
                          {"column", fault.column},
                          {"message", fault.message},
                          {"remedy", fault.remedy}});
    return {{"file", file}, {"good", reading.faults.empty()}, {"faults", std::move(faults)}};
}

namespace {

/// What the file names, and the daemon will open when it is started or calls a host.
void check_files(ConfigReading& reading)
{
    const auto& tls = reading.config.tls;
    if (!tls)
        return;
    for (const auto& [key, path] :
         {std::pair{"ca", tls->ca}, {"cert", tls->cert}, {"key", tls->key}})
        if (const auto text = read_file(path); !text)
            reading.faults.push_back({0, 0,
                                      std::string("tls: ") + key + ": " + text.error().message,
                                      "drover-certs makes these files; who runs drover-balancer "
                                      "must be able to read them"});
}

} // namespace

int check_config(const std::string& path, bool json)
{
    ConfigReading reading = read_config_file(path);
    if (reading.faults.empty())
        check_files(reading);
    if (json) {
        puts(dump_json(to_json(path, reading), true).c_str());
    } else if (reading.faults.empty()) {
        const Config& config = reading.config;
        printf("%s: good: mode %s, %zu hosts, %zu policies, %zu rules\n", path.c_str(),
               std::string(to_string(config.mode)).c_str(), config.hosts.size(),
               config.policies.size(), config.rules.size());
    } else {
        for (const ConfigFault& fault : reading.faults)
            fprintf(stderr, "%s\n", describe(path, fault).c_str());
        fprintf(stderr, "%zu fault%s\n", reading.faults.size(),
                reading.faults.size() == 1 ? "" : "s");
    }
    return reading.faults.empty() ? 0 : 1;
}

} // namespace drover::balancer::cluster
