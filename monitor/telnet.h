// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <string>
#include <string_view>

namespace drover {

/// What a Telnet server says first: it echoes, needs no turns, and both sides send all eight bits.
[[nodiscard]] std::string_view telnet_greeting();

/// Takes Telnet's commands (RFC 854) out of what a client sends, wherever the stream is cut.
class TelnetFilter {
public:
    [[nodiscard]] std::string feed(std::string_view bytes);

private:
    enum class State { Text, Command, Option, Negotiation, NegotiationCommand };
    State state_ = State::Text;
};

} // namespace drover
