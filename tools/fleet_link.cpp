// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/fleet_link.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <sys/ioctl.h>
#include <unistd.h>

namespace drover::tools {

namespace {

constexpr char default_balancer[] = "unix:/run/drover/balancer.sock";

std::string from_environment(const char* name, const char* fallback)
{
    const char* value = getenv(name);
    return value && *value ? value : fallback;
}

/// "auto", "always", "never": what stdout has, yes, no.
Status read_colour(const std::string& when, std::optional<bool>& colour)
{
    if (when == "auto")
        colour.reset();
    else if (when == "always" || when == "never")
        colour = when == "always";
    else
        return fail(ErrorKind::Invalid, "--colour: '" + when + "' is not auto, always or never");
    return {};
}

bool wants_colour()
{
    const char* terminal = getenv("TERM");
    const char* no_colour = getenv("NO_COLOR");
    const bool dumb = !terminal || std::string_view(terminal) == "dumb";
    return !dumb && (!no_colour || *no_colour == '\0');
}

unsigned columns_from_environment()
{
    const std::string text = from_environment("COLUMNS", "");
    unsigned columns = 0;
    const char* end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, columns);
    return error == std::errc{} && rest == end ? columns : 0;
}

} // namespace

Result<FleetOptions> parse_fleet_options(Words words, const std::vector<std::string>& own)
{
    FleetOptions options;
    options.balancer = from_environment("DROVER_BALANCER", default_balancer);
    options.tls = {from_environment("DROVER_TLS_CA", ""), from_environment("DROVER_TLS_CERT", ""),
                   from_environment("DROVER_TLS_KEY", "")};
    std::string colour = "auto";
    const std::pair<const char*, std::string*> common[] = {{"--balancer", &options.balancer},
                                                           {"--colour", &colour},
                                                           {"--tls-ca", &options.tls.ca},
                                                           {"--tls-cert", &options.tls.cert},
                                                           {"--tls-key", &options.tls.key}};
    while (!words.empty()) {
        const bool is_option = words.next_is_option();
        const std::string word = words.take();
        if (!is_option) {
            options.plain.push_back(word);
            continue;
        }
        if (word == "--json") {
            options.json = true;
            continue;
        }
        if (std::ranges::count(own, word) > 0) {
            options.others.emplace_back(word, "");
            continue;
        }
        const auto* place =
            std::ranges::find_if(common, [&](const auto& entry) { return word == entry.first; });
        if (place == std::end(common) && std::ranges::count(own, word + "=") == 0)
            return fail(ErrorKind::Invalid, "unknown option " + word);
        auto value = words.take_value(word);
        if (!value)
            return pass(value);
        if (place != std::end(common))
            *place->second = std::move(*value);
        else
            options.others.emplace_back(word, std::move(*value));
    }
    if (Status read = read_colour(colour, options.colour); !read)
        return pass(read);
    return options;
}

std::optional<std::string> own_option(const FleetOptions& options, const std::string& name)
{
    for (const auto& [option, value] : options.others) {
        if (option == name)
            return value;
    }
    return std::nullopt;
}

FleetLink::FleetLink(const FleetOptions& options, Callbacks callbacks)
    : callbacks_(std::move(callbacks))
{
    const bool any_file =
        !options.tls.ca.empty() || !options.tls.cert.empty() || !options.tls.key.empty();
    dialling_ = std::make_unique<balancer::Dialling>(
        options.balancer, any_file ? std::make_shared<balancer::TlsIdentity>(options.tls) : nullptr,
        [this](Result<UniqueFd> fd) {
            if (fd)
                return negotiate(std::move(*fd));
            Error why = std::move(fd.error());
            if (why.hint.empty())
                why.hint = "the balancer's address is given by --balancer or DROVER_BALANCER";
            const auto failed = callbacks_.failed; // it may destroy us
            failed(why);
        });
}

void FleetLink::negotiate(UniqueFd fd)
{
    client_ = std::make_unique<QmpClient>(
        std::move(fd), QmpClient::Callbacks{callbacks_.event, callbacks_.failed});
    client_->negotiate(false, [this](const Result<Json>& greeting) {
        const auto ready = callbacks_.ready;
        const auto failed = callbacks_.failed;
        if (greeting)
            ready();
        else
            failed(greeting.error());
    });
}

FleetView view_of_stdout(std::optional<bool> colour)
{
    FleetView view;
    view.now = static_cast<double>(time(nullptr));
    winsize size = {};
    const bool terminal = isatty(STDOUT_FILENO) != 0;
    view.colour = colour.value_or(terminal && wants_colour());
    if (!terminal) {
        view.width = columns_from_environment();
        return view;
    }
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
        view.width = size.ws_col;
        view.height = size.ws_row;
    }
    return view;
}

} // namespace drover::tools
