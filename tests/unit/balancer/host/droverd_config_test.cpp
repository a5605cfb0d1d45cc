// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/droverd_config.h"
#include "contrib/balancer/host/slice.h"
#include "util/fd.h"

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>

namespace drover::balancer {
namespace {

Result<DroverdConfig> read_text(const std::string& text)
{
    const std::string path = ::testing::TempDir() + "droverd.toml";
    std::ofstream(path) << text;
    return read_droverd_config(path);
}

TEST(DroverdConfig, ReadsWhatItIsGiven)
{
    const auto config = read_text(R"(
name = "h1"
listen = "tls:0.0.0.0:9700"
adopt = ["/run/vms/*.qmp"]
[tls]
ca = "/etc/drover/ca.pem"
certificate = "/etc/drover/h1.pem"
key = "/etc/drover/h1.key"
[slice]
cores = 1.5
memory = "2GiB"
link = "12.5MB/s"
[migration]
address = "10.0.0.1"
first-port = 50000
last-port = 50010
[[nic]]
name = "eth0"
capacity = "125MB/s"
)");
    ASSERT_TRUE(config) << config.error().text();
    EXPECT_EQ(config->name, "h1");
    EXPECT_TRUE(config->slice.given);
    EXPECT_EQ(config->slice.cores, 1.5);
    EXPECT_EQ(config->slice.memory, 2.0 * (1 << 30));
    EXPECT_EQ(config->slice.link, 12.5e6);
    EXPECT_EQ(config->migrate_address, "10.0.0.1");
    ASSERT_EQ(config->nics.size(), 1U);
    EXPECT_EQ(config->nics[0].capacity, 125e6);
}

TEST(DroverdConfig, NamesWhatIsWrong)
{
    const std::pair<const char*, const char*> wrongs[] = {
        {"nmae = \"h1\"", "nmae"},
        {"name = 7", "name"},
        {"listen = \"tcp:0.0.0.0:1\"", "TLS"},
        {"listen = \"tls:0.0.0.0:1\"", "certificate"},
        {"[slice]\ncores = -1", "cores"},
        {"[slice]\nmemory = \"lots\"", "memory"},
        {"[slice]\ncgroup = \"../init\"", "cgroup"},
        {"[migration]\nfirst-port = 60000\nlast-port = 50000", "last-port"},
        {"[[nic]]\ncapacity = 1", "name"},
        {"name = \"h1\"\nname = \"h2\"", "droverd.toml:2"},
    };
    for (const auto& [text, words] : wrongs) {
        const auto config = read_text(text);
        ASSERT_FALSE(config) << text;
        EXPECT_NE(config.error().text().find(words), std::string::npos) << config.error().text();
    }
}

class SliceTest : public ::testing::Test {
protected:
    SliceTest() : root(::testing::TempDir() + "slice-root/")
    {
        std::filesystem::remove_all(root);
        config.name = "h1";
        config.slice = {.given = true, .cores = 1.5, .memory = 1 << 30};
    }
    void make(const std::string& file)
    {
        std::filesystem::create_directories((std::filesystem::path(root + file)).parent_path());
        std::ofstream(root + file) << "";
    }
    std::string root;
    DroverdConfig config;
};

TEST_F(SliceTest, BoundsByVersionOne)
{
    make("sys/fs/cgroup/cpu/drover-h1/cpu.cfs_period_us");
    make("sys/fs/cgroup/cpu/drover-h1/cpu.cfs_quota_us");
    make("sys/fs/cgroup/memory/drover-h1/memory.limit_in_bytes");
    const SliceGroup slice = make_slice_group(config, root);
    EXPECT_EQ(slice.enforced, (std::vector<std::string>{"cores", "memory"}));
    EXPECT_EQ(slice.procs.size(), 2U);
    EXPECT_EQ(*read_file(root + "sys/fs/cgroup/cpu/drover-h1/cpu.cfs_quota_us"), "150000");
    EXPECT_EQ(*read_file(root + "sys/fs/cgroup/memory/drover-h1/memory.limit_in_bytes"),
              "1073741824");
}

TEST_F(SliceTest, BoundsByVersionTwo)
{
    config.slice.cgroup = "mine";
    for (const char* file :
         {"cgroup.controllers", "cgroup.subtree_control", "mine/cpu.max", "mine/memory.max"})
        make(std::string("sys/fs/cgroup/") + file);
    const SliceGroup slice = make_slice_group(config, root);
    EXPECT_EQ(slice.enforced, (std::vector<std::string>{"cores", "memory"}));
    EXPECT_EQ(slice.procs, std::vector{root + "sys/fs/cgroup/mine/cgroup.procs"});
    EXPECT_EQ(*read_file(root + "sys/fs/cgroup/mine/cpu.max"), "150000 100000");
}

TEST_F(SliceTest, SaysWhatItOnlyMeasures)
{
    const SliceGroup slice = make_slice_group(config, root); // no control groups at all
    EXPECT_TRUE(slice.enforced.empty());
    EXPECT_TRUE(slice.cgroup.empty());
    ASSERT_EQ(slice.gaps.size(), 2U);
    EXPECT_NE(slice.gaps[0].find("measured, not enforced"), std::string::npos);
}

} // namespace
} // namespace drover::balancer
