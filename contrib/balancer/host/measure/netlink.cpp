// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/measure/netlink.h"

#include <algorithm>
#include <cerrno>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

namespace drover::balancer::measure {

namespace {

/// The kernel fills dumps into messages of at most 32 KiB.
constexpr size_t buffer_size = 64 << 10;

constexpr size_t aligned(size_t size)
{
    return (size + 3) & ~size_t(3);
}

} // namespace

void for_each_attribute(Bytes attributes,
                        const std::function<void(unsigned type, Bytes content)>& each)
{
    while (const auto header = whole_as<nlattr>(attributes)) {
        if (header->nla_len < sizeof *header || header->nla_len > attributes.size())
            return;
        each(header->nla_type & NLA_TYPE_MASK,
             attributes.subspan(sizeof *header, header->nla_len - sizeof *header));
        attributes = attributes.subspan(std::min(aligned(header->nla_len), attributes.size()));
    }
}

std::string_view text_of(Bytes content)
{
    const std::string_view all(reinterpret_cast<const char*>(content.data()), content.size());
    return all.substr(0, all.find('\0'));
}

Result<bool> for_each_message(Bytes received,
                              const std::function<void(unsigned type, Bytes content)>& each)
{
    while (const auto header = whole_as<nlmsghdr>(received)) {
        if (header->nlmsg_len < sizeof *header || header->nlmsg_len > received.size())
            return fail(ErrorKind::System, "netlink: a message that is cut off");
        const Bytes content = received.subspan(sizeof *header, header->nlmsg_len - sizeof *header);
        if (header->nlmsg_type == NLMSG_ERROR) {
            const int error = -whole_as<int>(content).value_or(-EPROTO);
            if (error != 0)
                return fail_errno("netlink", error);
            return true;
        }
        if (header->nlmsg_type == NLMSG_DONE)
            return true;
        each(header->nlmsg_type, content);
        if ((header->nlmsg_flags & NLM_F_MULTI) == 0)
            return true;
        received = received.subspan(std::min(aligned(header->nlmsg_len), received.size()));
    }
    return false;
}

Status NetlinkSocket::open()
{
    fd_ = UniqueFd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol_));
    if (!fd_)
        return fail_errno("opening a netlink socket", errno);
    // The kernel answers within the call; this is only so that nothing can ever wedge the loop.
    const timeval limit = {1, 0};
    setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    buffer_.resize(buffer_size);
    return {};
}

Status NetlinkSocket::send(unsigned type, Bytes request, bool dump)
{
    nlmsghdr header = {};
    header.nlmsg_len = static_cast<uint32_t>(sizeof header + request.size());
    header.nlmsg_type = static_cast<uint16_t>(type);
    header.nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | (dump ? NLM_F_DUMP : 0));
    header.nlmsg_seq = ++sequence_;
    std::vector<std::byte> message(header.nlmsg_len);
    std::memcpy(message.data(), &header, sizeof header);
    std::memcpy(message.data() + sizeof header, request.data(), request.size());
    if (::send(fd_.get(), message.data(), message.size(), 0) < 0)
        return fail_errno("asking by netlink", errno);
    return {};
}

Status NetlinkSocket::ask(unsigned type, Bytes request, bool dump,
                          const std::function<void(unsigned type, Bytes content)>& each)
{
    auto status = fd_ ? Status() : open();
    if (status)
        status = send(type, request, dump);
    while (status) {
        const ssize_t n = recv(fd_.get(), buffer_.data(), buffer_.size(), 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            status = fail_errno("reading from netlink", errno);
            break;
        }
        const auto done = for_each_message(Bytes(buffer_).first(static_cast<size_t>(n)), each);
        if (!done)
            status = std::unexpected(done.error());
        else if (*done)
            return {};
    }
    fd_.reset(); // what else is on its way in the old one is not an answer to the next question
    return status;
}

} // namespace drover::balancer::measure
