// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/migration_tls.h"

#include "contrib/balancer/host/state_file.h"
#include "util/gref.h"
#include "util/log.h"

#include <cerrno>
#include <cstring>
#include <gio/gio.h>
#include <unistd.h>

namespace drover::balancer {

namespace {

constexpr const char* credentials_id = "drover-tls";
constexpr const char* list_id = "drover-tls-who";

std::string absolute(const std::string& path)
{
    char* canonical = g_canonicalize_filename(path.c_str(), nullptr);
    std::string text = canonical;
    g_free(canonical);
    return text;
}

/// The first name of the certificate's, or else `otherwise`.
std::string name_in(const std::string& certificate, const std::string& otherwise)
{
    const GRef<GTlsCertificate> read(g_tls_certificate_new_from_file(certificate.c_str(), nullptr));
    GPtrArray* names = read ? g_tls_certificate_get_dns_names(read.get()) : nullptr;
    std::string name = otherwise;
    if (names != nullptr && names->len > 0) {
        gsize size = 0;
        const auto* text = static_cast<const char*>(
            g_bytes_get_data(static_cast<GBytes*>(g_ptr_array_index(names, 0)), &size));
        name.assign(text, size);
    }
    if (names != nullptr)
        g_ptr_array_unref(names);
    return name;
}

Status link_to(const std::string& file, const std::string& link)
{
    unlink(link.c_str());
    if (symlink(absolute(file).c_str(), link.c_str()) != 0)
        return fail_errno("making the link " + link, errno);
    return {};
}

} // namespace

/// A file that cannot be laid out is lacking there, and each migration is refused by its name.
MigrationTls::MigrationTls(const DroverdConfig& config)
{
    if (!config.migration_tls || config.certificate.empty())
        return;
    directory_ = config.state_directory + "/tls";
    own_name_ = name_in(config.certificate, config.name);
    Status laid_out = make_directories(directory_);
    for (const auto& [file, name] : {std::pair{&config.ca, "ca-cert.pem"},
                                     {&config.certificate, "client-cert.pem"},
                                     {&config.key, "client-key.pem"},
                                     {&config.certificate, "server-cert.pem"},
                                     {&config.key, "server-key.pem"}})
        if (laid_out)
            laid_out = link_to(*file, directory_ + "/" + name);
    if (!laid_out)
        log::error("migrations cannot be encrypted: " + laid_out.error().text());
}

/// An emulator that came here by a migration has objects of that one.
std::vector<EmulatorCommand> MigrationTls::credentials(const char* endpoint) const
{
    return {{"object-del", {{"id", credentials_id}}, true},
            {"object-del", {{"id", list_id}}, true},
            {"object-add",
             {{"qom-type", "tls-creds-x509"},
              {"id", credentials_id},
              {"dir", directory_},
              {"endpoint", endpoint},
              {"verify-peer", true}}}};
}

std::vector<EmulatorCommand> MigrationTls::at_source(const std::string& hostname) const
{
    if (!is_on())
        return {};
    auto commands = credentials("client");
    commands.push_back(
        {"migrate-set-parameters",
         {{"tls-creds", credentials_id}, {"tls-hostname", hostname}, {"tls-authz", ""}}});
    return commands;
}

std::vector<EmulatorCommand> MigrationTls::at_destination() const
{
    if (!is_on())
        return {};
    auto commands = credentials("server");
    const Json observers{{"match", "*OU=observe*"}, {"policy", "deny"}, {"format", "glob"}};
    commands.push_back({"object-add",
                        {{"qom-type", "authz-list"},
                         {"id", list_id},
                         {"policy", "allow"},
                         {"rules", Json::array({observers})}}});
    commands.push_back(
        {"migrate-set-parameters",
         {{"tls-creds", credentials_id}, {"tls-hostname", ""}, {"tls-authz", list_id}}});
    return commands;
}

} // namespace drover::balancer
