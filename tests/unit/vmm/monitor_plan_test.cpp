// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/monitor_plan.h"

#include "fake_host.h"

#include <gtest/gtest.h>

namespace drover::qemu {
namespace {

using Kind = MonitorEndpoint::Kind;

struct Planned {
    CommandLine line;
    Result<std::vector<MonitorEndpoint>> monitors;
};

Planned plan(std::string_view text)
{
    Planned planned{CommandLine::parse(words(text)), {}};
    planned.monitors = plan_monitors(planned.line);
    return planned;
}

/// "KIND PATH-OR-ADDRESS-OR-FD [wait] [pretty] [reconnect=N]"
std::string describe(const MonitorEndpoint& monitor)
{
    std::string text;
    switch (monitor.kind) {
    case Kind::UnixListen: text = "listen " + monitor.path; break;
    case Kind::UnixConnect: text = "connect " + monitor.path; break;
    case Kind::TcpListen: text = "listen " + monitor.host + ":" + monitor.port; break;
    case Kind::TcpConnect: text = "connect " + monitor.host + ":" + monitor.port; break;
    case Kind::ListenFd: text = "listen " + std::to_string(monitor.fd); break;
    case Kind::ConnectedFd: text = "connected " + std::to_string(monitor.fd); break;
    case Kind::Stdio: text = "stdio"; break;
    }
    text += monitor.abstract ? " abstract" : "";
    text += monitor.padded ? " padded" : "";
    text += monitor.telnet ? " telnet" : "";
    text += monitor.log_file.empty() ? "" : " log=" + monitor.log_file;
    text += monitor.append_to_log ? "+" : "";
    text += monitor.wait ? " wait" : "";
    text += monitor.pretty ? " pretty" : "";
    text += monitor.reconnect_s != 0 ? " reconnect=" + std::to_string(monitor.reconnect_s) : "";
    return text;
}

TEST(MonitorPlan, QmpMonitorsAreTakenOut)
{
    const struct {
        const char* text;
        const char* monitor;
    } cases[] = {
        {"-qmp unix:/q,server=on,wait=off", "listen /q"},
        {"-qmp unix:/q,server,nowait", "listen /q"},
        {"-qmp unix:/q,server", "listen /q wait"},
        {"-qmp-pretty unix:/q,server=on,wait=on", "listen /q wait pretty"},
        {"-qmp unix:/q", "connect /q"},
        {"-qmp unix:/q,reconnect=5", "connect /q reconnect=5"},
        {"-qmp unix:/q,reconnect-ms=1500", "connect /q reconnect=2"},
        {"-qmp unix:/a,,b,server,nowait", "listen /a,b"},
        {"-qmp tcp:localhost:4444,server=on,wait=off", "listen localhost:4444"},
        {"-qmp tcp::4444,server,nowait,nodelay", "listen :4444"},
        {"-qmp tcp:[::1]:4444", "connect ::1:4444"},
        {"-qmp stdio", "stdio"},
        {"--qmp stdio", "stdio"},
        {"-chardev socket,id=c,path=/q,server=on,wait=off -mon chardev=c,mode=control",
         "listen /q"},
        {"-mon c,mode=control,pretty=on -chardev socket,id=c,host=::,port=1,server=on,wait=off",
         "listen :::1 pretty"},
        {"-chardev socket,id=charmonitor,fd=30,server=on,wait=off "
         "-mon chardev=charmonitor,id=monitor,mode=control",
         "listen 30"},
        {"-chardev socket,id=c,fd=7 -mon chardev=c,mode=control,pretty", "connected 7 pretty"},
        {"-chardev stdio,id=c,signal=off -mon chardev=c,mode=control", "stdio"},
        {"-chardev stdio,id=c,mux=off -qmp chardev:c", "stdio"},
        {"-qmp unix:/q,server=on,wait=off,logfile=/l", "listen /q log=/l"},
        {"-chardev socket,id=c,path=/q,server,nowait,logfile=/l,logappend=on "
         "-mon c,mode=control",
         "listen /q log=/l+"},
        {"-chardev stdio,id=c,logfile=/l -mon c,mode=control", "stdio log=/l"},
        {"-qmp unix:q,server,nowait,abstract=on", "listen q abstract"},
        {"-qmp unix:q,abstract=on,tight=off", "connect q abstract padded"},
        {"-qmp tcp::4444,server,nowait,telnet", "listen :4444 telnet"},
        {"-qmp telnet::4444,server,nowait", "listen :4444 telnet"},
        {"-chardev socket,id=c,path=/q,server=on,wait=off "
         "-object monitor-qmp,id=m,chardev=c,pretty=on",
         "listen /q pretty"},
        {R"(-chardev socket,id=c,fd=7 -object {"qom-type":"monitor-qmp","id":"m","chardev":"c"})",
         "connected 7"},
    };
    for (const auto& one : cases) {
        const auto planned = plan(one.text);
        ASSERT_TRUE(planned.monitors) << one.text << ": " << planned.monitors.error().text();
        ASSERT_EQ(planned.monitors->size(), 1u) << one.text;
        EXPECT_EQ(describe(planned.monitors->front()), one.monitor) << one.text;
        EXPECT_EQ(joined(planned.line.arguments()), "") << one.text;
    }
}

TEST(MonitorPlan, TheRestOfTheLineStays)
{
    const auto planned = plan(
        "-S -chardev socket,id=serial,path=/s -serial chardev:serial -qmp unix:/1,server,nowait "
        "-chardev socket,id=h,path=/h -mon h -qmp unix:/2,server,nowait -monitor none a.img");
    ASSERT_TRUE(planned.monitors);
    ASSERT_EQ(planned.monitors->size(), 2u);
    EXPECT_EQ(planned.monitors->at(0).path, "/1");
    EXPECT_EQ(planned.monitors->at(1).path, "/2");
    EXPECT_EQ(joined(planned.line.arguments()),
              "-S -chardev socket,id=serial,path=/s -serial chardev:serial "
              "-chardev socket,id=h,path=/h -mon h -monitor none a.img");
}

TEST(MonitorPlan, QemusDefaultMonitorIsSpelledOut)
{
    const struct {
        const char* text;
        const char* becomes;
    } cases[] = {
        {"", "-monitor vc:80Cx24C"},
        {"-display none", "-display none -monitor vc:80Cx24C"},
        {"-nographic", "-nographic -serial mon:stdio"},
        {"-nographic -serial null", "-nographic -serial null -monitor stdio"},
        {"-nographic -serial mon:stdio", "-nographic -serial mon:stdio"},
        {"-nographic -serial none -parallel mon:stdio",
         "-nographic -serial none -parallel mon:stdio"},
        {R"(-nographic -device {"driver":"isa-serial","chardev":"s"})",
         R"(-nographic -device {"driver":"isa-serial","chardev":"s"} -monitor stdio)"},
        {"-object monitor-hmp,id=h,chardev=c", "-object monitor-hmp,id=h,chardev=c"},
        {"-nodefaults", "-nodefaults"},
        {"-monitor none", "-monitor none"},
        {"-nographic -qmp unix:/q", "-nographic"},
        {"-qmp none", ""},
        {"-qmp null", ""},
    };
    for (const auto& one : cases) {
        const auto planned = plan(one.text);
        ASSERT_TRUE(planned.monitors) << one.text;
        EXPECT_EQ(joined(planned.line.arguments()), one.becomes) << one.text;
    }
}

TEST(MonitorPlan, RefusesInWords)
{
    const struct {
        const char* text;
        const char* says;
    } cases[] = {
        {"-qmp pty", "'pty' is not supported for a QMP monitor (a QMP monitor can be unix:PATH"},
        {"-qmp vc", "'vc' is not supported"},
        {"-qmp mon:stdio", "'mon:stdio' is not supported"},
        {"-qmp pipe:/p", "'pipe:/p' is not supported"},
        {"-qmp unix:/q,websocket=on", "websocket=on is not supported"},
        {"-qmp tcp::1,tls-creds=t", "tls-creds=t is not supported"},
        {"-object monitor-qmp,id=m,chardev=c,speed=9", "option 'speed' is not known"},
        {"-object monitor-qmp,id=m,chardev=c", "no -chardev with that id"},
        {"-qmp tcp:host", "has no port"},
        {"-qmp unix:/q,server=maybe", "neither on nor off"},
        {"-mon c,mode=control", "no -chardev with that id"},
        {"-chardev pty,id=c -mon c,mode=control", "a -chardev pty is not supported"},
        {"-chardev socket,id=c,path=/q,mux=on -mon c,mode=control", "mux=on is not supported"},
        {"-chardev socket,id=c -mon c,mode=control", "needs path="},
        {"-chardev socket,id=c,fd=abc -mon c,mode=control", "fd=abc is not the number"},
        {"-chardev stdio,id=c -mon c,mode=control -serial chardev:c", "and by something else"},
        {"-chardev stdio,id=c -mon c,mode=control -device virtconsole,chardev=c",
         "and by something else"},
        {"-chardev stdio,id=c -mon c,mode=control -mon c", "and by something else"},
        {"-qmp stdio -serial stdio", "standard input"},
        {"-qmp stdio -nographic", "standard input"},
        {"-qmp stdio -qmp stdio", "standard input"},
    };
    for (const auto& one : cases) {
        const auto planned = plan(one.text);
        ASSERT_FALSE(planned.monitors) << one.text;
        EXPECT_NE(planned.monitors.error().text().find(one.says), std::string::npos)
            << one.text << ": " << planned.monitors.error().text();
    }
}

} // namespace
} // namespace drover::qemu
