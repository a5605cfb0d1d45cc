// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/gref.h"
#include "util/result.h"

#include <string_view>

namespace drover::balancer {

template <typename T> using Ref = GRef<T>;

template <typename T> [[nodiscard]] Ref<T> share(T* object)
{
    return Ref<T>(static_cast<T*>(g_object_ref(object)));
}

/// "WHAT: message", in one line; frees `error` (which may be null).
[[nodiscard]] Error take_gerror(GError* error, std::string_view what,
                                ErrorKind kind = ErrorKind::Connection);

} // namespace drover::balancer
