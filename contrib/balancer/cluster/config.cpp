// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/cluster/config.h"

#include "contrib/balancer/cluster/config_rules.h"
#include "contrib/balancer/cluster/toml_section.h"
#include "contrib/balancer/doors/address.h"
#include "migration/policy/wish.h"
#include "util/fd.h"

#include <array>

namespace drover::balancer::cluster {

namespace {

constexpr std::array<std::string_view, 3> mode_names = {"off", "recommend", "automatic"};
constexpr unsigned most_migrations = 64;
constexpr double day_s = 24 * 3600;
constexpr double fastest = 1e12; // bytes/s
constexpr double hour_s = 3600;

/// Some are the whole fleet's: a host cannot have its own.
void read_thresholds(TomlSection section, Thresholds& thresholds, bool of_fleet)
{
    section.fraction("cpu", thresholds.cpu, 0.05, 1);
    section.fraction("bandwidth", thresholds.bandwidth, 0.05, 1);
    section.fraction("memory", thresholds.memory, 0.05, 1);
    section.rate("swap-out", thresholds.swap_out, 1, fastest);
    if (of_fleet) {
        section.seconds("persistence", thresholds.persistence, 1, hour_s);
        section.seconds("swap-persistence", thresholds.swap_persistence, 1, hour_s);
    }
    section.reject_others();
}

void read_limits(TomlSection section, Limits& limits, bool of_fleet)
{
    section.whole("max-migrations-in", limits.migrations_in, 0, most_migrations);
    section.whole("max-migrations-out", limits.migrations_out, 0, most_migrations);
    if (of_fleet) {
        section.whole("max-migrations-link", limits.migrations_link, 1, most_migrations);
        section.seconds("cool-down", limits.cool_down, 0, day_s);
    }
    section.rate("migration-bandwidth", limits.bandwidth, 0, fastest);
    section.reject_others();
}

void read_reserve(TomlSection section, Reserve& reserve)
{
    section.fraction("cpu", reserve.cpu, 0, 0.9);
    section.fraction("memory", reserve.memory, 0, 0.9);
    section.fraction("bandwidth", reserve.bandwidth, 0, 0.9);
    section.reject_others();
}

/// The three that the whole fleet has, and each host may have of its own.
template <typename Owner> void read_common(TomlSection& section, Owner& owner, Faults& faults)
{
    constexpr bool of_fleet = std::is_same_v<Owner, Config>;
    if (const auto* table = section.table("thresholds"))
        read_thresholds({*table, "thresholds", faults}, owner.thresholds, of_fleet);
    if (const auto* table = section.table("limits"))
        read_limits({*table, "limits", faults}, owner.limits, of_fleet);
    if (const auto* table = section.table("reserve"))
        read_reserve({*table, "reserve", faults}, owner.reserve);
}

void check_address(TomlSection& section, const char* key, const std::string& address)
{
    if (const auto parsed = parse_door_address(address); !parsed)
        section.fault(key, parsed.error().message, parsed.error().hint);
}

class Reader {
public:
    ConfigReading read(std::string_view text)
    {
        toml::table table;
        try {
            table = toml::parse(text);
        } catch (const toml::parse_error& error) {
            faults_.add(error.source(), std::string(error.description()),
                        "the file must be TOML (https://toml.io)");
            return {{}, faults_.take()};
        }
        read_all(table);
        return {std::move(config_), faults_.take()};
    }

private:
    void read_all(const toml::table& table)
    {
        TomlSection file(table, "the file", faults_);
        if (const auto* balancer = file.table("balancer"))
            read_balancer({*balancer, "[balancer]", faults_});
        if (config_.listen.empty())
            config_.listen.emplace_back("unix:/run/drover/balancer.sock");
        if (config_.journal.empty())
            config_.journal = config_.state_dir + "/balancer.db";
        read_common(file, config_, faults_);
        if (const auto* policies = file.table("policy"))
            read_policies(*policies);
        if (const auto* balancer = file.table("balancer"))
            check_policies({*balancer, "[balancer]", faults_});
        file.each("host", [this](const toml::table& host) {
            read_host({host, "[[host]]", faults_});
        });
        if (config_.hosts.empty())
            file.fault("no host is configured", "add a [[host]] with its name and address");
        RuleReader rules(config_, faults_);
        file.each("rule", [&](const toml::table& rule) { rules.read(rule); });
        rules.check();
        file.reject_others();
    }

    void read_balancer(TomlSection section)
    {
        std::string mode(to_string(config_.mode));
        section.text("mode", mode);
        if (const auto known = mode_from(mode))
            config_.mode = *known;
        else
            section.fault("mode", "there is no mode '" + mode + "'",
                          "it is \"off\", \"recommend\" or \"automatic\"");
        std::string socket = "/run/drover/balancer.sock";
        section.text("socket", socket);
        config_.listen = {socket.starts_with("unix:") ? socket : "unix:" + socket};
        check_address(section, "socket", config_.listen.front());
        std::vector<std::string> listen;
        section.words("listen", listen);
        for (const std::string& address : listen) {
            check_address(section, "listen", address);
            config_.listen.push_back(address);
        }
        section.text("state-dir", config_.state_dir);
        section.text("policy", config_.policy);
        section.text("urgent-policy", config_.urgent_policy);
        section.text("journal", config_.journal);
        if (const auto* tls = section.table("tls"))
            read_tls({*tls, "tls", faults_});
        else
            for (const std::string& address : listen)
                if (address.starts_with("tls:"))
                    section.fault("listen", address + " needs certificates",
                                  "add tls = { ca = …, cert = …, key = … } to [balancer]");
        section.reject_others();
    }

    void read_tls(TomlSection section)
    {
        TlsConfig tls;
        section.text("ca", tls.ca);
        section.text("cert", tls.cert);
        section.text("key", tls.key);
        for (const auto& [key, value] :
             {std::pair{"ca", &tls.ca}, {"cert", &tls.cert}, {"key", &tls.key}})
            if (!section.has(key))
                section.fault(std::string("tls has no ") + key, "give the path of a PEM file");
        section.reject_others();
        config_.tls = std::move(tls);
    }

    void check_policies(TomlSection section)
    {
        for (const auto& [key, name] :
             {std::pair{"policy", config_.policy}, {"urgent-policy", config_.urgent_policy}})
            if (!name.empty() && !config_.policies.contains(name))
                section.fault(key, "no policy '" + name + "' is defined",
                              "add [policy." + name + "]");
    }

    void read_policies(const toml::table& policies)
    {
        for (const auto& [name, node] : policies) {
            const toml::table* table = node.as_table();
            if (!is_name(name.str()))
                faults_.add(name.source(), "'" + std::string(name.str()) + "' cannot be a name",
                            name_form);
            else if (table == nullptr)
                faults_.add(node.source(),
                            "the policy " + std::string(name.str()) + " is not a table",
                            "write it as [policy." + std::string(name.str()) + "]");
            else
                config_.policies[std::string(name.str())] = read_policy(*table);
        }
    }

    /// In the words of -migrate-policy, checked by its own parser; a preset first, since it
    /// replaces what stands before it.
    std::string read_policy(const toml::table& table)
    {
        MigrationWish wish;
        std::string words;
        const auto take = [&](const toml::key& key, const toml::node& value) {
            const std::string text = policy_value(value);
            if (const Status applied = apply_policy_option(wish, key.str(), text); !applied)
                faults_.add(value.source(), applied.error().message, applied.error().hint);
            words += (words.empty() ? "" : ",") + std::string(key.str()) + "=" + text;
        };
        for (const bool preset : {true, false})
            for (const auto& [key, value] : table)
                if ((key.str() == "preset") == preset)
                    take(key, value);
        if (const Status sane = check_wish(wish); !sane)
            faults_.add(table.source(), sane.error().message, sane.error().hint);
        return words;
    }

    /// Texts and numbers as they stand, lists joined as on-stall joins them.
    static std::string policy_value(const toml::node& value)
    {
        if (const auto text = value.value_exact<std::string>())
            return *text;
        if (const auto whole = value.value_exact<int64_t>())
            return std::to_string(*whole);
        if (const auto real = value.value_exact<double>())
            return dump_json(*real);
        std::string joined;
        if (const toml::array* list = value.as_array())
            for (const toml::node& item : *list)
                joined += (joined.empty() ? "" : ":") + item.value_or<std::string>("?");
        return joined;
    }

    void read_host(TomlSection section)
    {
        HostConfig host;
        host.thresholds = config_.thresholds;
        host.limits = config_.limits;
        host.reserve = config_.reserve;
        section.text("name", host.name);
        section.text("address", host.address);
        section.text("group", host.group);
        read_common(section, host, faults_);
        section.words("offers", host.offers);
        section.boolean("maintenance", host.maintenance);
        section.reject_others();
        if (!section.has("name"))
            section.fault("a host has no name", "give each [[host]] a name");
        else if (!is_name(host.name))
            section.fault("name", "'" + host.name + "' cannot be a name", name_form);
        if (!section.has("address"))
            section.fault("host " + host.name + " has no address",
                          "give the address of its droverd, such as \"tls:" +
                              (host.name.empty() ? "host" : host.name) + ":9700\"");
        else
            check_host_address(section, host);
        for (const HostConfig& other : config_.hosts)
            if (other.name == host.name)
                section.fault("name", "two hosts are named " + host.name,
                              "names are unique in the fleet");
        config_.hosts.push_back(std::move(host));
    }

    void check_host_address(TomlSection& section, const HostConfig& host)
    {
        check_address(section, "address", host.address);
        if (host.address.starts_with("tls:") && !config_.tls)
            section.fault("address", host.address + " needs certificates",
                          "add tls = { ca = …, cert = …, key = … } to [balancer]");
        for (const HostConfig& other : config_.hosts)
            if (other.address == host.address)
                section.fault("address", host.name + " has the same address as " + other.name,
                              "each host has a droverd of its own");
    }

    Config config_;
    Faults faults_;
};

} // namespace

std::string_view to_string(Mode mode)
{
    return mode_names[static_cast<size_t>(mode)];
}

std::optional<Mode> mode_from(std::string_view text)
{
    for (size_t i = 0; i < mode_names.size(); ++i)
        if (mode_names[i] == text)
            return static_cast<Mode>(i);
    return std::nullopt;
}

ConfigReading read_config(std::string_view text)
{
    return Reader().read(text);
}

ConfigReading read_config_file(const std::string& path)
{
    const auto text = read_file(path, 16U << 20);
    if (!text) {
        ConfigReading reading;
        reading.faults.push_back(
            {0, 0, text.error().message, "name the fleet's file: --config FILE"});
        return reading;
    }
    return read_config(*text);
}

} // namespace drover::balancer::cluster
