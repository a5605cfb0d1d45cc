// SPDX-License-Identifier: GPL-2.0-or-later
#include "system/tls_objects.h"

#include "system/tls_authz.h"
#include "system/user_object.h"

namespace drover {

namespace {

using Done = std::function<void(Result<SharedTlsCredentials>)>;

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

/// With what the object tls-authz says, where there is one.
void finish(QmpClient& qemu, TlsWords words, const std::string& authz, const Done& done)
{
    if (authz.empty() || words.endpoint == TlsWords::Endpoint::Client)
        return done(TlsCredentials::load(std::move(words)));
    read_user_object(qemu, authz, authz_properties(), [words, done](Result<Json> object) {
        auto authorize = object ? make_authorization(*object) : pass(object);
        if (!authorize)
            return done(pass(authorize));
        TlsWords all = words;
        all.authorize = std::move(*authorize);
        done(TlsCredentials::load(std::move(all)));
    });
}

} // namespace

void read_tls_credentials(QmpClient& qemu, const TlsParameters& parameters,
                          TlsWords::Endpoint endpoint, const std::string& host,
                          std::function<void(Result<SharedTlsCredentials>)> done)
{
    if (parameters.creds.empty())
        return done(SharedTlsCredentials());
    read_user_object(
        qemu, parameters.creds,
        {"dir", "endpoint", "verify-peer", "priority", "username", "passwordid"},
        [&qemu, parameters, endpoint, host, done = std::move(done)](Result<Json> object) {
            auto words = object ? words_of(*object, endpoint) : pass(object);
            if (!words)
                return done(pass(words));
            words->hostname = parameters.hostname.empty() ? host : parameters.hostname;
            finish(qemu, std::move(*words), parameters.authz, done);
        });
}

} // namespace drover
