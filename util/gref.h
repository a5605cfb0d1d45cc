// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <gio/gio.h>
#include <memory>

namespace drover {

struct GUnref {
    void operator()(void* object) const { g_object_unref(object); }
};

/// Owns one reference to a GObject.
template <typename T> using GRef = std::unique_ptr<T, GUnref>;

} // namespace drover
