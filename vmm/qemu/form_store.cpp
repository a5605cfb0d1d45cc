// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/form_store.h"

#include "util/byte_sink.h"
#include "util/byte_source.h"
#include "util/running_checksum.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <ctime>
#include <dirent.h>
#include <fcntl.h>
#include <glib.h>
#include <memory>
#include <sys/stat.h>
#include <unistd.h>

namespace drover::qemu {

namespace {

constexpr std::string_view form_prefix = "form-";
constexpr std::string_view form_magic = "drover's form 1\n";
constexpr size_t form_header = form_magic.size() + 2 * sizeof(uint64_t); // length, checksum
constexpr size_t largest_form = 16U << 20;                               // bytes
constexpr size_t most_forms = 64;
constexpr off_t most_form_bytes = off_t{64} << 20;
constexpr time_t form_use_seconds = 30 * 24 * 3600;

struct KeptForm {
    std::string name;
    off_t size;
    timespec used;
};

uint64_t form_checksum(std::span<const std::byte> stream)
{
    RunningChecksum sum;
    sum.add(stream);
    return sum.digest();
}

/// Keys may hold what is not for everybody (-object secret): none is written.
std::string form_name(const std::string& key)
{
    const std::unique_ptr<char, decltype(&g_free)> digest(
        g_compute_checksum_for_data(G_CHECKSUM_SHA256, reinterpret_cast<const guchar*>(key.data()),
                                    key.size()),
        &g_free);
    return std::string(form_prefix) + digest.get();
}

/// Whoever could write it could have the guest's QEMU load what he likes.
Status nobody_elses(const struct stat& file, const std::string& path)
{
    if (file.st_uid == geteuid() && (file.st_mode & (S_IWGRP | S_IWOTH)) == 0)
        return {};
    return fail(
        ErrorKind::Refused,
        path + " is not used: " +
            (file.st_uid != geteuid() ? "it belongs to another user" : "others can write to it"),
        "remove it");
}

std::vector<KeptForm> kept_forms(int directory)
{
    std::vector<KeptForm> forms;
    const int copy = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const std::unique_ptr<DIR, int (*)(DIR*)> list(copy < 0 ? nullptr : fdopendir(copy), &closedir);
    while (const dirent* entry = list ? readdir(list.get()) : nullptr) {
        struct stat file {};
        if (std::string_view(entry->d_name).starts_with(form_prefix) &&
            fstatat(directory, entry->d_name, &file, AT_SYMLINK_NOFOLLOW) == 0)
            forms.push_back({entry->d_name, file.st_size, file.st_mtim});
    }
    return forms;
}

void prune_forms(int directory)
{
    auto forms = kept_forms(directory);
    std::ranges::sort(forms, [](const KeptForm& a, const KeptForm& b) {
        return std::pair(a.used.tv_sec, a.used.tv_nsec) > std::pair(b.used.tv_sec, b.used.tv_nsec);
    });
    off_t total = 0;
    for (size_t i = 0; i < forms.size(); ++i) {
        total += forms[i].size;
        if (i >= most_forms || total > most_form_bytes)
            unlinkat(directory, forms[i].name.c_str(), 0);
    }
}

std::optional<std::vector<std::byte>> stream_of_file(const FileBytes& file)
{
    if (file.size() < form_header || file.size() > form_header + largest_form)
        return std::nullopt;
    ByteCursor cursor(file, 0);
    const bool ours = cursor.text(form_magic.size()) == form_magic;
    const uint64_t size = cursor.integer(sizeof size);
    const uint64_t checksum = cursor.integer(sizeof checksum);
    if (!ours || size != file.size() - form_header)
        return std::nullopt;
    std::vector<std::byte> stream(size);
    if (!file.read(form_header, stream) || form_checksum(stream) != checksum)
        return std::nullopt;
    return stream;
}

} // namespace

std::string FormStore::default_directory()
{
    if (const char* cache = getenv("XDG_CACHE_HOME"); cache != nullptr && *cache == '/')
        return std::string(cache) + "/drover";
    if (geteuid() == 0)
        return "/var/cache/drover";
    const char* home = getenv("HOME");
    return home != nullptr && *home == '/' ? std::string(home) + "/.cache/drover" : "";
}

Result<UniqueFd> FormStore::open_directory() const
{
    UniqueFd directory(open(directory_.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    struct stat info {};
    if (!directory || fstat(directory.get(), &info) != 0)
        return fail_errno("opening " + directory_, errno);
    if (Status own = nobody_elses(info, directory_); !own)
        return pass(own);
    return directory;
}

bool FormStore::in_use() const
{
    const auto directory = open_directory();
    if (!directory)
        return false;
    const time_t since = time(nullptr) - form_use_seconds;
    return std::ranges::any_of(kept_forms(directory->get()),
                               [since](const KeptForm& form) { return form.used.tv_sec >= since; });
}

Result<std::optional<std::vector<std::byte>>> FormStore::find(const std::string& key) const
{
    const auto directory = open_directory();
    if (!directory && directory.error().kind == ErrorKind::Refused)
        return std::unexpected(directory.error());
    if (!directory)
        return std::nullopt;
    const std::string name = form_name(key);
    const std::string path = directory_ + "/" + name;
    UniqueFd file(openat(directory->get(), name.c_str(),
                         O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
    struct stat info {};
    if (!file || fstat(file.get(), &info) != 0)
        return std::nullopt;
    if (Status own = nobody_elses(info, path); !own)
        return pass(own);
    (void)futimens(file.get(), nullptr); // it is in use
    auto bytes = FileBytes::of(std::move(file), path);
    auto stream = bytes ? stream_of_file(*bytes) : std::nullopt;
    if (!stream) {
        unlinkat(directory->get(), name.c_str(), 0);
        return fail(ErrorKind::Invalid, path + " was damaged, and is removed");
    }
    return stream;
}

Status FormStore::keep(const std::string& key, std::span<const std::byte> stream) const
{
    if (directory_.empty() || stream.size() > largest_form)
        return {};
    if (g_mkdir_with_parents(directory_.c_str(), 0700) != 0)
        return fail_errno("making " + directory_, errno);
    const auto directory = open_directory();
    if (!directory)
        return std::unexpected(directory.error());
    const UniqueFd file(openat(directory->get(), ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600));
    if (!file)
        return fail_errno("making a file in " + directory_, errno);
    ByteSink sink(file.get(), "a file in " + directory_);
    sink.write_text(form_magic);
    sink.big_endian(sizeof(uint64_t), stream.size());
    sink.big_endian(sizeof(uint64_t), form_checksum(stream));
    sink.write(stream);
    if (Status written = sink.flush(); !written)
        return written;
    // Where another process was first it has kept the same.
    const std::string link = "/proc/self/fd/" + std::to_string(file.get());
    if (linkat(AT_FDCWD, link.c_str(), directory->get(), form_name(key).c_str(),
               AT_SYMLINK_FOLLOW) != 0 &&
        errno != EEXIST)
        return fail_errno("naming a file in " + directory_, errno);
    prune_forms(directory->get());
    return {};
}

void FormStore::forget(const std::string& key) const
{
    if (const auto directory = open_directory())
        unlinkat(directory->get(), form_name(key).c_str(), 0);
}

} // namespace drover::qemu
