// SPDX-License-Identifier: GPL-2.0-or-later
#include "system/user_object.h"

#include <algorithm>
#include <glib.h>

namespace drover {

namespace {

/// QEMU's rule for names, by which one is no path either.
bool is_id(const std::string& id)
{
    return !id.empty() && id.size() <= 255 && std::ranges::all_of(id, [](unsigned char c) {
        return g_ascii_isalnum(c) || c == '-' || c == '.' || c == '_';
    });
}

} // namespace

void read_user_object(QmpClient& qemu, const std::string& id,
                      const std::vector<std::string>& properties,
                      std::function<void(Result<Json>)> done)
{
    std::vector<std::string> all = properties;
    all.emplace_back("type"); // which each has: asked for at last, its answer is the last one
    auto known = std::make_shared<Json>(Json::object());
    // With a name that QEMU cannot know there is nothing to ask for; the answer comes later all the
    // same.
    const std::string path = is_id(id) ? "/objects/" + id : "/objects/?";
    for (const std::string& property : all)
        qemu.execute("qom-get", Json{{"path", path}, {"property", property}},
                     [known, property, id, done](Result<Json> value) {
                         if (value)
                             (*known)[property] = std::move(*value);
                         if (property != "type")
                             return;
                         if (value)
                             return done(std::move(*known));
                         if (value.error().kind == ErrorKind::Connection)
                             return done(pass(value)); // QEMU has ended
                         done(fail(ErrorKind::Invalid, "there is no object '" + id + "' in QEMU",
                                   "make it by -object or object-add before"));
                     });
}

} // namespace drover
