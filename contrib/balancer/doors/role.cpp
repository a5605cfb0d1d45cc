// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/doors/role.h"

#include <algorithm>
#include <array>

namespace drover::balancer {

namespace {

constexpr std::array<std::string_view, 4> role_words = {"none", "observe", "operate", "administer"};

std::unexpected<Error> no_name(const char* why)
{
    return fail(ErrorKind::Protocol, std::string("not a distinguished name: ") + why);
}

int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/// Reads "TYPE=value" after "TYPE=value", separated by ',' or, within one RDN, by '+'.
class NameReader {
public:
    explicit NameReader(std::string_view text) : text_(text) {}

    Result<std::vector<NameAttribute>> read()
    {
        std::vector<NameAttribute> list;
        while (!text_.empty()) {
            NameAttribute attribute;
            if (Status type = read_type(attribute.type); !type)
                return pass(type);
            if (Status value = read_value(attribute.value); !value)
                return pass(value);
            list.push_back(std::move(attribute));
        }
        if (separated_)
            return no_name("it ends with a separator");
        return list;
    }

private:
    char take()
    {
        const char c = text_.front();
        text_.remove_prefix(1);
        return c;
    }

    Status read_type(std::string& type)
    {
        while (!text_.empty() && text_.front() != '=') {
            const char c = take();
            const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                               (c >= '0' && c <= '9') || c == '.' || c == '-';
            if (!plain)
                return no_name("an attribute's type has a strange character");
            type += c;
        }
        if (text_.empty() || type.empty())
            return no_name("an attribute has no type");
        take(); // '='
        return {};
    }

    Status read_value(std::string& value)
    {
        separated_ = false;
        while (!text_.empty()) {
            const char c = take();
            if (c == ',' || c == '+') {
                separated_ = true;
                return {};
            }
            if (c == '"' || c == ';' || c == '<' || c == '>' || c == '\0')
                return no_name("a special character is not escaped");
            if (c != '\\')
                value += c;
            else if (!read_escape(value))
                return no_name("a wrong escape");
        }
        return {};
    }

    bool read_escape(std::string& value)
    {
        if (text_.empty())
            return false;
        const char c = take();
        if (std::string_view(" #=+,;<>\"\\").contains(c)) {
            value += c;
            return true;
        }
        const int high = hex_digit(c);
        const int low = text_.empty() ? -1 : hex_digit(take());
        if (high < 0 || low < 0)
            return false;
        value += static_cast<char>(high * 16 + low);
        return true;
    }

    std::string_view text_;
    bool separated_ = false; // another attribute must follow
};

bool is_type(const NameAttribute& attribute, std::string_view type)
{
    return std::ranges::equal(attribute.type, type,
                              [](char a, char b) { return (a >= 'a' ? a - 'a' + 'A' : a) == b; });
}

} // namespace

std::string_view to_string(Role role)
{
    return role_words.at(static_cast<size_t>(role));
}

std::optional<Role> parse_role(std::string_view word)
{
    for (const Role role : {Role::Observe, Role::Operate, Role::Administer}) {
        if (word == to_string(role))
            return role;
    }
    return std::nullopt;
}

Result<std::vector<NameAttribute>> parse_name(std::string_view text)
{
    return NameReader(text).read();
}

Result<Identity> identity_of_subject(std::string_view subject)
{
    const auto attributes = parse_name(subject);
    if (!attributes)
        return std::unexpected(attributes.error());
    Identity identity;
    std::optional<Role> lowest;
    for (const NameAttribute& attribute : *attributes) {
        if (is_type(attribute, "CN") && identity.name.empty())
            identity.name = attribute.value;
        const auto role = is_type(attribute, "OU") ? parse_role(attribute.value) : std::nullopt;
        if (role)
            lowest = std::min(lowest.value_or(*role), *role);
    }
    identity.role = lowest.value_or(Role::None);
    return identity;
}

} // namespace drover::balancer
