// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/form_store.h"

#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

namespace drover::qemu {
namespace {

namespace fs = std::filesystem;

std::vector<std::byte> stream_of(size_t size, uint8_t first = 1)
{
    std::vector<std::byte> stream(size);
    for (size_t i = 0; i < size; ++i)
        stream[i] = static_cast<std::byte>(first + i);
    return stream;
}

struct FormStoreTest : ::testing::Test {
    FormStoreTest()
    {
        char name[] = "/tmp/drover-forms-XXXXXX";
        base = mkdtemp(name);
    }
    ~FormStoreTest() override { fs::remove_all(base); }

    [[nodiscard]] std::string directory() const { return base / "cache" / "drover"; }
    [[nodiscard]] FormStore store() const { return FormStore(directory()); }
    [[nodiscard]] std::vector<fs::path> files() const
    {
        return {fs::directory_iterator(directory()), fs::directory_iterator()};
    }
    /// Bytes found, -1: none, -2: what is there is not to be trusted.
    [[nodiscard]] int64_t found(const std::string& key) const
    {
        const auto kept = store().find(key);
        if (!kept)
            return -2;
        return *kept ? static_cast<int64_t>((*kept)->size()) : -1;
    }
    void write_at(std::streamoff at, const std::string& text)
    {
        std::fstream file(files().front(), std::ios::in | std::ios::out | std::ios::binary);
        file.seekp(at);
        file << text;
    }

    fs::path base;
};

TEST_F(FormStoreTest, WhatWasKeptIsFoundByItsKeyAlone)
{
    EXPECT_EQ(found("a"), -1);
    EXPECT_FALSE(store().in_use());
    ASSERT_TRUE(store().keep("a", stream_of(1000)));
    ASSERT_TRUE(store().keep("a", stream_of(1000)));
    ASSERT_TRUE(store().keep(std::string("a\0b", 3), stream_of(2000)));
    EXPECT_EQ(**store().find("a"), stream_of(1000));
    EXPECT_EQ(found(std::string("a\0b", 3)), 2000);
    EXPECT_EQ(found("b"), -1);
    EXPECT_EQ(found(""), -1);
    EXPECT_TRUE(store().in_use());
    store().forget("a");
    EXPECT_EQ(found("a"), -1);
}

TEST_F(FormStoreTest, IsForNobodyElse)
{
    ASSERT_TRUE(store().keep("a", stream_of(1000)));
    struct stat file {};
    ASSERT_EQ(stat(directory().c_str(), &file), 0);
    EXPECT_EQ(file.st_mode & 0777, 0700U);
    ASSERT_EQ(stat(files().front().c_str(), &file), 0);
    EXPECT_EQ(file.st_mode & 0777, 0600U);
}

TEST_F(FormStoreTest, WhatOthersCanWriteIsNotRead)
{
    ASSERT_TRUE(store().keep("a", stream_of(1000)));
    chmod(files().front().c_str(), 0620);
    EXPECT_EQ(found("a"), -2);
    chmod(files().front().c_str(), 0600);
    EXPECT_EQ(found("a"), 1000);
    chmod(directory().c_str(), 0777);
    EXPECT_EQ(found("a"), -2);
    EXPECT_FALSE(store().in_use());
    EXPECT_FALSE(store().keep("b", stream_of(1000)));
    chmod(directory().c_str(), 0700);
    EXPECT_EQ(found("b"), -1);
}

TEST_F(FormStoreTest, WhatBelongsToAnotherUserIsNotRead)
{
    if (geteuid() != 0)
        GTEST_SKIP() << "only root can give a file away";
    ASSERT_TRUE(store().keep("a", stream_of(1000)));
    ASSERT_EQ(chown(files().front().c_str(), 65534, 65534), 0);
    EXPECT_EQ(found("a"), -2);
    ASSERT_EQ(chown(files().front().c_str(), 0, 0), 0);
    ASSERT_EQ(chown(directory().c_str(), 65534, 65534), 0);
    EXPECT_EQ(found("a"), -2);
}

TEST_F(FormStoreTest, LinksAndWhatIsNoFileAreNotFollowed)
{
    ASSERT_TRUE(store().keep("a", stream_of(1000)));
    const fs::path file = files().front();
    const fs::path other = base / "other";
    fs::rename(file, other);
    fs::create_symlink(other, file);
    EXPECT_EQ(found("a"), -1);
    fs::remove(file);
    ASSERT_EQ(mkfifo(file.c_str(), 0600), 0);
    EXPECT_EQ(found("a"), -2); // and nobody waits for who writes into it
    fs::remove(file);
    fs::rename(directory(), base / "moved");
    fs::create_directory_symlink(base / "moved", directory());
    EXPECT_EQ(found("a"), -1);
}

TEST_F(FormStoreTest, WhatIsDamagedIsRemoved)
{
    for (const std::streamoff at : {0, 17, 30, 500}) { // magic, length, checksum, the stream
        ASSERT_TRUE(store().keep("a", stream_of(1000)));
        write_at(at, "x");
        EXPECT_EQ(found("a"), -2) << at;
        EXPECT_TRUE(files().empty()) << at;
    }
    ASSERT_TRUE(store().keep("a", stream_of(1000)));
    fs::resize_file(files().front(), 900);
    EXPECT_EQ(found("a"), -2);
    ASSERT_TRUE(store().keep("a", stream_of(1000)));
    fs::resize_file(files().front(), 0);
    EXPECT_EQ(found("a"), -2);
    EXPECT_EQ(found("a"), -1);
}

TEST_F(FormStoreTest, WhatWasNotUsedForLongestGoesFirst)
{
    for (int i = 0; i < 70; ++i) {
        ASSERT_TRUE(store().keep("key " + std::to_string(i), stream_of(100)));
        if (i > 0) {
            EXPECT_EQ(found("key 0"), 100) << i;
        }
    }
    EXPECT_EQ(files().size(), 64U);
    EXPECT_EQ(found("key 1"), -1);
    EXPECT_EQ(found("key 69"), 100);
}

TEST_F(FormStoreTest, HasABound)
{
    for (int i = 0; i < 6; ++i)
        ASSERT_TRUE(store().keep("key " + std::to_string(i), stream_of(14 << 20)));
    EXPECT_EQ(files().size(), 4U);
    EXPECT_TRUE(store().keep("large", stream_of(17 << 20)));
    EXPECT_EQ(found("large"), -1);
}

TEST_F(FormStoreTest, IsNotInUseWhenNobodyAskedForAMonth)
{
    ASSERT_TRUE(store().keep("a", stream_of(100)));
    const auto old = std::chrono::file_clock::now() - std::chrono::days(31);
    fs::last_write_time(files().front(), old);
    EXPECT_FALSE(store().in_use());
    EXPECT_EQ(found("a"), 100);
    EXPECT_TRUE(store().in_use());
}

TEST_F(FormStoreTest, LiesInTheUsersCache)
{
    const char* before = getenv("XDG_CACHE_HOME");
    const std::string kept = before != nullptr ? before : "";
    setenv("XDG_CACHE_HOME", "/somewhere", 1);
    EXPECT_EQ(FormStore::default_directory(), "/somewhere/drover");
    setenv("XDG_CACHE_HOME", "relative", 1);
    EXPECT_TRUE(FormStore::default_directory() == "/var/cache/drover" ||
                FormStore::default_directory().ends_with("/.cache/drover"));
    if (before != nullptr)
        setenv("XDG_CACHE_HOME", kept.c_str(), 1);
    else
        unsetenv("XDG_CACHE_HOME");
    EXPECT_TRUE(FormStore("").keep("a", stream_of(10))); // nowhere
}

} // namespace
} // namespace drover::qemu
