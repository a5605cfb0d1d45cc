// SPDX-License-Identifier: GPL-2.0-or-later
#include "system/migrate_target.h"
#include "system/named_descriptors.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

namespace drover {
namespace {

using Kind = NamedDescriptors::Kind;

struct Pipe {
    Pipe() { EXPECT_EQ(pipe(ends), 0); }
    ~Pipe() { close(ends[0]); }
    /// Whether nobody holds the writing end.
    [[nodiscard]] bool at_end() const
    {
        char byte = 0;
        return read(ends[0], &byte, 1) == 0;
    }
    int ends[2];
};

bool at_end(const UniqueFd& socket)
{
    char byte = 0;
    return recv(socket.get(), &byte, 1, MSG_DONTWAIT) == 0;
}

TEST(NamedDescriptors, OnlyConnectionsAreKept)
{
    NamedDescriptors names;
    const Pipe pipe;
    names.name("save", UniqueFd(pipe.ends[1]));
    EXPECT_TRUE(pipe.at_end());
    EXPECT_EQ(names.kind("save"), Kind::Other);
    auto pair = socket_pair();
    names.name("link", std::move(pair->second));
    EXPECT_EQ(names.kind("link"), Kind::Connection);
    EXPECT_FALSE(at_end(pair->first));
    EXPECT_FALSE(names.take("save"));
    auto taken = names.take("link");
    ASSERT_TRUE(taken);
    EXPECT_TRUE(taken->named);
    EXPECT_FALSE(names.kind("link"));
    taken->fd.reset();
    EXPECT_TRUE(at_end(pair->first));
}

TEST(NamedDescriptors, ANameThatAnotherCommandUsesIsGone)
{
    for (const char* arguments :
         {R"({"type":"tap","fd":"link"})", R"({"protocol":"fd:link"})", R"({"fds":"a:link"})",
          R"({"backend":{"data":{"addr":{"data":{"str":"link"}}}}})",
          R"({"command-line":"netdev_add tap,fd=link,id=n"})"}) {
        NamedDescriptors names;
        auto pair = socket_pair();
        names.name("link", std::move(pair->second));
        names.used_by(Json::parse(R"({"id":"link2","driver":"a-link"})"));
        EXPECT_FALSE(at_end(pair->first));
        names.used_by(Json::parse(arguments));
        EXPECT_TRUE(at_end(pair->first)) << arguments;
    }
}

TEST(NamedDescriptors, InheritedOnesAreSorted)
{
    NamedDescriptors names;
    const Pipe pipe;
    auto ours = socket_pair();
    auto qemus = socket_pair();
    const int connection = ours->second.release();
    const int mentioned = qemus->second.release();
    names.inherit({pipe.ends[1], connection, mentioned},
                  {"-netdev", "stream,id=n,addr.type=fd,addr.str=" + std::to_string(mentioned)});
    EXPECT_FALSE(at_end(qemus->first));
    names.close_what_is_qemus();
    EXPECT_TRUE(pipe.at_end());
    EXPECT_TRUE(at_end(qemus->first));
    EXPECT_FALSE(at_end(ours->first));
    EXPECT_EQ(names.kind(std::to_string(pipe.ends[1])), Kind::Other);
    EXPECT_EQ(names.kind(std::to_string(connection)), Kind::Connection);
    auto taken = names.take(std::to_string(connection));
    ASSERT_TRUE(taken);
    EXPECT_FALSE(taken->named);
}

/// "tcp:…", or "qemu" where the migration is QEMU's, or the error.
std::string target_of(const char* arguments, const NamedDescriptors& names)
{
    auto target = MigrateTarget::parse(Json::parse(arguments), names);
    if (!target)
        return target.error().message;
    return target->native ? "qemu" : target->address.text();
}

TEST(MigrateTarget, WhoseMigrationItIs)
{
    NamedDescriptors names;
    const Pipe pipe;
    auto pair = socket_pair();
    names.name("pipe", UniqueFd(pipe.ends[1]));
    names.name("link", std::move(pair->second));
    const auto of = [&](const char* arguments) { return target_of(arguments, names); };
    EXPECT_EQ(of(R"({"uri":"tcp:h:1"})"), "tcp:h:1");
    EXPECT_EQ(of(R"({"uri":"exec:cat"})"), "qemu");
    EXPECT_EQ(of(R"({"uri":"file:/x,offset=1"})"), "qemu");
    EXPECT_EQ(of(R"({"uri":"fd:pipe"})"), "qemu");
    EXPECT_EQ(of(R"({"uri":"fd:link"})"), "fd:link");
    EXPECT_EQ(of(R"({})"), "Parameter 'uri' is missing");
    EXPECT_EQ(of(R"({"uri":1})"), "Invalid parameter type for 'uri', expected: string");
    EXPECT_EQ(of(R"({"uri":"tcp:h:1","channels":[]})"),
              "'uri' and 'channels' arguments are mutually exclusive");
    const auto channel = [&](const std::string& address) {
        return of((R"({"channels":[{"channel-type":"main","addr":)" + address + "}]}").c_str());
    };
    EXPECT_EQ(channel(R"({"transport":"socket","type":"inet","host":"::1","port":"7","to":9})"),
              "tcp:[::1]:7");
    EXPECT_EQ(channel(R"({"transport":"socket","type":"unix","path":"/p"})"), "unix:/p");
    EXPECT_EQ(channel(R"({"transport":"socket","type":"fd","str":"pipe"})"), "qemu");
    EXPECT_EQ(channel(R"({"transport":"exec","args":["cat"]})"), "qemu");
    EXPECT_EQ(channel(R"({"transport":"file","filename":"/x","offset":0})"), "qemu");
    EXPECT_EQ(channel(R"({"transport":"rdma","host":"h","port":"1"})"),
              "the transport 'rdma' is not supported");
    EXPECT_EQ(of(R"({"channels":[]})"), "'channels' must have one channel");
    EXPECT_EQ(of(R"({"channels":[3]})"), "'channels' must have one channel");
}

} // namespace
} // namespace drover
