// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/fd.h"
#include "util/result.h"

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace drover::qemu {

/// What QEMUs have told of the form in which their machines are loaded (state/blank_machine.h), in
/// a directory of this user's, for the next guest that comes from another kind of hypervisor. What
/// another user can write is not read; what is damaged is removed. Bounded: what was not used for
/// longest goes first. Any number of processes use it at a time.
class FormStore {
public:
    explicit FormStore(std::string directory) : directory_(std::move(directory)) {}

    /// $XDG_CACHE_HOME/drover, else /var/cache/drover for root, ~/.cache/drover for others. Empty
    /// where there is no such place: then nothing is found, and nothing kept.
    [[nodiscard]] static std::string default_directory();

    /// Whether anything was kept or found in the last 30 days: guests of other kinds do come here.
    [[nodiscard]] bool in_use() const;
    /// The stream that was kept for exactly that key (form_key.h). Fails where one is there and is
    /// not to be trusted, and says why.
    [[nodiscard]] Result<std::optional<std::vector<std::byte>>> find(const std::string& key) const;
    /// It has its name once it is whole.
    [[nodiscard]] Status keep(const std::string& key, std::span<const std::byte> stream) const;
    void forget(const std::string& key) const;

private:
    [[nodiscard]] Result<UniqueFd> open_directory() const;
    std::string directory_;
};

} // namespace drover::qemu
