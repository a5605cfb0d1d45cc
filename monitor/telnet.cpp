// SPDX-License-Identifier: GPL-2.0-or-later
#include "monitor/telnet.h"

namespace drover {

namespace {

enum : unsigned char {
    interpret = 255, ///< as command
    dont = 254,
    will = 251,
    begin_negotiation = 250,
    end_negotiation = 240,
};

} // namespace

std::string_view telnet_greeting()
{
    // WILL echo, WILL suppress go-ahead, WILL binary, DO binary
    return {"\xff\xfb\x01\xff\xfb\x03\xff\xfb\x00\xff\xfd\x00", 12};
}

std::string TelnetFilter::feed(std::string_view bytes)
{
    std::string text;
    for (const char c : bytes) {
        const auto byte = static_cast<unsigned char>(c);
        switch (state_) {
        case State::Text:
            if (byte == interpret)
                state_ = State::Command;
            else
                text += c;
            break;
        case State::Command:
            if (byte == interpret) // said twice it is a byte of the text
                text += c;
            state_ = byte >= will && byte <= dont ? State::Option
                     : byte == begin_negotiation  ? State::Negotiation
                                                  : State::Text;
            break;
        case State::Option: state_ = State::Text; break;
        case State::Negotiation:
            if (byte == interpret)
                state_ = State::NegotiationCommand;
            break;
        case State::NegotiationCommand:
            state_ = byte == end_negotiation ? State::Text : State::Negotiation;
            break;
        }
    }
    return text;
}

} // namespace drover
