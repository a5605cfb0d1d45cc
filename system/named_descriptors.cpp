// SPDX-License-Identifier: GPL-2.0-or-later
#include "system/named_descriptors.h"

#include <algorithm>
#include <regex>
#include <sys/socket.h>

namespace drover {

namespace {

NamedDescriptors::Kind kind_of(int fd)
{
    int type = 0;
    socklen_t size = sizeof type;
    sockaddr_storage peer{};
    socklen_t peer_size = sizeof peer;
    const bool connected = getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 &&
                           type == SOCK_STREAM &&
                           getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &peer_size) == 0;
    return connected ? NamedDescriptors::Kind::Connection : NamedDescriptors::Kind::Other;
}

/// Whether `name` is one of the words of which `text` is made: "fd:NAME", "NAME1:NAME2",
/// "tap,fd=NAME".
bool mentions(std::string_view text, const std::string& name)
{
    constexpr std::string_view separators = " ,=:";
    for (size_t at = text.find(name); at != text.npos; at = text.find(name, at + 1)) {
        const size_t end = at + name.size();
        if ((at == 0 || separators.contains(text[at - 1])) &&
            (end == text.size() || separators.contains(text[end])))
            return true;
    }
    return false;
}

bool mentions(const Json& value, const std::string& name)
{
    if (value.is_string())
        return mentions(std::string_view(value.get_ref<const std::string&>()), name);
    return value.is_structured() &&
           std::ranges::any_of(value, [&](const Json& member) { return mentions(member, name); });
}

/// The numbers of descriptors in an argument of QEMU's: fd=3, vhostfds=3:4, "fd":"3", str=3,
/// /dev/fd/3.
void add_numbers(const std::string& argument, std::set<int>& numbers)
{
    static const std::regex mention(
        R"re((?:fds?|str)["']?\s*[=:]\s*["']?([0-9:]+)|/fd/([0-9]+))re");
    static const std::regex number("[0-9]{1,9}");
    const std::sregex_iterator none;
    for (std::sregex_iterator m(argument.begin(), argument.end(), mention); m != none; ++m) {
        const std::string list = (*m)[1].matched ? (*m)[1].str() : (*m)[2].str();
        for (std::sregex_iterator n(list.begin(), list.end(), number); n != none; ++n)
            numbers.insert(std::stoi(n->str()));
    }
}

} // namespace

void NamedDescriptors::name(const std::string& name, UniqueFd fd)
{
    const Kind kind = kind_of(fd.get());
    if (kind == Kind::Other)
        fd.reset();
    entries_[name] = {kind, std::move(fd), true};
}

void NamedDescriptors::forget(const std::string& name)
{
    entries_.erase(name);
}

void NamedDescriptors::used_by(const Json& arguments)
{
    std::erase_if(entries_, [&](const auto& entry) { return mentions(arguments, entry.first); });
}

void NamedDescriptors::inherit(const std::set<int>& numbers,
                               const std::vector<std::string>& command_line)
{
    std::set<int> mentioned;
    for (const std::string& argument : command_line)
        add_numbers(argument, mentioned);
    for (const int number : numbers) {
        Entry entry{kind_of(number), UniqueFd(number), false};
        if (mentioned.contains(number))
            entry.kind = Kind::Other;
        else if (entry.kind == Kind::Connection)
            (void)set_close_on_exec(number, true);
        entries_[std::to_string(number)] = std::move(entry);
    }
}

void NamedDescriptors::close_what_is_qemus()
{
    for (auto& [name, entry] : entries_)
        if (entry.kind == Kind::Other)
            entry.fd.reset();
}

std::optional<NamedDescriptors::Kind> NamedDescriptors::kind(const std::string& name) const
{
    const auto found = entries_.find(name);
    return found == entries_.end() ? std::nullopt : std::optional(found->second.kind);
}

Result<NamedDescriptors::Taken> NamedDescriptors::take(const std::string& name)
{
    const auto found = entries_.find(name);
    if (found == entries_.end() || !found->second.fd)
        return fail(ErrorKind::Invalid, "File descriptor named '" + name + "' has not been found",
                    "name it by getfd first");
    Taken taken{std::move(found->second.fd), found->second.named};
    entries_.erase(found);
    return taken;
}

} // namespace drover
