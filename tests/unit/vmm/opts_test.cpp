// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/opts.h"

#include <gtest/gtest.h>

namespace drover::qemu {
namespace {

TEST(QemuSize, IsReadAsQemuReadsIt)
{
    const struct {
        const char* text;
        char suffix;
        uint64_t bytes;
    } cases[] = {
        {"512", 'M', 512ULL << 20},
        {"512", 'B', 512},
        {"1.5G", 'M', 3ULL << 29},
        {"1g", 'M', 1ULL << 30},
        {"131000K", 'M', 131000ULL << 10},
        {"20B", 'M', 20},
        {"0x10", 'M', 16ULL << 20},
        {"0x10M", 'B', 16ULL << 20},
        {"0x1E", 'M', 0x1e},
        {"0", 'M', 0},
        {"2T", 'B', 2ULL << 40},
        {"0.5M", 'B', 512 << 10},
        {"15E", 'B', 15ULL << 60},
    };
    for (const auto& one : cases) {
        const auto size = parse_size(one.text, one.suffix);
        ASSERT_TRUE(size) << one.text;
        EXPECT_EQ(*size, one.bytes) << one.text;
    }
}

TEST(QemuSize, RefusesWhatIsNone)
{
    for (const char* text : {"", "M", "-1", "1e1", "1.2.3", "abc", "1Q", "16E", "0xZ", "5 M", "."})
        EXPECT_FALSE(parse_size(text, 'M')) << text;
}

TEST(QemuOpts, ReadsKeysFlagsAndEscapes)
{
    const auto opts = Opts::parse("pc,usb,noacpi,name=a,,b=c,x=1,x=2,server", "type");
    ASSERT_TRUE(opts);
    EXPECT_EQ(opts->get("type"), "pc");
    EXPECT_EQ(opts->get("usb"), "on");
    EXPECT_EQ(opts->get("acpi"), "off");
    EXPECT_EQ(opts->get("name"), "a,b=c");
    EXPECT_EQ(opts->get("x"), "2");
    EXPECT_FALSE(opts->has("missing"));
    EXPECT_TRUE(*opts->get_bool("server", false));
    EXPECT_FALSE(opts->get_bool("name", false));
    EXPECT_EQ(opts->text(), "pc,usb,noacpi,name=a,,b=c,x=1,x=2,server");
}

TEST(QemuOpts, ImpliedKeyMayHoldEscapedCommas)
{
    const auto opts = Opts::parse("/tmp/a,,b,server=on", "path");
    ASSERT_TRUE(opts);
    EXPECT_EQ(opts->get("path"), "/tmp/a,b");
    EXPECT_EQ(opts->get("server"), "on");
}

TEST(QemuOpts, ChangesOnlyWhatIsSet)
{
    auto opts = *Opts::parse("memory-backend-ram,id=a,,b,host-nodes=0,host-nodes=2,seal=on", "qom");
    opts.set("qom", "x");
    opts.set("mem-path", "/a,b");
    opts.set_bool("share", true);
    opts.set_size("size", 4096);
    opts.remove("seal");
    EXPECT_EQ(opts.text(),
              "qom=x,id=a,,b,host-nodes=0,host-nodes=2,mem-path=/a,,b,share=on,size=4096");
}

TEST(QemuOpts, JsonStaysJson)
{
    auto opts = *Opts::parse(R"({"qom-type":"memory-backend-ram","id":"r","size":1073741824,)"
                             R"("share":false,"host-nodes":[0,1]})",
                             "qom-type");
    EXPECT_TRUE(opts.is_json());
    EXPECT_EQ(opts.get("id"), "r");
    EXPECT_EQ(*opts.get_size("size"), 1ULL << 30);
    EXPECT_FALSE(*opts.get_bool("share", true));
    opts.set_bool("share", true);
    opts.set("mem-path", "/x");
    EXPECT_EQ(Json::parse(opts.text()),
              Json::parse(R"({"qom-type":"memory-backend-ram","id":"r","size":1073741824,)"
                          R"("share":true,"host-nodes":[0,1],"mem-path":"/x"})"));
    EXPECT_FALSE(Opts::parse("{broken", ""));
}

} // namespace
} // namespace drover::qemu
