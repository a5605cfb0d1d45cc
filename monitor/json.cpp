// SPDX-License-Identifier: GPL-2.0-or-later
#include "monitor/json.h"

#include <cmath>
#include <vector>

namespace drover {

namespace {

constexpr size_t max_depth = 1024;
/// A value costs some 50 bytes of memory however short its text is ("[],[],[]…"): without a cap, a
/// few megabytes of text would cost gigabytes.
constexpr size_t max_values = 2U << 20;
constexpr size_t max_message = 240;

/// nlohmann's text without its "[json.exception.…] parse error at ", in printable ASCII: it quotes
/// the input, which may be anything.
std::string readable(std::string_view what)
{
    if (const auto tag = what.find("] "); tag != what.npos)
        what.remove_prefix(tag + 2);
    if (const std::string_view head = "parse error at "; what.starts_with(head))
        what.remove_prefix(head.size());
    const bool cut = what.size() > max_message;
    std::string text(what.substr(0, max_message));
    for (char& c : text) {
        if (c < ' ' || c > '~')
            c = '?';
    }
    return cut ? text + "..." : text;
}

/// Builds the value from the parser's events, and refuses what nlohmann's own builder lets pass.
class Builder : public nlohmann::json_sax<Json> {
public:
    bool null() override { return add(nullptr); }
    bool boolean(bool value) override { return add(value); }
    bool number_integer(number_integer_t value) override { return add(value); }
    bool number_unsigned(number_unsigned_t value) override { return add(value); }
    bool number_float(number_float_t value, const string_t&) override { return add(value); }
    bool string(string_t& value) override { return add(std::move(value)); }
    bool binary(binary_t&) override { return refuse("binary values are not JSON"); }
    bool start_object(size_t) override { return add(Json::object()) && enter(); }
    bool start_array(size_t) override { return add(Json::array()) && enter(); }
    bool end_object() override { return leave(); }
    bool end_array() override { return leave(); }

    bool key(string_t& name) override
    {
        if (!count())
            return false;
        const auto [position, is_new] = open_.back()->emplace(std::move(name), nullptr);
        last_ = &*position;
        return is_new || refuse("duplicate key '" + readable(position.key()) + "'");
    }

    bool parse_error(size_t, const std::string&, const Json::exception& why) override
    {
        return refuse(readable(why.what()));
    }

    Json root;
    std::string error;

private:
    bool refuse(std::string why)
    {
        error = std::move(why);
        return false;
    }

    bool count() { return ++values_ <= max_values || refuse("more than 2,097,152 values"); }

    bool add(Json value)
    {
        if (!count())
            return false;
        if (open_.empty()) {
            root = std::move(value);
            last_ = &root;
        } else if (open_.back()->is_array()) {
            last_ = &open_.back()->emplace_back(std::move(value));
        } else {
            *last_ = std::move(value); // the place that key() made
        }
        return true;
    }

    bool enter()
    {
        // Pointers stay good: a container does not change while one of its members is open.
        open_.push_back(last_);
        return open_.size() <= max_depth || refuse("nested deeper than 1,024 levels");
    }

    bool leave()
    {
        open_.pop_back();
        return true;
    }

    std::vector<Json*> open_;
    Json* last_ = nullptr;
    size_t values_ = 0;
};

const Json* member(const Json& object, const char* key)
{
    if (!object.is_object())
        return nullptr;
    const auto found = object.find(key);
    return found == object.end() ? nullptr : &*found;
}

} // namespace

Result<Json> parse_json(std::string_view text)
{
    Builder builder;
    if (!Json::sax_parse(text.begin(), text.end(), &builder))
        return fail(ErrorKind::Protocol, "JSON parse error, " + builder.error);
    return std::move(builder.root);
}

std::string dump_json(const Json& value, bool pretty)
{
    return value.dump(pretty ? 4 : -1, ' ', false, Json::error_handler_t::replace);
}

std::string json_string(const Json& object, const char* key, std::string_view fallback)
{
    const Json* value = member(object, key);
    return value && value->is_string() ? value->get_ref<const std::string&>()
                                       : std::string(fallback);
}

uint64_t json_u64(const Json& object, const char* key, uint64_t fallback)
{
    const Json* value = member(object, key);
    // A non-negative number made in our own code may be stored as signed.
    if (!value || !value->is_number_integer() ||
        (!value->is_number_unsigned() && value->get<int64_t>() < 0))
        return fallback;
    return value->get<uint64_t>();
}

double json_quantity(const Json& object, const char* key, double fallback)
{
    const Json* found = member(object, key);
    const double value = found && found->is_number() ? found->get<double>() : -1;
    return std::isfinite(value) && value >= 0 ? value : fallback;
}

bool json_bool(const Json& object, const char* key, bool fallback)
{
    const Json* value = member(object, key);
    return value && value->is_boolean() ? value->get<bool>() : fallback;
}

} // namespace drover
