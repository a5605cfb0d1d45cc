// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/loop.h"
#include "util/result.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

struct xs_handle;

namespace drover::xen {

/// A connection to this host's xenstored, in which Xen's tools and device models tell each other
/// what they do. Loop thread only. Calls wait for the daemon's answer.
class XenStore {
public:
    /// To watch: some domain was suspended, or has ended (Xen, docs/misc/xenstore.txt).
    static constexpr const char* any_shutdown = "@releaseDomain";

    /// `changed` gets the path of what has changed below one that is watched; also once for each
    /// watch that begins.
    [[nodiscard]] static Result<std::unique_ptr<XenStore>>
    open(std::function<void(const std::string& path)> changed = [](const std::string&) {});
    ~XenStore();
    XenStore(const XenStore&) = delete;
    XenStore& operator=(const XenStore&) = delete;

    [[nodiscard]] Status watch(const std::string& path);
    /// What is under way may still come.
    void unwatch(const std::string& path);
    /// Nothing where there is no such entry.
    [[nodiscard]] std::optional<std::string> read(const std::string& path) const;
    /// The names of what is below it.
    [[nodiscard]] std::vector<std::string> list(const std::string& path) const;
    [[nodiscard]] Status write(const std::string& path, const std::string& value);
    /// A domain runs that was suspended: only so does any_shutdown tell of its next suspension.
    void has_resumed(uint32_t domain);

private:
    XenStore(xs_handle* handle, std::function<void(const std::string& path)> changed);
    void read_changes();

    xs_handle* handle_;
    std::function<void(const std::string& path)> changed_;
    loop::Source source_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

} // namespace drover::xen
