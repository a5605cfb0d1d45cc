// SPDX-License-Identifier: GPL-2.0-or-later
#include "system/tls_authz.h"

#include "util/fd.h"

#include <glib.h>

namespace drover {

namespace {

Status turned_away(const std::string& name)
{
    return fail(ErrorKind::Refused, "\"" + name + "\" may not come in", "tls-authz says who may");
}

bool matches(const Json& rule, const std::string& name)
{
    const std::string match = json_string(rule, "match");
    if (json_string(rule, "format", "exact") == "exact")
        return match == name;
    return g_pattern_match_simple(match.c_str(), name.c_str()) != FALSE;
}

/// The first rule that fits decides; where none does, the list's own policy.
Status judge_by_list(const Json& list, const std::string& name)
{
    std::string policy = json_string(list, "policy", "deny");
    const auto rules = list.find("rules");
    if (rules != list.end() && rules->is_array())
        for (const Json& rule : *rules)
            if (matches(rule, name)) {
                policy = json_string(rule, "policy");
                break;
            }
    return policy == "allow" ? Status() : turned_away(name);
}

/// Read for each peer anew: so it may be changed at any time.
Status judge_by_file(const std::string& path, const std::string& name)
{
    auto text = read_file(path);
    if (!text)
        return pass(text);
    auto list = parse_json(*text);
    if (!list || !list->is_object())
        return fail(ErrorKind::Invalid, path + " does not hold a list of who may come in",
                    "see QEMU's authz-list-file");
    return judge_by_list(*list, name);
}

} // namespace

const std::vector<std::string>& authz_properties()
{
    static const std::vector<std::string> names = {"identity", "policy", "rules", "filename"};
    return names;
}

Result<std::function<Status(const std::string&)>> make_authorization(const Json& object)
{
    const std::string type = json_string(object, "type");
    if (type == "authz-simple")
        return [identity = json_string(object, "identity")](const std::string& name) {
            return name == identity ? Status() : turned_away(name);
        };
    if (type == "authz-list")
        return [object](const std::string& name) { return judge_by_list(object, name); };
    if (type == "authz-list-file")
        return [path = json_string(object, "filename")](const std::string& name) {
            return judge_by_file(path, name);
        };
    return fail(ErrorKind::Invalid,
                "Drover does not know how an object of type '" + type + "' says who may come in",
                "use authz-simple, authz-list or authz-list-file for tls-authz");
}

} // namespace drover
