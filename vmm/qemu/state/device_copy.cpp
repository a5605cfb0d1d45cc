// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/state/device_copy.h"

#include "vmm/qemu/state/device_bytes.h"
#include "vmm/qemu/state/device_fields.h"

#include <algorithm>
#include <cctype>
#include <vector>

namespace drover::qemu {

namespace {

bool is_opaque(const state::Device& device)
{
    return device.fields.size() == 1 && device.fields[0].type == opaque_type;
}

/// A field whose form the description does not tell, so that its length is its own affair: a virtio
/// device's queues, or all that a device from before QEMU's descriptions has.
bool has_any_length(const state::Device& device, const state::DeviceField& field)
{
    return field.type == "virtio" || field.type == opaque_type ||
           (field.type == "buffer" && device.fields.size() == 1);
}

bool is_zero(const state::DeviceField& field)
{
    return std::ranges::all_of(field.value, [](uint8_t byte) { return byte == 0; });
}

/// The subsection that a field is in: "[a]" of "[a]/b", and of "x/[a]/b" "x/[a]".
std::string_view subsection_of(std::string_view name)
{
    const size_t end = name.find(']', name.rfind('['));
    const size_t begin = name.rfind('[');
    // An array's element is "name[1]", a subsection's name begins with its bracket.
    if (begin == std::string_view::npos || end == std::string_view::npos ||
        (begin > 0 && name[begin - 1] != '/'))
        return {};
    return name.substr(0, end + 1);
}

Status copy_opaque(const state::Device& source, state::Device& target)
{
    const std::vector<uint8_t>& bytes = source.fields[0].value;
    if (target.fields.size() == 1 && has_any_length(target, target.fields[0])) {
        target.fields[0].value = bytes;
        return {};
    }
    if (source.model_version != target.model_version)
        return fail(ErrorKind::Incompatible, "its state is of another version here");
    const size_t wanted = device_bytes(target).size();
    if (wanted != bytes.size())
        return fail(ErrorKind::Incompatible, "its state has " + std::to_string(bytes.size()) +
                                                 " bytes there and " + std::to_string(wanted) +
                                                 " here");
    // The same form: then its parts lie where they lie here.
    size_t at = 0;
    for (state::DeviceField& field : target.fields) {
        at += device_bytes({.name = {}, .fields = {field}}).size() - field.value.size();
        std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(at), field.value.size(),
                    field.value.begin());
        at += field.value.size();
    }
    return {};
}

class DeviceCopy {
public:
    DeviceCopy(const state::Device& source, state::Device& target, std::vector<std::string>& told)
        : source_(source), target_(target), told_(told), index_(target),
          filled_(target.fields.size())
    {
    }

    Status copy()
    {
        for (const state::DeviceField& field : source_.fields)
            if (const Status done = copy_field(field); !done)
                return done;
        for (size_t i = 0; i < filled_.size(); ++i)
            if (target_.fields[i].type != subsection_type && !filled_[i])
                tell(target_.fields[i].name, "as after a reset");
        for (const state::DeviceField* field : added_)
            insert(*field);
        return {};
    }

private:
    /// An array's elements are one line.
    void tell(const std::string& name, const char* what)
    {
        std::string text = target_.name + " ";
        for (size_t at = 0; at < name.size(); ++at) {
            text += name[at];
            // "[0]", but not a subsection's "[name]"
            if (name[at] != '[' || std::isdigit(static_cast<unsigned char>(name[at + 1])) == 0)
                continue;
            text += "*]";
            at = name.find(']', at);
        }
        text += std::string(": ") + what;
        if (std::ranges::find(told_, text) == told_.end())
            told_.push_back(std::move(text));
    }

    Status copy_field(const state::DeviceField& field)
    {
        const state::DeviceField* found = index_.find(field.name);
        if (found == nullptr)
            return add(field);
        const auto place = static_cast<size_t>(found - target_.fields.data());
        filled_[place] = true;
        state::DeviceField& target = target_.fields[place];
        if (field.value.size() != target.value.size() && !has_any_length(target_, target))
            return fail(ErrorKind::Incompatible,
                        field.name + " has " + std::to_string(field.value.size()) +
                            " bytes there and " + std::to_string(target.value.size()) + " here");
        target.value = field.value;
        return {};
    }

    /// Whole subsections may be added: whoever loads the stream knows them, or says that it does
    /// not. Plain fields have their places.
    Status add(const state::DeviceField& field)
    {
        const bool within = !subsection_of(field.name).empty() &&
                            find_field(target_, subsection_of(field.name)) == nullptr;
        if (within) {
            added_.push_back(&field);
            return {};
        }
        if (is_zero(field)) {
            tell(field.name, "not here, and not used");
            return {};
        }
        return fail(ErrorKind::Incompatible, field.name + " has no place here");
    }

    /// Behind the struct that the subsection belongs to: at the end, if that is the device.
    void insert(const state::DeviceField& field)
    {
        const std::string_view name = field.name;
        const std::string_view within = name.substr(0, subsection_of(name).rfind('['));
        const auto last = std::ranges::find_if(
            target_.fields.rbegin(), target_.fields.rend(),
            [within](const auto& each) { return each.name.starts_with(within); });
        target_.fields.insert(last.base(), field);
    }

    const state::Device& source_;
    state::Device& target_;
    std::vector<std::string>& told_;
    FieldIndex index_;         ///< of the target
    std::vector<bool> filled_; ///< by the place in the target
    std::vector<const state::DeviceField*> added_;
};

} // namespace

Status copy_device(const state::Device& source, state::Device& target,
                   std::vector<std::string>& told)
{
    if (source.model_version > target.model_version)
        return fail(ErrorKind::Incompatible,
                    "its state is of version " + std::to_string(source.model_version) +
                        " there and " + std::to_string(target.model_version) + " here");
    return is_opaque(source) ? copy_opaque(source, target)
                             : DeviceCopy(source, target, told).copy();
}

} // namespace drover::qemu
