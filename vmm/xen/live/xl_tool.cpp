// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/xen/live/xl_tool.h"

#include "util/fd.h"
#include "vmm/xen/guest/ram_layout.h"

#include <cerrno>
#include <cstdlib>
#include <glib.h>
#include <sstream>
#include <unistd.h>

namespace drover::xen {

Result<std::string> run_xl(std::vector<std::string> words)
{
    words.insert(words.begin(), "xl");
    std::vector<char*> argv;
    argv.reserve(words.size() + 1);
    for (std::string& word : words)
        argv.push_back(word.data());
    argv.push_back(nullptr);
    gchar* out = nullptr;
    gchar* err = nullptr;
    gint status = 0;
    GError* error = nullptr;
    const bool ran = g_spawn_sync(nullptr, argv.data(), nullptr, G_SPAWN_SEARCH_PATH, nullptr,
                                  nullptr, &out, &err, &status, &error) == TRUE;
    std::string said = out ? out : "";
    std::string complaint = error ? error->message : err ? err : "";
    g_free(out);
    g_free(err);
    g_clear_error(&error);
    if (ran && status == 0)
        return said;
    while (complaint.ends_with('\n'))
        complaint.pop_back();
    return fail(ErrorKind::System, "xl " + words[1] + ": " + complaint,
                "run it as root, in Dom0, with Xen's tools");
}

Result<XlDomain> find_domain(const std::string& name)
{
    auto said = run_xl({"list", "-l", name});
    auto list = said ? parse_json(*said) : pass(said);
    if (!list)
        return pass(list);
    const Json& domain = list->is_array() && !list->empty() ? list->front() : *list;
    const auto part = [](const Json& object, const char* member) {
        const auto found = object.find(member);
        return found != object.end() && found->is_object() ? *found : Json::object();
    };
    const Json config = part(domain, "config");
    const Json build = part(config, "b_info");
    XlDomain found;
    found.id = static_cast<uint32_t>(json_u64(domain, "domid"));
    found.name = json_string(part(config, "c_info"), "name");
    const uint64_t memory = json_u64(build, "max_memkb") << 10;
    found.layout = ram_layout(memory, config);
    if (found.id == 0 || memory == 0)
        return fail(ErrorKind::Invalid, "xl does not know a guest " + name);
    if (const uint64_t target = json_u64(build, "target_memkb") << 10;
        target != 0 && target != memory)
        return fail(ErrorKind::Refused, "a part of the guest's memory is taken away (maxmem)",
                    "start it with memory= alone");
    return found;
}

/// A line a domain: its name and its number come first.
std::optional<uint32_t> find_in_list(std::string_view list, std::string_view name)
{
    std::istringstream lines{std::string(list)};
    for (std::string line; std::getline(lines, line);) {
        std::istringstream words(line);
        std::string found;
        uint32_t id = 0;
        if (words >> found >> id && found == name && id != 0)
            return id;
    }
    return std::nullopt;
}

Result<std::optional<uint32_t>> look_for_domain(const std::string& name)
{
    auto said = run_xl({"list"});
    if (!said)
        return pass(said);
    return find_in_list(*said, name);
}

Result<uint32_t> domain_id(const std::string& name)
{
    auto found = look_for_domain(name);
    if (!found)
        return pass(found);
    if (!*found)
        return fail(ErrorKind::Machine, "there is no domain " + name);
    return **found;
}

Result<Json> read_xl_config(const std::string& file)
{
    auto said = run_xl({"create", "-q", "-n", file});
    auto config = said ? parse_json(*said) : pass(said);
    if (!config)
        return pass(config);
    if (!config->is_object() || !config->contains("b_info") || !config->contains("c_info"))
        return fail(ErrorKind::Machine, "xl does not tell what " + file + " says");
    return config;
}

bool model_can_wait(const Json& config)
{
    const auto build = config.find("b_info");
    if (build == config.end())
        return false;
    for (const char* apart : {"device_model_stubdomain", "dm_restrict"})
        if (json_string(*build, apart) == "True")
            return false;
    // Those are plugged in by the model's monitor when it runs.
    for (const char* plugged : {"pcidevs", "usbctrls", "usbdevs"})
        if (const auto list = config.find(plugged); list != config.end() && !list->empty())
            return false;
    return json_string(*build, "device_model_version") != "qemu_xen_traditional";
}

Result<Json> read_xl_text(const std::string& text)
{
    char path[] = "/var/run/xen/drover-guest.XXXXXX";
    const UniqueFd file(mkstemp(path));
    if (!file)
        return fail_errno(std::string("making ") + path, errno);
    Result<Json> config = fail_errno(std::string("writing ") + path, ENOSPC);
    if (write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()))
        config = read_xl_config(path);
    unlink(path);
    return config;
}

Result<XenGuest> guest_of_config(Json config)
{
    XenGuest guest{.name = json_string(config["c_info"], "name"),
                   .uuid = json_string(config["c_info"], "uuid"),
                   .memory = json_u64(config["b_info"], "max_memkb") << 10};
    if (guest.name.empty() || guest.memory == 0)
        return fail(ErrorKind::Invalid, "the configuration names no guest, or no memory");
    guest.config = std::move(config);
    return guest;
}

} // namespace drover::xen
