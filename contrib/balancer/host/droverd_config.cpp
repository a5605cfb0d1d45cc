// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/droverd_config.h"

#include "contrib/balancer/host/toml_json.h"
#include "migration/policy/wish.h"
#include "util/fd.h"

#include <cmath>
#include <functional>
#include <glib.h>
#include <map>
#include <unistd.h>

namespace drover::balancer {

namespace {

/// Reads the members of one table, remembers the first fault, and which members nobody asked for.
class TableReader {
public:
    TableReader(const Json& table, std::string name) : table_(table), name_(std::move(name)) {}

    void text(const char* member, std::string& into)
    {
        if (const Json* value = take(member); value != nullptr) {
            if (value->is_string())
                into = value->get<std::string>();
            else
                wrong(member, "must be text");
        }
    }

    void words(const char* member, std::vector<std::string>& into)
    {
        const Json* value = take(member);
        if (value == nullptr)
            return;
        if (!value->is_array())
            return wrong(member, "must be a list of words");
        into.clear();
        for (const Json& entry : *value) {
            if (!entry.is_string())
                return wrong(member, "must be a list of words");
            into.push_back(entry.get<std::string>());
        }
    }

    void boolean(const char* member, bool& into)
    {
        if (const Json* value = take(member); value != nullptr) {
            if (value->is_boolean())
                into = value->get<bool>();
            else
                wrong(member, "must be true or false");
        }
    }

    void number(const char* member, double low, double high, double& into)
    {
        const Json* value = take(member);
        if (value == nullptr)
            return;
        if (!value->is_number() || value->get<double>() < low || value->get<double>() > high)
            return wrong(member, "must be a number from " + std::to_string(low) + " to " +
                                     std::to_string(high));
        into = value->get<double>();
    }

    void integer(const char* member, unsigned low, unsigned high, unsigned& into)
    {
        double value = into;
        number(member, low, high, value);
        into = static_cast<unsigned>(value);
    }

    /// "2GiB", "25MB/s": what -migrate-policy's bandwidth takes, and GiB, MiB.
    void bytes(const char* member, double& into)
    {
        const Json* value = take(member);
        if (value == nullptr)
            return;
        if (value->is_number() && value->get<double>() >= 0) {
            into = value->get<double>();
            return;
        }
        std::string text = value->is_string() ? value->get<std::string>() : "?";
        if (text.ends_with("iB"))
            text.resize(text.size() - 2); // QEMU's G is GiB
        MigrationWish wish;
        if (!apply_policy_option(wish, "bandwidth", text))
            return wrong(member, "must be bytes, or text such as \"2GiB\" or \"25MB/s\"");
        into = static_cast<double>(wish.bandwidth);
    }

    const Json* take(const char* member)
    {
        known_.emplace_back(member);
        const auto found = table_.find(member);
        return found == table_.end() ? nullptr : &*found;
    }

    void wrong(const std::string& member, const std::string& what)
    {
        if (!error_)
            error_ = Error{ErrorKind::Invalid, "\"" + member + "\" of " + name_ + " " + what, {}};
    }

    [[nodiscard]] Status end()
    {
        for (const auto& [key, value] : table_.items())
            if (std::find(known_.begin(), known_.end(), key) == known_.end())
                return unknown(key);
        if (error_)
            return std::unexpected(*error_);
        return {};
    }

private:
    std::unexpected<Error> unknown(const std::string& key) const
    {
        std::string names;
        for (const std::string& name : known_)
            names += (names.empty() ? "" : ", ") + name;
        return fail(ErrorKind::Invalid, name_ + " has no member \"" + key + "\"",
                    "it may have " + names);
    }

    const Json& table_;
    std::string name_;
    std::vector<std::string> known_;
    std::optional<Error> error_;
};

const Json empty_table = Json::object();

const Json& table_of(const Json* value)
{
    return value != nullptr && value->is_object() ? *value : empty_table;
}

Status read_slice(const Json& table, SliceConfig& slice)
{
    TableReader reader(table, "[slice]");
    slice.given = !table.empty();
    reader.number("cores", 0.01, 4096, slice.cores);
    reader.bytes("memory", slice.memory);
    reader.bytes("link", slice.link);
    reader.text("cgroup", slice.cgroup);
    if (slice.cgroup.find('/') != std::string::npos || slice.cgroup.starts_with("."))
        reader.wrong("cgroup", "must be one name, without \"/\"");
    return reader.end();
}

Status read_tls(const Json& table, DroverdConfig& config)
{
    TableReader reader(table, "[tls]");
    reader.text("ca", config.ca);
    reader.text("certificate", config.certificate);
    reader.text("key", config.key);
    return reader.end();
}

Status read_migration(const Json& table, DroverdConfig& config)
{
    TableReader reader(table, "[migration]");
    reader.text("address", config.migrate_address);
    reader.boolean("tls", config.migration_tls);
    reader.integer("first-port", 1024, 65535, config.first_port);
    reader.integer("last-port", 1024, 65535, config.last_port);
    reader.integer("waiting-limit", 10, 86400, config.waiting_limit_s);
    if (config.last_port < config.first_port)
        reader.wrong("last-port", "must not be below first-port");
    return reader.end();
}

Status read_definitions(const Json& table, DefinitionRules& rules)
{
    TableReader reader(table, "[definitions]");
    reader.boolean("check", rules.check);
    reader.words("directories", rules.directories);
    reader.words("allow", rules.allow);
    reader.words("xen-directories", rules.xen_directories);
    for (const auto& [member, list] : {std::pair{"directories", &rules.directories},
                                       {"xen-directories", &rules.xen_directories}})
        for (const std::string& directory : *list)
            if (!directory.starts_with('/'))
                reader.wrong(member, "must be a list of absolute paths");
    return reader.end();
}

Status read_metrics(const Json& table, DroverdConfig& config)
{
    TableReader reader(table, "[metrics]");
    reader.text("address", config.metrics_address);
    reader.integer("port", 1, 65535, config.metrics_port);
    return reader.end();
}

Status read_nics(const Json* list, DroverdConfig& config)
{
    if (list == nullptr)
        return {};
    if (!list->is_array())
        return fail(ErrorKind::Invalid, "\"nic\" must be written as [[nic]]");
    for (const Json& entry : *list) {
        NicConfig nic;
        TableReader reader(table_of(&entry), "[[nic]]");
        reader.text("name", nic.name);
        reader.bytes("capacity", nic.capacity);
        if (nic.name.empty())
            reader.wrong("name", "is needed");
        if (const Status good = reader.end(); !good)
            return good;
        config.nics.push_back(std::move(nic));
    }
    return {};
}

Status read_tables(TableReader& top, DroverdConfig& config)
{
    Status good = read_slice(table_of(top.take("slice")), config.slice);
    if (good)
        good = read_tls(table_of(top.take("tls")), config);
    if (good)
        good = read_migration(table_of(top.take("migration")), config);
    if (good)
        good = read_metrics(table_of(top.take("metrics")), config);
    if (good)
        good = read_definitions(table_of(top.take("definitions")), config.definitions);
    if (good)
        good = read_nics(top.take("nic"), config);
    return good;
}

Status check_whole(const DroverdConfig& config)
{
    if (!config.listen.empty() && !config.listen.starts_with("tls:"))
        return fail(ErrorKind::Invalid, "\"listen\" must be tls:HOST:PORT",
                    "there is no door to other hosts without TLS");
    if (!config.listen.empty() &&
        (config.ca.empty() || config.certificate.empty() || config.key.empty()))
        return fail(ErrorKind::Invalid, "\"listen\" needs ca, certificate and key in [tls]",
                    "drover-certs makes them");
    return {};
}

} // namespace

DroverdConfig default_droverd_config()
{
    DroverdConfig config;
    config.name = g_get_host_name();
    config.state_directory =
        geteuid() == 0 ? "/run/droverd" : std::string(g_get_user_runtime_dir()) + "/droverd";
    config.definition_directory = geteuid() == 0 ? "/var/lib/droverd" : "";
    config.emulators = {"drover-system-x86_64", "qemu-system-x86_64"};
    config.migrate_address = g_get_host_name();
    return config;
}

Status check_droverd_files(const DroverdConfig& config)
{
    for (const auto& [member, path] :
         {std::pair{"ca", config.ca}, {"certificate", config.certificate}, {"key", config.key}}) {
        if (path.empty())
            continue;
        if (const auto text = read_file(path); !text)
            return fail(ErrorKind::Invalid,
                        std::string("[tls] ") + member + ": " + text.error().message,
                        "drover-certs makes these files");
    }
    return {};
}

Result<DroverdConfig> read_droverd_config(const std::string& path)
{
    auto json = read_toml_as_json(path);
    if (!json)
        return pass(json);
    DroverdConfig config = default_droverd_config();
    TableReader top(*json, path);
    top.text("name", config.name);
    if (json->contains("state-directory")) // two droverds of a machine share neither
        config.definition_directory.clear();
    top.text("state-directory", config.state_directory);
    top.text("definition-directory", config.definition_directory);
    top.text("socket", config.socket);
    top.text("socket-group", config.socket_group);
    top.text("listen", config.listen);
    top.words("emulators", config.emulators);
    top.words("offers", config.offers);
    top.words("adopt", config.adopt);
    top.integer("end-limit", 1, 3600, config.end_limit_s);
    Status good = read_tables(top, config);
    if (good)
        good = top.end();
    if (good)
        good = check_whole(config);
    if (!good)
        return std::unexpected(std::move(good.error()).in(path));
    return config;
}

} // namespace drover::balancer
