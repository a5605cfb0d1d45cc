// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/result.h"

#include <gio/gio.h>
#include <memory>
#include <string_view>

namespace drover::balancer {

template <typename T> struct Unref {
    void operator()(T* object) const { g_object_unref(object); }
};

/// Owns one reference to a GObject.
template <typename T> using Ref = std::unique_ptr<T, Unref<T>>;

template <typename T> [[nodiscard]] Ref<T> share(T* object)
{
    return Ref<T>(static_cast<T*>(g_object_ref(object)));
}

/// "WHAT: message", in one line; frees `error` (which may be null).
[[nodiscard]] Error take_gerror(GError* error, std::string_view what,
                                ErrorKind kind = ErrorKind::Connection);

} // namespace drover::balancer
