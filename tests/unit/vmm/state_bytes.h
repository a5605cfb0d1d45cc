// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace drover::testing {

/// Writes a QEMU migration stream by hand, as its format says.
class StateBytes {
public:
    StateBytes& number(unsigned bytes, uint64_t value)
    {
        for (unsigned i = bytes; i-- > 0;)
            text_ += static_cast<char>(value >> (8 * i));
        return *this;
    }
    StateBytes& raw(const std::string& text)
    {
        text_ += text;
        return *this;
    }
    StateBytes& short_text(const std::string& text) { return number(1, text.size()).raw(text); }
    StateBytes& section(uint8_t mark, uint32_t id, const std::string& name, uint32_t version)
    {
        return number(1, mark).number(4, id).short_text(name).number(4, 0).number(4, version);
    }
    StateBytes& footer(uint32_t id) { return number(1, 0x7e).number(4, id); }
    StateBytes& description(const std::string& json)
    {
        return number(1, 0).number(1, 6).number(4, json.size()).raw(json);
    }
    [[nodiscard]] const std::string& text() const { return text_; }
    [[nodiscard]] std::span<const std::byte> bytes() const
    {
        return std::as_bytes(std::span(text_));
    }

private:
    std::string text_;
};

/// A machine with a page of RAM of each kind, and one device with a field of each form.
[[nodiscard]] inline StateBytes small_state()
{
    StateBytes out;
    out.raw("QEVM").number(4, 3);
    out.number(1, 7).number(4, 4).raw("test");
    out.number(1, 5).short_text("configuration/capabilities").number(4, 1);
    out.number(4, 1).short_text("xbzrle");
    out.section(1, 2, "ram", 4).number(8, 0x10000 | 0x04);
    out.short_text("pc.ram").number(8, 0x10000).number(8, 0x10).footer(2);
    out.number(1, 2).number(4, 2);
    out.number(8, 0x0000 | 0x02).short_text("pc.ram").number(1, 0);
    out.number(8, 0x1000 | 0x08 | 0x20).raw(std::string(4096, 'x'));
    out.number(8, 0x10).footer(2);
    out.number(1, 3).number(4, 2);
    out.number(8, 0x1000 | 0x40 | 0x20).number(1, 1).number(2, 3).raw("abc");
    out.number(8, 0x10).footer(2);
    out.section(4, 7, "clock", 5);
    out.number(8, 0xffffffffffffffff).number(1, 1).raw("\x12\xab");         // ticks, on, blob
    out.number(2, 7).number(2, 8).number(1, 0x11).number(1, 0x22);          // list, two structs
    out.number(1, 5).short_text("clock/more").number(4, 1).number(4, 0x99); // a subsection
    out.footer(7);
    return out.description(R"({"page_size": 4096, "devices": [{"name": "clock", "instance_id": 0,
      "vmsd_name": "clock", "version": 5, "fields": [
        {"name": "ticks", "type": "int64", "size": 8}, {"name": "on", "type": "bool", "size": 1},
        {"name": "blob", "type": "buffer", "size": 2},
        {"name": "list", "array_len": 2, "type": "uint16", "size": 2},
        {"name": "part", "array_len": 2, "type": "struct", "size": 1, "struct":
          {"vmsd_name": "part", "version": 1, "fields": [{"name": "id", "type": "uint8", "size": 1}]}}],
      "subsections": [{"vmsd_name": "clock/more", "version": 1, "fields": [
        {"name": "extra", "type": "uint32", "size": 4}]}]}]})");
}

} // namespace drover::testing
