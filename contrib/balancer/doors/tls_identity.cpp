// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/doors/tls_identity.h"

#include "util/fd.h"
#include "util/log.h"

#include <algorithm>
#include <cerrno>
#include <filesystem>

namespace drover::balancer {

Error take_gerror(GError* error, std::string_view what, ErrorKind kind)
{
    Error taken{kind, std::string(what) + ": " + (error ? error->message : "no reason given"), {}};
    std::ranges::replace(taken.message, '\n', ' ');
    if (error)
        g_error_free(error);
    return taken;
}

namespace {

constexpr char how_to_make[] = "make it with drover-certs, or correct the configuration";

Result<std::string> read_pem(const std::string& path, const char* what)
{
    if (path.empty())
        return fail(ErrorKind::Invalid, std::string("TLS: no file is given for ") + what,
                    "give all of the authority's certificate, our certificate, and its key");
    auto text = read_file(path);
    if (!text) {
        text.error().hint = how_to_make;
        return std::unexpected(std::move(text.error()).in(std::string("TLS, ") + what));
    }
    return text;
}

Status check_key_mode(const std::string& path)
{
    struct stat status = {};
    if (stat(path.c_str(), &status) == 0 && (status.st_mode & (S_IROTH | S_IWOTH)) != 0)
        return fail(ErrorKind::Refused, "TLS: the private key " + path + " is open to everybody",
                    "chmod 600 " + path + ", and renew it if others could have read it");
    return {};
}

Result<Ref<GTlsDatabase>> load_authority(const std::string& path)
{
    if (const auto text = read_pem(path, "the authority's certificate"); !text)
        return std::unexpected(text.error());
    GError* error = nullptr;
    // The database itself takes a file without any certificate, and then refuses everybody.
    GList* list = g_tls_certificate_list_new_from_file(path.c_str(), &error);
    const bool empty = list == nullptr;
    g_list_free_full(list, g_object_unref);
    if (error) {
        Error why = take_gerror(error, "TLS: " + path, ErrorKind::Invalid);
        why.hint = how_to_make;
        return std::unexpected(std::move(why));
    }
    if (empty)
        return fail(ErrorKind::Invalid, "TLS: " + path + " holds no certificate", how_to_make);
    std::error_code ignored;
    const std::string absolute = std::filesystem::absolute(path, ignored).string();
    GTlsDatabase* database = g_tls_file_database_new(absolute.c_str(), &error);
    if (!database)
        return std::unexpected(take_gerror(error, "TLS: " + path, ErrorKind::Invalid));
    return Ref<GTlsDatabase>(database);
}

Result<Ref<GTlsCertificate>> load_certificate(const TlsFiles& files)
{
    auto cert = read_pem(files.cert, "our certificate");
    if (!cert)
        return pass(cert);
    auto key = read_pem(files.key, "our private key");
    if (!key)
        return pass(key);
    if (Status mode = check_key_mode(files.key); !mode)
        return pass(mode);
    // One text: the certificate, perhaps with those between it and the authority, and the key.
    const std::string both = *cert + "\n" + *key;
    GError* error = nullptr;
    GTlsCertificate* certificate =
        g_tls_certificate_new_from_pem(both.c_str(), static_cast<gssize>(both.size()), &error);
    std::ranges::fill(*key, '\0');
    if (!certificate) {
        Error why =
            take_gerror(error, "TLS: " + files.cert + " with " + files.key, ErrorKind::Invalid);
        why.hint = how_to_make;
        return std::unexpected(std::move(why));
    }
    Ref<GTlsCertificate> owner(certificate);
    GByteArray* private_key = nullptr;
    g_object_get(certificate, "private-key", &private_key, nullptr);
    if (!private_key)
        return fail(ErrorKind::Invalid, "TLS: " + files.key + " holds no private key", how_to_make);
    g_byte_array_unref(private_key);
    return owner;
}

std::string day_of(GDateTime* time)
{
    char* text = g_date_time_format(time, "%Y-%m-%d %H:%M %Z");
    std::string day = text ? text : "?";
    g_free(text);
    return day;
}

} // namespace

TlsIdentity::Versions TlsIdentity::look() const
{
    Versions versions;
    size_t i = 0;
    for (const std::string* path : {&files_.ca, &files_.cert, &files_.key}) {
        struct stat status = {};
        Version& version = versions.at(i++);
        if (stat(path->c_str(), &status) == 0)
            version = {status.st_mtim, status.st_ino, status.st_size};
    }
    return versions;
}

Result<TlsMaterial> TlsIdentity::load() const
{
    auto authority = load_authority(files_.ca);
    if (!authority)
        return pass(authority);
    auto certificate = load_certificate(files_);
    if (!certificate)
        return pass(certificate);
    return TlsMaterial{std::move(*certificate), std::move(*authority)};
}

Result<TlsMaterial> TlsIdentity::material()
{
    const auto same = [](const Version& a, const Version& b) {
        return a.inode == b.inode && a.size == b.size && a.changed.tv_sec == b.changed.tv_sec &&
               a.changed.tv_nsec == b.changed.tv_nsec;
    };
    const Versions now = look(); // before reading: what changes meanwhile is read once more
    if (!material_.certificate || !std::ranges::equal(now, loaded_, same)) {
        auto loaded = load();
        if (loaded) {
            material_ = std::move(*loaded);
            loaded_ = now;
            warned_ = false;
        } else if (!material_.certificate) {
            return pass(loaded);
        } else if (!std::exchange(warned_, true)) {
            log::warning(loaded.error().text() + "; the former certificate is used on");
        }
    }
    return TlsMaterial{share(material_.certificate.get()), share(material_.authority.get())};
}

Status TlsIdentity::check_dates()
{
    const auto present = material();
    if (!present)
        return std::unexpected(present.error());
    const auto free_time = [](GDateTime* time) {
        if (time)
            g_date_time_unref(time);
    };
    using Time = std::unique_ptr<GDateTime, decltype(free_time)>;
    GTlsCertificate* certificate = present->certificate.get();
    const Time from(g_tls_certificate_get_not_valid_before(certificate), free_time);
    const Time until(g_tls_certificate_get_not_valid_after(certificate), free_time);
    const Time now(g_date_time_new_now_utc(), free_time);
    if (until && g_date_time_compare(now.get(), until.get()) > 0)
        return fail(ErrorKind::Invalid,
                    "TLS: our certificate " + files_.cert + " expired on " + day_of(until.get()),
                    "renew it with drover-certs; no restart is needed");
    if (from && g_date_time_compare(now.get(), from.get()) < 0)
        return fail(ErrorKind::Invalid,
                    "TLS: our certificate " + files_.cert + " is valid from " + day_of(from.get()) +
                        " only",
                    "check this machine's clock");
    return {};
}

} // namespace drover::balancer
