// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/measure/tcp_sockets.h"

#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/tcp.h>
#include <netinet/in.h>

namespace drover::balancer::measure {

namespace {

constexpr uint32_t established = 1U << 1; // TCP_ESTABLISHED, as a bit

inet_diag_req_v2 request_for(uint8_t family)
{
    inet_diag_req_v2 request = {};
    request.sdiag_family = family;
    request.sdiag_protocol = IPPROTO_TCP;
    request.idiag_states = established;
    return request;
}

} // namespace

std::optional<TcpSocket> parse_tcp_socket(Bytes content)
{
    const auto header = whole_as<inet_diag_msg>(content);
    if (!header)
        return std::nullopt;
    TcpSocket socket;
    socket.id = header->id;
    socket.family = header->idiag_family;
    socket.inode = header->idiag_inode;
    socket.local_port = ntohs(header->id.idiag_sport);
    socket.remote_port = ntohs(header->id.idiag_dport);
    for_each_attribute(content.subspan(sizeof *header), [&](unsigned type, Bytes value) {
        constexpr size_t least = offsetof(tcp_info, tcpi_notsent_bytes) + 4; // Linux 4.6
        const auto info = type == INET_DIAG_INFO ? whole_as<tcp_info>(value, least) : std::nullopt;
        if (!info)
            return;
        socket.sent = info->tcpi_bytes_acked;
        socket.received = info->tcpi_bytes_received;
        socket.unsent = info->tcpi_notsent_bytes;
        socket.has_info = true;
    });
    return socket;
}

TcpReader::TcpReader() : netlink_(NETLINK_SOCK_DIAG) {}

Result<std::vector<TcpSocket>> TcpReader::list()
{
    std::vector<TcpSocket> sockets;
    for (const uint8_t family : {AF_INET, AF_INET6}) {
        const inet_diag_req_v2 request = request_for(family);
        const auto status = netlink_.ask(SOCK_DIAG_BY_FAMILY, std::as_bytes(std::span(&request, 1)),
                                         true, [&](unsigned, Bytes content) {
                                             if (const auto socket = parse_tcp_socket(content))
                                                 sockets.push_back(*socket);
                                         });
        if (!status)
            return std::unexpected(Error(status.error()).in("listing TCP connections"));
    }
    return sockets;
}

Result<TcpSocket> TcpReader::read(const TcpSocket& socket)
{
    inet_diag_req_v2 request = request_for(socket.family);
    request.idiag_ext = 1U << (INET_DIAG_INFO - 1);
    request.id = socket.id;
    std::optional<TcpSocket> answer;
    const auto status =
        netlink_.ask(SOCK_DIAG_BY_FAMILY, std::as_bytes(std::span(&request, 1)), false,
                     [&](unsigned, Bytes content) { answer = parse_tcp_socket(content); });
    if (!status)
        return std::unexpected(Error(status.error()).in("asking for a TCP connection"));
    if (!answer || !answer->has_info || answer->inode != socket.inode)
        return fail(ErrorKind::Connection, "the TCP connection has gone");
    return *answer;
}

} // namespace drover::balancer::measure
