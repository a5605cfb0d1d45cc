// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/doors/door_listener.h"

#include "contrib/balancer/doors/tls_pump.h"
#include "util/log.h"

#include <cerrno>
#include <charconv>
#include <grp.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace drover::balancer {

namespace {

constexpr int backlog = 128;

Result<gid_t> group_id(const std::string& group)
{
    gid_t id = 0;
    const auto [rest, error] = std::from_chars(group.data(), group.data() + group.size(), id);
    if (error == std::errc{} && rest == group.data() + group.size())
        return id;
    std::string buffer(16U << 10, '\0');
    struct group entry = {};
    struct group* found = nullptr;
    getgrnam_r(group.c_str(), &entry, buffer.data(), buffer.size(), &found);
    if (!found)
        return fail(ErrorKind::Invalid, "there is no group '" + group + "'",
                    "make it (groupadd --system " + group + ") or name another");
    return entry.gr_gid;
}

/// Nobody gets in before the file has the mode and the group that were asked for.
Result<ListeningSocket> listen_unix(const DoorAddress& address, const DoorOptions& options)
{
    const mode_t former = umask(0177);
    auto listening = listen_on_endpoint(address.listening());
    umask(former);
    if (!listening)
        return listening;
    if (!options.group.empty()) {
        const auto group = group_id(options.group);
        if (!group)
            return std::unexpected(group.error());
        if (chown(address.path.c_str(), static_cast<uid_t>(-1), *group) < 0)
            return fail_errno("giving " + address.path + " to the group " + options.group, errno);
    }
    if (chmod(address.path.c_str(), options.mode & 0777) < 0)
        return fail_errno("setting the mode of " + address.path, errno);
    return listening;
}

std::string name_of_peer(const sockaddr_storage& address, socklen_t size)
{
    char host[NI_MAXHOST] = "?";
    getnameinfo(reinterpret_cast<const sockaddr*>(&address), size, host, sizeof host, nullptr, 0,
                NI_NUMERICHOST);
    return host;
}

std::string peer_of(int fd)
{
    sockaddr_storage address = {};
    socklen_t size = sizeof address;
    if (getpeername(fd, reinterpret_cast<sockaddr*>(&address), &size) < 0)
        return "?";
    return name_of_peer(address, size);
}

std::string port_of(int fd)
{
    sockaddr_storage address = {};
    socklen_t size = sizeof address;
    char port[NI_MAXSERV] = "0";
    if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0)
        getnameinfo(reinterpret_cast<const sockaddr*>(&address), size, nullptr, 0, port,
                    sizeof port, NI_NUMERICSERV);
    return port;
}

} // namespace

void QuietLog::warn(const std::string& text)
{
    if (last_ && seconds_since(*last_) < 1) {
        ++swallowed_;
        return;
    }
    last_ = Clock::now();
    const size_t more = std::exchange(swallowed_, 0);
    log::warning(more == 0 ? text : text + " (and " + std::to_string(more) + " like it before)");
}

DoorListener::DoorListener(DoorAddress address, const DoorOptions& options,
                           const DoorLimits& limits, Arrived arrived)
    : address_(std::move(address)), identity_(options.identity), limits_(limits),
      arrived_(std::move(arrived))
{
}

Result<std::unique_ptr<DoorListener>> DoorListener::open(const DoorOptions& options,
                                                         const DoorLimits& limits, Arrived arrived)
{
    auto address = parse_door_address(options.address);
    if (!address)
        return pass(address);
    std::unique_ptr<DoorListener> self(
        new DoorListener(std::move(*address), options, limits, std::move(arrived)));
    if (Status listening = self->listen(options); !listening)
        return std::unexpected(std::move(listening.error()).in("door " + options.address));
    return self;
}

Status DoorListener::listen(const DoorOptions& options)
{
    if (address_.tls) {
        if (!identity_)
            return fail(ErrorKind::Invalid, "it takes certificates, and none are given",
                        "give the authority's, our own, and its key");
        if (const auto material = identity_->material(); !material)
            return std::unexpected(material.error());
        if (const Status dates = identity_->check_dates(); !dates)
            log::warning(dates.error().text());
    }
    auto listening =
        address_.tls ? listen_on_endpoint(address_.listening()) : listen_unix(address_, options);
    if (!listening)
        return pass(listening);
    listening_ = std::move(*listening);
    ::listen(listening_->fd.get(), backlog); // longer than a monitor's; that it fails is no harm
    if (address_.tls)
        address_.port = port_of(listening_->fd.get());
    accept_on();
    return {};
}

void DoorListener::accept_on()
{
    source_ = loop::watch(listening_->fd.get(), G_IO_IN, [this](GIOCondition) { on_acceptable(); });
}

void DoorListener::pause(std::chrono::milliseconds delay)
{
    source_ = loop::after(delay, [this] { accept_on(); });
}

void DoorListener::on_acceptable()
{
    if (!make_room())
        return;
    UniqueFd fd(accept4(listening_->fd.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!fd) {
        if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
            return;
        // Out of descriptors or memory: the socket stays readable, so look away for a while.
        log_.warn(fail_errno("accepting on " + address(), errno).error().text());
        return pause(std::chrono::seconds(1));
    }
    if (address_.tls)
        knock(std::move(fd));
    else
        admit_local(std::move(fd));
}

/// When all places for handshakes are taken, the oldest is ended if it was given a fair while;
/// otherwise the one that comes waits.
bool DoorListener::make_room()
{
    if (knocks_.size() < limits_.handshakes)
        return true;
    const auto fair = knocks_.front().began + limits_.patience;
    const auto wait = std::chrono::ceil<std::chrono::milliseconds>(fair - Clock::now());
    if (wait.count() > 0) {
        pause(wait);
        return false;
    }
    log_.warn(address() + ": " + knocks_.front().peer +
              " took too long for its handshake while others waited");
    knocks_.pop_front();
    return true;
}

void DoorListener::admit_local(UniqueFd fd)
{
    ucred peer = {};
    socklen_t size = sizeof peer;
    if (getsockopt(fd.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
        return log_.warn(fail_errno(address() + ": who it is", errno).error().text());
    const bool ours = peer.uid == 0 || peer.uid == geteuid();
    arrived_(std::move(fd),
             {"uid " + std::to_string(peer.uid), ours ? Role::Administer : Role::Observe});
}

/// The handshake takes a thread, so it begins only once the client has said something.
void DoorListener::knock(UniqueFd fd)
{
    keep_alive(fd.get());
    const auto place = knocks_.emplace(knocks_.end());
    place->began = Clock::now();
    place->peer = peer_of(fd.get());
    place->fd = std::move(fd);
    place->first_byte =
        loop::watch(place->fd.get(), G_IO_IN, [this, place](GIOCondition) { shake_hands(place); });
    place->limit = loop::after(limits_.handshake, [this, place] {
        log_.warn(address() + ": " + place->peer + " said nothing in time");
        forget(place);
    });
}

void DoorListener::shake_hands(Knocks::iterator knock)
{
    knock->first_byte.reset();
    knock->limit.reset();
    auto material = identity_->material();
    if (!material) {
        log_.warn(address() + ": " + material.error().text());
        return forget(knock);
    }
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(
        knock->began + limits_.handshake - Clock::now());
    knock->handshake = TlsHandshake::serve(
        std::move(knock->fd), std::move(*material), std::max(left, std::chrono::milliseconds(1)),
        [this, knock](Result<TlsPeer> peer) { shaken(knock, std::move(peer)); });
}

void DoorListener::shaken(Knocks::iterator knock, Result<TlsPeer> peer)
{
    const std::string who = knock->peer;
    forget(knock);
    if (!peer)
        return log_.warn(address() + ": " + who + ": " + peer.error().text());
    auto identity = identity_of_subject(peer->subject);
    if (!identity)
        return log_.warn(address() + ": " + who + ": " + identity.error().text());
    auto fd = pump_tls(std::move(peer->connection));
    if (!fd)
        return log_.warn(address() + ": " + who + ": " + fd.error().text());
    log::debug(address() + ": " + identity->name + " from " + who + ", role " +
               std::string(to_string(identity->role)));
    arrived_(std::move(*fd), std::move(*identity));
}

void DoorListener::forget(Knocks::iterator knock)
{
    knocks_.erase(knock);
    accept_on(); // it may have paused for want of room
}

} // namespace drover::balancer
