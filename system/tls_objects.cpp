// SPDX-License-Identifier: GPL-2.0-or-later
#include "system/tls_objects.h"

#include "system/tls_authz.h"
#include "system/user_object.h"

namespace drover {

namespace {

Result<TlsWords::Kind> kind_of(const Json& object)
{
    const std::string type = json_string(object, "type");
    if (type == "tls-creds-x509")
        return TlsWords::Kind::X509;
    if (type == "tls-creds-psk")
        return TlsWords::Kind::Psk;
    return fail(ErrorKind::Invalid,
                "an object of type '" + type + "' cannot say who a migration's peer is",
                "use tls-creds-x509 or tls-creds-psk for tls-creds");
}

Result<TlsWords> words_of(const Json& object, TlsWords::Endpoint endpoint)
{
    auto kind = kind_of(object);
    if (!kind)
        return pass(kind);
    const std::string wanted = endpoint == TlsWords::Endpoint::Client ? "client" : "server";
    if (json_string(object, "endpoint") != wanted)
        return fail(ErrorKind::Invalid,
                    "the object that tls-creds names is not for the " + wanted + " endpoint",
                    "the source of a migration is the client, the destination the server");
    if (json_string(object, "dir").empty())
        return fail(ErrorKind::Invalid, "the object that tls-creds names has no dir");
    if (!json_string(object, "passwordid").empty())
        return fail(ErrorKind::Invalid,
                    "Drover cannot read a private key that has a password (passwordid) yet",
                    "take the password off the key, and protect the file");
    TlsWords words;
    words.kind = *kind;
    words.endpoint = endpoint;
    words.dir = json_string(object, "dir");
    words.priority = json_string(object, "priority");
    words.username = json_string(object, "username");
    words.verify_peer = json_bool(object, "verify-peer", true);
    return words;
}

/// What is asked of an object, of those that object-add takes.
const std::vector<std::string>& credentials_properties()
{
    static const std::vector<std::string> names = {"dir",      "endpoint", "verify-peer",
                                                   "priority", "username", "passwordid"};
    return names;
}

} // namespace

Result<SharedTlsCredentials> make_tls_credentials(const Json& object, const Json& authz,
                                                  TlsWords::Endpoint endpoint,
                                                  const std::string& host)
{
    if (object.is_null())
        return SharedTlsCredentials();
    auto words = words_of(object, endpoint);
    if (!words)
        return pass(words);
    words->hostname = host;
    if (!authz.is_null() && endpoint == TlsWords::Endpoint::Server) {
        auto authorize = make_authorization(authz);
        if (!authorize)
            return pass(authorize);
        words->authorize = std::move(*authorize);
    }
    return TlsCredentials::load(std::move(*words));
}

void read_tls_credentials(QmpClient& qemu, const TlsParameters& parameters,
                          TlsWords::Endpoint endpoint, const std::string& host,
                          std::function<void(Result<SharedTlsCredentials>)> done)
{
    if (parameters.creds.empty())
        return done(SharedTlsCredentials());
    const std::string name = parameters.hostname.empty() ? host : parameters.hostname;
    read_user_object(qemu, parameters.creds, credentials_properties(),
                     [&qemu, authz = parameters.authz, endpoint, name, done](Result<Json> object) {
                         if (!object)
                             return done(pass(object));
                         if (authz.empty())
                             return done(make_tls_credentials(*object, nullptr, endpoint, name));
                         read_user_object(
                             qemu, authz, authz_properties(),
                             [object = *object, endpoint, name, done](Result<Json> list) {
                                 done(list ? make_tls_credentials(object, *list, endpoint, name)
                                           : pass(list));
                             });
                     });
}

} // namespace drover
