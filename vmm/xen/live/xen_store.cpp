// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/xen/live/xen_store.h"

#include <cerrno>
#include <cstdlib>

extern "C" {
#include <xenstore.h>
}

namespace drover::xen {

Result<std::unique_ptr<XenStore>>
XenStore::open(std::function<void(const std::string& path)> changed)
{
    xs_handle* handle = xs_open(0);
    if (!handle)
        return fail_errno("connecting to xenstored", errno);
    return std::unique_ptr<XenStore>(new XenStore(handle, std::move(changed)));
}

XenStore::XenStore(xs_handle* handle, std::function<void(const std::string& path)> changed)
    : handle_(handle), changed_(std::move(changed))
{
    source_ = loop::watch(xs_fileno(handle), G_IO_IN, [this](GIOCondition) { read_changes(); });
}

XenStore::~XenStore()
{
    *alive_ = false;
    source_.reset();
    xs_close(handle_);
}

/// The callback may destroy this.
void XenStore::read_changes()
{
    const auto alive = alive_;
    while (*alive) {
        char** change = xs_check_watch(handle_);
        if (!change)
            return;
        const std::string path = change[XS_WATCH_PATH];
        free(change);
        changed_(path);
    }
}

Status XenStore::watch(const std::string& path)
{
    if (!xs_watch(handle_, path.c_str(), path.c_str()))
        return fail_errno("watching " + path + " in xenstore", errno);
    return {};
}

void XenStore::unwatch(const std::string& path)
{
    xs_unwatch(handle_, path.c_str(), path.c_str());
}

std::optional<std::string> XenStore::read(const std::string& path) const
{
    unsigned length = 0;
    void* value = xs_read(handle_, XBT_NULL, path.c_str(), &length);
    if (!value)
        return std::nullopt;
    std::string text(static_cast<const char*>(value), length);
    free(value);
    return text;
}

std::vector<std::string> XenStore::list(const std::string& path) const
{
    unsigned count = 0;
    char** names = xs_directory(handle_, XBT_NULL, path.c_str(), &count);
    if (!names)
        return {};
    std::vector<std::string> list(names, names + count);
    free(names);
    return list;
}

void XenStore::has_resumed(uint32_t domain)
{
    xs_resume_domain(handle_, domain);
}

Status XenStore::write(const std::string& path, const std::string& value)
{
    if (!xs_write(handle_, XBT_NULL, path.c_str(), value.data(),
                  static_cast<unsigned>(value.size())))
        return fail_errno("writing " + path + " in xenstore", errno);
    return {};
}

} // namespace drover::xen
