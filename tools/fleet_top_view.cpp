// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/fleet_top_view.h"

#include "tools/fleet_views.h"

#include <algorithm>

namespace drover::tools {

namespace {

using Cell = FleetTable::Cell;
using Lines = std::vector<std::string>;

constexpr unsigned name_width = 16;     // before bars
constexpr unsigned tail_width = 13;     // behind them
constexpr unsigned label_width = 11;    // of a bar: " cpu " and its percents
constexpr unsigned plain_width = 100;   // where there is no terminal
constexpr unsigned narrowest_bars = 77; // below, numbers alone

/// One line, clean already; cut where it is too long.
std::string line_of(const std::string& text, const FleetView& view, Colour colour = Colour::None)
{
    const bool too_long = view.width > 0 && columns_of(text) > view.width;
    return paint(too_long ? fit(text, view.width) : text, colour, view.colour);
}

Lines split(const std::string& text)
{
    Lines lines;
    for (size_t begin = 0, end = 0; (end = text.find('\n', begin)) != text.npos; begin = end + 1)
        lines.push_back(text.substr(begin, end - begin));
    return lines;
}

const Json& as_list(const Json& value)
{
    static const Json none = Json::array();
    return value.is_array() ? value : none;
}

std::string headline(const Json& status)
{
    const auto count = [&](const char* key, const char* one, const char* many) {
        const uint64_t n = json_u64(status, key);
        return ", " + std::to_string(n) + " " + (n == 1 ? one : many);
    };
    return "drover: mode " + text_in(status, "mode") + count("hosts", "host", "hosts") +
           count("vms", "VM", "VMs") + count("hotspots", "hotspot", "hotspots") +
           count("migrations", "migration", "migrations") + ", a round takes " +
           seconds_text(json_quantity(status, "round-ms") / 1e3);
}

std::string host_line(const Json& host, const FleetView& view)
{
    const std::string state = text_in(host, "state");
    std::string line = paint(fit(text_in(host, "name"), name_width), Colour::Bold, view.colour);
    if (const Json& load = object_in(host, "load"); !load.empty()) {
        const unsigned width = view.width > 0 ? view.width : plain_width;
        const unsigned bars = width - name_width - tail_width - 3 * label_width;
        const HostShares shares = HostShares::of(load);
        const std::pair<const char*, double> measures[] = {
            {"cpu", shares.cpu}, {"mem", shares.memory}, {"net", shares.net}};
        for (const auto& [label, share] : measures)
            line += " " + std::string(label) + " " +
                    paint(share_bar(share, std::min(bars / 3, 20U)) + fit(percent(share), 6, true),
                          colour_of_load(share), view.colour);
    }
    if (state == "up") // goes without saying
        return line + " " + fit(std::to_string(json_u64(host, "vms")) + " VMs", tail_width - 1);
    return line + " " + paint(fit(state, tail_width - 1), colour_of_state(state), view.colour);
}

/// Those with something to see first, then by name.
std::vector<Json> in_order(const Json& list, const char* also)
{
    std::vector<Json> sorted(list.begin(), list.end());
    const auto calm = [&](const Json& one) {
        return list_in(one, "hotspots").empty() && json_string(one, also).empty();
    };
    std::ranges::stable_sort(sorted, [&](const Json& a, const Json& b) {
        return calm(a) != calm(b) ? calm(b) : json_string(a, "name") < json_string(b, "name");
    });
    return sorted;
}

Lines host_lines(const Json& hosts, const FleetView& view)
{
    const std::vector<Json> sorted = in_order(hosts, "");
    if (view.width > 0 && view.width < narrowest_bars)
        return split(show_hosts(Json(sorted), view));
    Lines lines;
    for (const Json& host : sorted)
        lines.push_back(host_line(host, view));
    return lines;
}

Lines vm_lines(const Json& vms, const FleetView& view)
{
    const std::vector<Json> sorted = in_order(vms, "migration");
    return sorted.empty() ? Lines{} : split(show_vms(Json(sorted), view));
}

std::string migration_line(const Json& migration, const FleetView& view)
{
    const double total = json_quantity(migration, "total");
    const double left = std::min(json_quantity(migration, "remaining"), total);
    const double share = total > 0 ? 1 - left / total : 0;
    std::string status = text_in(migration, "status");
    if (status.empty())
        status = text_in(migration, "state");
    std::string line = share_bar(share, 22) + fit(percent(share), 6, true) + " " +
                       move_text(migration) + ", " + status;
    if (total > 0)
        line += ", " + bytes_text(left) + " left";
    if (const std::string error = text_in(migration, "error"); !error.empty())
        line += ": " + error;
    return line_of(line, view, Colour::Cyan);
}

Lines hotspot_lines(const Json& hotspots, const FleetView& view)
{
    Lines lines;
    for (const Json& spot : hotspots)
        lines.push_back(line_of(hotspot_line(spot, view), view, Colour::Red));
    return lines;
}

Lines plan_lines(const Json& plan, const FleetView& view)
{
    Lines lines;
    for (const Json& move : list_in(plan, "moves")) {
        const std::string state = text_in(move, "state"), why = text_in(move, "why");
        lines.push_back(
            line_of(move_text(move) + ", " + state + (why.empty() ? "" : ": " + why), view));
    }
    return lines;
}

Lines migration_lines(const Json& migrations, const FleetView& view)
{
    Lines lines;
    for (const Json& migration : migrations)
        lines.push_back(migration_line(migration, view));
    return lines;
}

struct Section {
    std::string title;
    Lines lines;
    size_t room = 0; // lines that may be shown; one less, and how many more there are
};

/// Lines are given in turn to those that want more, so that a long list leaves the others theirs.
void share_room(std::vector<Section>& sections, size_t height)
{
    size_t fixed = 0;
    for (const Section& section : sections)
        fixed += section.lines.empty() ? 0 : 1;
    size_t left = height > fixed ? height - fixed : 0;
    bool given = true;
    while (left > 0 && given) {
        given = false;
        for (Section& section : sections) {
            if (left > 0 && section.room < section.lines.size()) {
                ++section.room;
                --left;
                given = true;
            }
        }
    }
}

void draw(const Section& section, const FleetView& view, Lines& out)
{
    if (section.lines.empty() || section.room == 0)
        return;
    out.push_back(line_of(section.title, view, Colour::Dim));
    const bool all = section.room >= section.lines.size();
    const size_t shown = all ? section.lines.size() : section.room - 1;
    out.insert(out.end(), section.lines.begin(),
               section.lines.begin() + static_cast<std::ptrdiff_t>(shown));
    if (!all)
        out.push_back(line_of("... " + std::to_string(section.lines.size() - shown) + " more", view,
                              Colour::Dim));
}

} // namespace

std::string draw_top(const FleetPicture& picture, const FleetView& view, const std::string& notice)
{
    Lines out{line_of(headline(picture.status), view, Colour::Bold)};
    if (const std::string trouble = text_in(picture.status, "trouble"); !trouble.empty())
        out.push_back(line_of(trouble, view, Colour::Red));
    std::vector<Section> sections = {
        {"HOTSPOTS", hotspot_lines(as_list(picture.hotspots), view)},
        {"MIGRATIONS", migration_lines(as_list(picture.migrations), view)},
        {"PLAN " + text_in(picture.plan, "id") + ", " + text_in(picture.plan, "state"),
         plan_lines(picture.plan, view)},
        {"HOSTS", host_lines(as_list(picture.hosts), view)},
        {"VMS", vm_lines(as_list(picture.vms), view)}};
    const size_t taken = out.size() + (notice.empty() ? 0 : 1);
    if (view.height == 0)
        for (Section& section : sections)
            section.room = section.lines.size();
    else
        share_room(sections, view.height > taken ? view.height - taken : 0);
    // Seen from above: the hosts, then what is wrong with them, and what is done about it.
    for (const size_t i : {3U, 4U, 0U, 2U, 1U})
        draw(sections[i], view, out);
    if (view.height > 0 && out.size() + (notice.empty() ? 0 : 1) > view.height)
        out.resize(view.height - (notice.empty() ? 0 : 1));
    if (!notice.empty())
        out.push_back(line_of(notice, view, Colour::Dim));
    std::string text;
    for (const std::string& line : out)
        text += line + "\n";
    return text;
}

} // namespace drover::tools
