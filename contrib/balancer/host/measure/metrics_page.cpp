// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/measure/metrics_page.h"

#include "contrib/balancer/load/load_fields.h"

#include <algorithm>
#include <charconv>
#include <glib.h>
#include <memory>

namespace drover::balancer {

namespace {

using Label = std::pair<const char*, std::string_view>;

/// Writes one metric after another: all samples of one must stand together, below its head.
class Page {
public:
    /// All metrics are gauges: what grows for ever is kept by those who measure.
    void head(std::string name, std::string_view help)
    {
        name_ = std::move(name);
        text_ += "# HELP " + name_ + " ";
        text_ += help;
        text_ += "\n# TYPE " + name_ + " gauge\n";
    }

    void sample(std::initializer_list<Label> labels, double value)
    {
        text_ += name_;
        char separator = '{';
        for (const auto& [label, content] : labels) {
            text_ += separator;
            text_ += label;
            text_ += "=\"" + escape_label(content) + "\"";
            separator = ',';
        }
        if (labels.size() > 0)
            text_ += '}';
        char number[32];
        const auto end = std::to_chars(number, number + sizeof number, value).ptr;
        text_ += ' ';
        text_.append(number, end);
        text_ += '\n';
    }

    [[nodiscard]] std::string take() { return std::move(text_); }

private:
    std::string name_;
    std::string text_;
};

/// PREFIX + "swap-out", "bytes_per_second" is PREFIX_swap_out_bytes_per_second.
std::string metric_name(std::string_view prefix, std::string_view name, std::string_view unit)
{
    std::string metric = std::string(prefix) + "_" + std::string(name);
    std::replace(metric.begin(), metric.end(), '-', '_');
    if (!metric.ends_with(unit))
        metric += "_" + std::string(unit);
    return metric;
}

/// A metric for each field, with a sample for each of `items`, labelled by its name.
template <typename T, size_t N>
void put_named(Page& page, const char* prefix, const char* label, const std::vector<T>& items,
               const Field<T> (&fields)[N])
{
    for (const auto& field : fields) {
        if (!field.unit || items.empty())
            continue;
        page.head(metric_name(prefix, field.name, field.unit), field.help);
        for (const T& item : items)
            page.sample({{label, item.name}}, item.*field.value);
    }
}

void put_host(Page& page, const HostLoad& host)
{
    for (const auto& field : host_fields) {
        if (!field.unit)
            continue;
        page.head(metric_name("drover_host", field.name, field.unit), field.help);
        page.sample({}, host.*field.value);
    }
    for (const auto& pressure : host_pressures) {
        const std::string prefix = std::string("drover_host_") + pressure.name;
        for (const auto& field : pressure_fields) {
            page.head(metric_name(prefix, field.name, field.unit), field.help);
            page.sample({}, host.*pressure.value.*field.value);
        }
    }
    page.head("drover_host_core_busy_ratio", "part of the time that a core was busy");
    for (size_t core = 0; core < host.cpu_by_core.size(); ++core)
        page.sample({{"core", std::to_string(core)}}, host.cpu_by_core[core]);
    page.head("drover_host_slice", "1 if this is a slice of the machine");
    page.sample({}, host.slice ? 1 : 0);
    page.head("drover_host_gaps", "how many things could not be measured (query-host-load)");
    page.sample({}, static_cast<double>(host.gaps.size()));
    put_named(page, "drover_host_nic", "nic", host.nics, nic_fields);
    put_named(page, "drover_host_disk", "disk", host.disks, disk_fields);
}

void put_vm_nics(Page& page, const std::vector<VmLoad>& vms)
{
    if (std::all_of(vms.begin(), vms.end(), [](const VmLoad& vm) { return vm.nics.empty(); }))
        return;
    for (const auto& field : vm_nic_fields) {
        page.head(metric_name("drover_vm_nic", field.name, field.unit), field.help);
        for (const VmLoad& vm : vms) {
            for (const VmNicLoad& nic : vm.nics)
                page.sample({{"vm", vm.name}, {"nic", nic.id}}, nic.*field.value);
        }
    }
    page.head("drover_vm_nic_wants_more", "1 if the guest would use more than it gets");
    for (const VmLoad& vm : vms) {
        for (const VmNicLoad& nic : vm.nics)
            page.sample({{"vm", vm.name}, {"nic", nic.id}}, nic.wants_more ? 1 : 0);
    }
}

void put_vms(Page& page, const std::vector<VmLoad>& vms)
{
    if (vms.empty())
        return;
    for (const auto& field : vm_fields) {
        if (!field.unit)
            continue;
        page.head(metric_name("drover_vm", field.name, field.unit), field.help);
        for (const VmLoad& vm : vms)
            page.sample({{"vm", vm.name}}, vm.*field.value);
    }
    page.head("drover_vm_vcpus", "virtual processors");
    for (const VmLoad& vm : vms)
        page.sample({{"vm", vm.name}}, vm.vcpus);
    put_vm_nics(page, vms);
}

} // namespace

std::string escape_label(std::string_view value)
{
    // Prometheus refuses a whole page for one byte that is not UTF-8.
    const std::unique_ptr<char, void (*)(void*)> valid(
        g_utf8_make_valid(value.data(), static_cast<gssize>(value.size())), g_free);
    std::string escaped;
    for (const char* at = valid.get(); *at != '\0'; ++at) {
        if (*at == '\\' || *at == '"')
            escaped += '\\';
        if (*at == '\n')
            escaped += "\\n";
        else
            escaped += *at;
    }
    return escaped;
}

std::string metrics_page(const HostLoad& host, const std::vector<VmLoad>& vms,
                         const std::map<std::string, std::string>& states)
{
    Page page;
    put_host(page, host);
    put_vms(page, vms);
    if (!states.empty())
        page.head("drover_vm_state", "1 for the state that the VM is in");
    for (const auto& [name, state] : states)
        page.sample({{"vm", name}, {"state", state}}, 1);
    return page.take();
}

} // namespace drover::balancer
