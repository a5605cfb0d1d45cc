// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/ram_file.h"

#include <array>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

namespace drover::qemu {
namespace {

class RamFileTest : public testing::Test {
protected:
    void SetUp() override
    {
        std::string name = testing::TempDir() + "ram-file-XXXXXX";
        ASSERT_NE(mkdtemp(name.data()), nullptr);
        directory_ = name;
    }
    void TearDown() override { std::filesystem::remove_all(directory_); }

    std::filesystem::path directory_;
};

struct stat status_of(const UniqueFd& fd)
{
    struct stat info {};
    fstat(fd.get(), &info);
    return info;
}

TEST_F(RamFileTest, MemfdHasTheSizeAndNoMemory)
{
    const auto file = create_ram_file({.id = "pc.ram", .size = 1ULL << 40});
    ASSERT_TRUE(file) << file.error().text();
    EXPECT_EQ(status_of(*file).st_size, 1LL << 40);
    EXPECT_EQ(status_of(*file).st_blocks, 0);
    EXPECT_NE(fcntl(file->get(), F_GETFD) & FD_CLOEXEC, 0);
    EXPECT_EQ(*backing_page_size(file->get()), 4096u);
}

/// QEMU may have been taken over by its guest; and DMA buffers want to be sure of it.
TEST_F(RamFileTest, MemfdKeepsItsSize)
{
    const auto file = create_ram_file({.id = "pc.ram", .size = 8192});
    ASSERT_TRUE(file) << file.error().text();
    EXPECT_NE(ftruncate(file->get(), 4096), 0);
    EXPECT_NE(ftruncate(file->get(), 1 << 20), 0);
    EXPECT_EQ(fallocate(file->get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), 0);
}

/// Both sides of a migration on one host, with the same command line: the destination would empty
/// the running guest's memory.
TEST_F(RamFileTest, AUsersFileIsOneGuestsOnly)
{
    const RamFile ram{.id = "r", .size = 8192, .path = directory_ / "ram"};
    {
        const auto first = create_ram_file(ram);
        ASSERT_TRUE(first) << first.error().text();
        const auto second = create_ram_file(ram);
        ASSERT_FALSE(second);
        EXPECT_NE(second.error().text().find("another guest"), std::string::npos);
    }
    EXPECT_TRUE(create_ram_file(ram)); // the first guest has ended
}

TEST_F(RamFileTest, SizeIsRoundedUpToPages)
{
    const auto file = create_ram_file({.id = "r", .size = 4097});
    ASSERT_TRUE(file);
    EXPECT_EQ(status_of(*file).st_size, 8192);
}

TEST_F(RamFileTest, AFileInADirectoryHasNoName)
{
    const auto file = create_ram_file({.id = "r", .size = 8192, .directory = directory_});
    ASSERT_TRUE(file) << file.error().text();
    EXPECT_EQ(status_of(*file).st_size, 8192);
    EXPECT_EQ(status_of(*file).st_nlink, 0u);
    EXPECT_TRUE(std::filesystem::is_empty(directory_));
}

TEST_F(RamFileTest, TheUsersFileIsCreatedAndKept)
{
    const std::string path = directory_ / "ram";
    const RamFile ram{.id = "r", .size = 8192, .path = path};
    {
        const auto file = create_ram_file(ram);
        ASSERT_TRUE(file) << file.error().text();
        ASSERT_EQ(pwrite(file->get(), "x", 1, 5000), 1);
    }
    {
        const auto again = create_ram_file(ram);
        ASSERT_TRUE(again);
        char byte = 0;
        EXPECT_EQ(pread(again->get(), &byte, 1, 5000), 1);
        EXPECT_EQ(byte, 'x');
    }                                          // a file is one guest's at a time
    std::filesystem::resize_file(path, 16384); // a larger one is not cut
    ASSERT_TRUE(create_ram_file(ram));
    EXPECT_EQ(std::filesystem::file_size(path), 16384u);
}

TEST_F(RamFileTest, ErrorsNameTheBlockAndTheCause)
{
    const auto missing = create_ram_file({.id = "r", .size = 4096, .directory = "/no/such/place"});
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().message,
              "RAM 'r': creating a file in /no/such/place: No such file or directory");
    const auto odd = create_ram_file(
        {.id = "r", .size = 4096, .memfd_hugetlb = true, .huge_page_size = 3 << 20});
    ASSERT_FALSE(odd);
    EXPECT_EQ(odd.error().kind, ErrorKind::Invalid);
    const auto unknown = create_ram_file(
        {.id = "r", .size = 1ULL << 40, .memfd_hugetlb = true, .huge_page_size = 1ULL << 40});
    ASSERT_FALSE(unknown);
    EXPECT_NE(unknown.error().text().find("huge pages"), std::string::npos)
        << unknown.error().text();
    EXPECT_FALSE(create_ram_file({.id = "r", .size = UINT64_MAX}));
}

TEST_F(RamFileTest, TooFewHugePagesAreAnErrorHere)
{
    const auto file = create_ram_file({.id = "r", .size = 1ULL << 46, .memfd_hugetlb = true});
    ASSERT_FALSE(file); // 64 TiB: no host has that many
    EXPECT_NE(file.error().text().find("vm.nr_hugepages"), std::string::npos)
        << file.error().text();
}

} // namespace
} // namespace drover::qemu
