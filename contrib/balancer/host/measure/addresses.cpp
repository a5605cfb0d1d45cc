// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/measure/addresses.h"

#include <arpa/inet.h>
#include <array>
#include <ifaddrs.h>
#include <memory>
#include <netinet/in.h>

namespace drover::balancer::measure {

namespace {

/// In the form that is the same for all ways to write an address; empty: it is none.
std::string plain(const std::string& address)
{
    std::array<char, INET6_ADDRSTRLEN> text{};
    std::array<std::byte, sizeof(in6_addr)> bytes{};
    for (const int family : {AF_INET, AF_INET6})
        if (inet_pton(family, address.c_str(), bytes.data()) == 1 &&
            inet_ntop(family, bytes.data(), text.data(), text.size()) != nullptr)
            return text.data();
    return {};
}

std::string text_of(const sockaddr* address)
{
    const void* bytes = nullptr;
    if (address != nullptr && address->sa_family == AF_INET)
        bytes = &reinterpret_cast<const sockaddr_in*>(address)->sin_addr;
    if (address != nullptr && address->sa_family == AF_INET6)
        bytes = &reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr;
    std::array<char, INET6_ADDRSTRLEN> text{};
    if (bytes == nullptr ||
        inet_ntop(address->sa_family, bytes, text.data(), text.size()) == nullptr)
        return {};
    return text.data();
}

} // namespace

std::string interface_with(const std::string& address)
{
    const std::string wanted = plain(address);
    ifaddrs* list = nullptr;
    if (wanted.empty() || getifaddrs(&list) != 0)
        return {};
    const std::unique_ptr<ifaddrs, decltype(&freeifaddrs)> keeper(list, freeifaddrs);
    for (const ifaddrs* it = list; it != nullptr; it = it->ifa_next)
        if (text_of(it->ifa_addr) == wanted)
            return it->ifa_name;
    return {};
}

} // namespace drover::balancer::measure
