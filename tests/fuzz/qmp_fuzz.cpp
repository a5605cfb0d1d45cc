// SPDX-License-Identifier: GPL-2.0-or-later
// QMP's splitter and parser: cutting the stream elsewhere must not change what is found in it, and
// what was parsed must survive being written and read again.
#include "monitor/json.h"
#include "monitor/qmp_splitter.h"
#include "tests/fuzz/driver.h"

#include <cstdlib>

namespace {

using drover::QmpSplitter;

std::vector<QmpSplitter::Item> split(std::string_view input, size_t chunk)
{
    QmpSplitter splitter;
    std::vector<QmpSplitter::Item> items;
    for (size_t at = 0; at < input.size(); at += chunk) {
        splitter.feed(input.substr(at, chunk));
        while (auto item = splitter.next())
            items.push_back(std::move(*item));
    }
    return items;
}

void check_parser(const std::string& text)
{
    const auto value = drover::parse_json(text);
    if (!value)
        return;
    const std::string written = drover::dump_json(*value);
    const auto again = drover::parse_json(written);
    if (!again || drover::dump_json(*again) != written)
        abort();
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size)
{
    const std::string_view input(reinterpret_cast<const char*>(data), size);
    const auto whole = split(input, size + 1);
    const auto pieces = split(input, size % 7 + 1);
    if (whole.size() != pieces.size())
        abort();
    uint64_t last_end = 0;
    for (size_t i = 0; i < whole.size(); ++i) {
        if (whole[i].kind != pieces[i].kind || whole[i].text != pieces[i].text ||
            whole[i].end != pieces[i].end || whole[i].end < last_end || whole[i].end > size)
            abort();
        last_end = whole[i].end;
        if (whole[i].kind == QmpSplitter::Item::Kind::Value)
            check_parser(whole[i].text);
    }
    return 0;
}

std::vector<std::string> drover::fuzz::seeds()
{
    return {
        R"({"execute":"qmp_capabilities","arguments":{"enable":["oob"]},"id":1}
{"execute":"query-status"}{"exec-oob":"migrate-pause","id":{"a":[1,2.5e3,-7]}}
)",
        R"({'execute':'getfd','arguments':{'fdname':'it\'s "x"'}} true "text" -12e-3 null )",
        R"({"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": ""}, "capabilities": ["oob"]}}
{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "STOP"}
{"return": [{"name": "\ud83d\ude00\u0000\n"}], "id": "a"}
)",
        "}\n{\"a\": \"b\nc\n[[[[[[[[[[]]]]]]]]]]\n",
        std::string(1100, '[') + "\n" + std::string(1000, '[') + std::string(1000, ']') + "\n",
    };
}
