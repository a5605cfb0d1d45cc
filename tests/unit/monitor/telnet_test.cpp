// SPDX-License-Identifier: GPL-2.0-or-later
#include "monitor/telnet.h"

#include <gtest/gtest.h>

namespace drover {
namespace {

using namespace std::string_literals;

TEST(Telnet, CommandsAreTakenOutWhereverTheStreamIsCut)
{
    const std::string stream =
        "{\"a\xff\xfd\x01\":\xff\xfa\x18x\xff\xffy\xff\xf0 1\xff\xff\xff\xf1}"s;
    for (size_t step = 1; step <= stream.size(); ++step) {
        TelnetFilter filter;
        std::string text;
        for (size_t at = 0; at < stream.size(); at += step)
            text += filter.feed(std::string_view(stream).substr(at, step));
        EXPECT_EQ(text, "{\"a\": 1\xff}") << step;
    }
}

} // namespace
} // namespace drover
