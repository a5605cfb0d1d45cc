// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/qmp_server.h"

#include <optional>
#include <string>

namespace drover {

/// A message of a QMP client, checked for its form.
struct ParsedRequest {
    std::optional<Json> id;             ///< of any type; to be echoed, in errors too
    QmpRequest request;                 ///< command, arguments, out_of_band
    std::optional<QmpResponse> refusal; ///< the answer, if the form is wrong
};

/// `oob_enabled`: the client may use "exec-oob".
[[nodiscard]] ParsedRequest parse_request(const std::string& text, bool oob_enabled);

/// The arguments of qmp_capabilities.
struct ClientCapabilities {
    bool oob = false;
};
[[nodiscard]] Result<ClientCapabilities> parse_capabilities(const Json& arguments,
                                                            bool oob_offered);

} // namespace drover
