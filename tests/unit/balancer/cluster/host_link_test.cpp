// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/cluster/host_link.h"

#include "contrib/balancer/doors/door.h"
#include "tests/unit/balancer/cluster/temporary_directory.h"
#include "tests/unit/monitor/loop_testing.h"

#include <sys/socket.h>
#include <sys/un.h>

namespace drover::balancer::cluster::testing {
namespace {

using drover::testing::run_until;

/// A droverd of which only the door is there.
class HostLinkTest : public ::testing::Test {
protected:
    void open()
    {
        table_ = std::make_unique<CommandTable>(Json::object());
        const auto answer = [this](const char* name, auto function) {
            table_->add(name, Role::Observe, {}, function);
        };
        answer("query-vms", [](const Json&, const Client&, const QmpResponder& respond) {
            respond(QmpResponse::ok(Json::array({1, 2})));
        });
        answer("query-vm-migration", [](const Json&, const Client&, const QmpResponder& respond) {
            respond(QmpResponse::error("never heard of it", "DeviceNotFound"));
        });
        answer("vm-abandon", [](const Json&, const Client&, const QmpResponder& respond) {
            respond(QmpResponse::error("the guest may be here"));
        });
        answer("vm-prepare", [this](const Json&, const Client&, QmpResponder respond) {
            unanswered_.push_back(std::move(respond));
        });
        server_ = std::make_unique<DoorServer>(make_greeting("droverd"), *table_);
        const auto added = server_->add({.address = address(), .group = "", .identity = nullptr});
        ASSERT_TRUE(added) << added.error().text();
    }

    void close()
    {
        server_.reset();
        unanswered_.clear();
        table_.reset();
    }

    HostDoor::Answer ask(HostLink& link, const char* command)
    {
        std::optional<HostDoor::Answer> got;
        link.execute(command, Json::object(),
                     [&](const HostDoor::Answer& answer) { got = answer; });
        EXPECT_FALSE(got); // never before execute() has returned
        EXPECT_TRUE(run_until([&] { return got.has_value(); }));
        return got.value_or(Json());
    }

    [[nodiscard]] std::string address() const { return "unix:" + directory_.path() + "/door"; }

    TemporaryDirectory directory_;
    std::unique_ptr<CommandTable> table_;
    std::unique_ptr<DoorServer> server_;
    std::vector<QmpResponder> unanswered_;
    std::vector<Json> events_;
    HostLink link_{"a",
                   address(),
                   nullptr,
                   [this](const Json& event) { events_.push_back(event); },
                   {.period = std::chrono::milliseconds(50), .most_unanswered = 3}};
};

TEST_F(HostLinkTest, tells_answers_refusals_and_events)
{
    open();
    ASSERT_TRUE(run_until([&] { return link_.is_up(); }));
    EXPECT_EQ(ask(link_, "query-vms").value_or(Json()), Json::array({1, 2}));
    const auto never = ask(link_, "query-vm-migration");
    ASSERT_FALSE(never);
    EXPECT_TRUE(never.error().never_heard());
    const auto refused = ask(link_, "vm-abandon");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().kind, DoorError::Kind::Refused);
    EXPECT_FALSE(refused.error().never_heard());
    EXPECT_EQ(refused.error().text, "the guest may be here");
    server_->broadcast(make_event("VM_CHANGED", {{"name", "web"}}));
    EXPECT_TRUE(run_until([&] { return !events_.empty(); }));
}

TEST_F(HostLinkTest, a_broken_connection_is_no_refusal_and_is_made_again)
{
    EXPECT_FALSE(ask(link_, "query-vms")); // nobody is there yet
    open();
    ASSERT_TRUE(run_until([&] { return link_.is_up(); }));
    std::optional<HostDoor::Answer> got;
    link_.execute("vm-prepare", Json::object(),
                  [&](const HostDoor::Answer& answer) { got = answer; });
    ASSERT_TRUE(run_until([&] { return !unanswered_.empty(); }));
    close();
    ASSERT_TRUE(run_until([&] { return got.has_value(); }));
    ASSERT_FALSE(*got);
    EXPECT_EQ(got->error().kind, DoorError::Kind::Lost);
    ASSERT_TRUE(run_until([&] { return !link_.is_up(); }));
    EXPECT_FALSE(link_.trouble().empty());
    open();
    EXPECT_TRUE(run_until([&] { return link_.is_up(); }));
    EXPECT_TRUE(ask(link_, "query-vms"));
}

const std::string greeting_words = "{\"QMP\": {\"version\": {}, \"capabilities\": []}}\r\n";
const std::string negotiated_words = "{\"return\": {}, \"id\": 1}\r\n";

/// A peer of which the test is the mind.
class HostLinkWithPeer : public HostLinkTest {
protected:
    void SetUp() override
    {
        sockaddr_un name{.sun_family = AF_UNIX, .sun_path = {}};
        const std::string path = directory_.path() + "/door";
        path.copy(static_cast<char*>(name.sun_path), sizeof name.sun_path - 1);
        listener_ = UniqueFd(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0));
        ASSERT_EQ(bind(listener_.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name), 0);
        ASSERT_EQ(listen(listener_.get(), 1), 0);
        ASSERT_TRUE(run_until([&] {
            if (peer_.get() < 0)
                peer_ = UniqueFd(accept(listener_.get(), nullptr, nullptr));
            return peer_.get() >= 0;
        }));
    }

    void say(const std::string& words)
    {
        ASSERT_EQ(write(peer_.get(), words.data(), words.size()), ssize_t(words.size()));
    }

    UniqueFd listener_;
    UniqueFd peer_;
};

/// As where a host has lost its power: the connection stands, and nobody is there.
TEST_F(HostLinkWithPeer, a_silent_connection_is_given_up)
{
    say(greeting_words + negotiated_words);
    ASSERT_TRUE(run_until([&] { return link_.is_up(); }));
    std::optional<HostDoor::Answer> got;
    link_.execute("query-vms", Json::object(),
                  [&](const HostDoor::Answer& answer) { got = answer; });
    ASSERT_TRUE(run_until([&] { return !link_.is_up(); }));
    EXPECT_NE(link_.trouble().find("silent"), std::string::npos) << link_.trouble();
    ASSERT_TRUE(run_until([&] { return got.has_value(); }));
    EXPECT_EQ(got->error().kind, DoorError::Kind::Lost);
}

/// In the moment between the giving up and the connection's end.
TEST_F(HostLinkWithPeer, a_greeting_that_comes_too_late_changes_nothing)
{
    say(greeting_words);
    ASSERT_TRUE(run_until([&] { return !link_.trouble().empty(); }));
    say(negotiated_words);
    drover::testing::run_pending();
    EXPECT_FALSE(link_.is_up());
}

TEST_F(HostLinkWithPeer, who_swallows_commands_is_given_up)
{
    say(greeting_words + negotiated_words);
    ASSERT_TRUE(run_until([&] { return link_.is_up(); }));
    for (int i = 0; i < 501; ++i)
        link_.execute("query-vms", Json::object(), [](const HostDoor::Answer&) {});
    ASSERT_TRUE(run_until([&] { return !link_.is_up(); }));
    EXPECT_NE(link_.trouble().find("500 commands"), std::string::npos) << link_.trouble();
}

} // namespace
} // namespace drover::balancer::cluster::testing
