// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/transport/address.h"

#include <gtest/gtest.h>

namespace drover {
namespace {

using Kind = MigrationAddress::Kind;

void expect_refused(std::string_view uri, std::string_view word)
{
    const auto address = MigrationAddress::parse(uri);
    ASSERT_FALSE(address) << uri;
    EXPECT_EQ(address.error().kind, ErrorKind::Invalid);
    EXPECT_NE(address.error().text().find(word), std::string::npos) << address.error().text();
}

TEST(Address, Tcp)
{
    struct Case {
        const char* uri;
        const char* host;
        const char* port;
        const char* text;
    };
    for (const Case& c : {
             Case{"tcp:host.example:4444", "host.example", "4444", "tcp:host.example:4444"},
             Case{"tcp:10.0.0.1:0", "10.0.0.1", "0", "tcp:10.0.0.1:0"},
             Case{"tcp:0:4444", "", "4444", "tcp:0:4444"},
             Case{"tcp::4444", "", "4444", "tcp:0:4444"},
             Case{"tcp:0.0.0.0:65535", "0.0.0.0", "65535", "tcp:0.0.0.0:65535"},
             Case{"tcp:[::1]:4444", "::1", "4444", "tcp:[::1]:4444"},
             Case{"tcp:[::]:4444", "::", "4444", "tcp:[::]:4444"},
             Case{"tcp:[fe80::1%eth0]:1", "fe80::1%eth0", "1", "tcp:[fe80::1%eth0]:1"},
             Case{"tcp:0:4444,ipv4=on", "", "4444", "tcp:0:4444"},
             Case{"tcp:h:1,ipv4,ipv6=off,to=9,keep-alive=on", "h", "1", "tcp:h:1"},
         }) {
        const auto address = MigrationAddress::parse(c.uri);
        ASSERT_TRUE(address) << c.uri << ": " << address.error().text();
        EXPECT_EQ(address->kind, Kind::Tcp);
        EXPECT_EQ(address->host, c.host) << c.uri;
        EXPECT_EQ(address->port, c.port) << c.uri;
        EXPECT_EQ(address->text(), c.text);
        EXPECT_EQ(address->port_number(), std::stoul(c.port));
    }
}

TEST(Address, UnixAndFd)
{
    const auto path = MigrationAddress::parse("unix:/run/a,b:c");
    ASSERT_TRUE(path);
    EXPECT_EQ(path->kind, Kind::Unix);
    EXPECT_EQ(path->path, "/run/a,b:c");
    EXPECT_EQ(path->text(), "unix:/run/a,b:c");
    const auto fd = MigrationAddress::parse("fd:migrate-socket");
    ASSERT_TRUE(fd);
    EXPECT_EQ(fd->kind, Kind::Fd);
    EXPECT_EQ(fd->fd_name, "migrate-socket");
    EXPECT_EQ(fd->text(), "fd:migrate-socket");
    EXPECT_TRUE(MigrationAddress::parse("unix:" + std::string(107, 'p')));
}

TEST(Address, NonsenseIsRefusedInWords)
{
    for (const char* uri : {"", "tcp", "exec:cat", "rdma:host:1", "file:/x", "defer", "vsock:1:2"})
        expect_refused(uri, "tcp:HOST:PORT, unix:PATH or fd:NAME");
    expect_refused("tcp:", "no port");
    expect_refused("tcp:host", "no port");
    for (const char* uri : {"tcp:host:", "tcp:host:http", "tcp:host:-1", "tcp:host:+1",
                            "tcp:host:65536", "tcp:host:1 ", "tcp:host:99999999999999999999"})
        expect_refused(uri, "port from 0 to 65535");
    for (const char* uri : {"tcp:::1:4444", "tcp:[::1:4444", "tcp:fe80::1:4444", "tcp:]:1"})
        expect_refused(uri, "brackets");
    expect_refused("tcp:0:1,mptcp=on", "\"mptcp\"");
    expect_refused("tcp:0:1,,", "option");
    expect_refused("tcp:" + std::string(256, 'h') + ":1", "255 bytes");
    expect_refused("unix:", "no path");
    expect_refused("unix:" + std::string(108, 'p'), "107 bytes");
    expect_refused("fd:", "no descriptor");
    expect_refused(std::string_view("unix:/a\0b", 9), "zero byte");
}

} // namespace
} // namespace drover
