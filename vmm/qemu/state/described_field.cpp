// SPDX-License-Identifier: GPL-2.0-or-later
//
// The description is a hundred kilobytes of text that is read while a guest stands still: it is
// gone through once, and nothing of it is copied.
#include "vmm/qemu/state/described_field.h"

#include "monitor/json_cursor.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace drover::qemu {

namespace {

constexpr size_t most_described = 1'000'000;
constexpr uint64_t largest_page = 1U << 16;
constexpr size_t usual_length = 64; ///< bytes of text a field, at least

class DescriptionReader {
public:
    explicit DescriptionReader(std::string_view text) : cursor_(text)
    {
        result_.fields.reserve(std::min(text.size() / usual_length, most_described));
    }

    Result<Description> read()
    {
        bool has_devices = false;
        std::string_view key;
        if (!cursor_.begin_object())
            complain("it is no object");
        while (is_good() && cursor_.next_member(key)) {
            if (key == "page_size")
                result_.page_size = cursor_.number().value_or(0);
            else if (key == "devices" && !std::exchange(has_devices, true))
                read_list(&DescriptionReader::read_device, 0);
            else
                cursor_.skip();
        }
        cursor_.expect_end();
        if (!std::has_single_bit(result_.page_size) || result_.page_size > largest_page)
            complain("pages of " + std::to_string(result_.page_size) + " bytes");
        if (!has_devices)
            complain("it names no devices");
        if (!cursor_.status())
            return bad_description(cursor_.status().error().text());
        if (!status_)
            return std::unexpected(status_.error());
        result_.rewritten = cursor_.take_rewritten();
        return std::move(result_);
    }

private:
    using Read = void (DescriptionReader::*)(int depth);

    [[nodiscard]] bool is_good() const { return status_ && cursor_.status(); }

    void complain(const std::string& what)
    {
        if (is_good())
            status_ = bad_description(what);
    }

    void read_list(Read read_element, int depth)
    {
        if (depth > deepest_field)
            return complain("structs within structs without an end");
        if (!cursor_.begin_array())
            return complain("a list that is none");
        while (is_good() && cursor_.next_element())
            (this->*read_element)(depth);
    }

    /// Its place in the list; nothing more is read once there are too many.
    size_t begin_field()
    {
        if (result_.fields.size() >= most_described)
            complain("more than a million fields");
        if (!cursor_.begin_object())
            complain("a field that is none");
        result_.fields.emplace_back();
        return result_.fields.size() - 1;
    }

    void end_field(size_t place) { result_.fields[place].end = result_.fields.size(); }

    /// What is in a device, a struct or a subsection: false if the key is another.
    bool read_members(std::string_view key, size_t place, int depth)
    {
        if (key == "fields") {
            if (std::exchange(result_.fields[place].has_members, true))
                complain("a field with two forms");
            read_list(&DescriptionReader::read_field, depth + 1);
        } else if (key == "subsections") {
            read_list(&DescriptionReader::read_subsection, depth + 1);
        } else {
            return false;
        }
        return true;
    }

    void read_device(int depth) { read_section(depth, "name", "vmsd_name"); }

    void read_subsection(int depth)
    {
        const size_t place = result_.fields.size();
        read_section(depth, "vmsd_name", "vmsd_name");
        if (place < result_.fields.size())
            result_.fields[place].is_subsection = true;
    }

    void read_section(int depth, std::string_view name, std::string_view type)
    {
        const size_t place = begin_field();
        std::string_view key;
        while (is_good() && cursor_.next_member(key)) {
            if (key == name)
                result_.fields[place].name = cursor_.text().value_or("");
            else if (key == type)
                result_.fields[place].type = cursor_.text().value_or("");
            else if (key == "instance_id")
                result_.fields[place].instance = cursor_.number().value_or(0);
            else if (!read_members(key, place, depth))
                cursor_.skip();
        }
        end_field(place);
    }

    void read_field(int depth)
    {
        const size_t place = begin_field();
        std::string_view key;
        while (is_good() && cursor_.next_member(key)) {
            if (key == "struct" && cursor_.begin_object())
                read_struct(place, depth);
            else if (!read_property(key, result_.fields[place]) && !read_members(key, place, depth))
                cursor_.skip();
        }
        end_field(place);
        if (!result_.fields[place].has_size)
            complain("a field without a size");
    }

    bool read_property(std::string_view key, DescribedField& field)
    {
        if (key == "name") {
            field.name = cursor_.text().value_or("");
        } else if (key == "type") {
            field.type = cursor_.text().value_or("");
        } else if (key == "size") {
            field.size = cursor_.number().value_or(UINT64_MAX);
            field.has_size = true;
        } else if (key == "array_len") {
            field.count = cursor_.number().value_or(0);
        } else if (key == "index") {
            field.index = cursor_.number().value_or(0);
        } else {
            return false;
        }
        return true;
    }

    void read_struct(size_t place, int depth)
    {
        if (std::exchange(result_.fields[place].has_members, true))
            complain("a field with two forms");
        bool has_fields = false;
        std::string_view key;
        while (is_good() && cursor_.next_member(key)) {
            if (key == "fields" && !std::exchange(has_fields, true))
                read_list(&DescriptionReader::read_field, depth + 1);
            else if (key == "subsections")
                read_list(&DescriptionReader::read_subsection, depth + 1);
            else
                cursor_.skip();
        }
    }

    JsonCursor cursor_;
    Description result_;
    Status status_;
};

} // namespace

std::unexpected<Error> bad_description(const std::string& what)
{
    return fail(ErrorKind::Protocol, "the stream's description of itself is wrong: " + what);
}

Result<Description> read_description(std::string_view text)
{
    return DescriptionReader(text).read();
}

} // namespace drover::qemu
