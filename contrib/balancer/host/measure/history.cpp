// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/measure/history.h"

#include "contrib/balancer/load/load_fields.h"

#include <algorithm>

namespace drover::balancer {

namespace {

/// Calls `each` with every number of the load but its time, always in the same order.
template <typename T, size_t N, typename Each>
void visit(T& load, const Field<std::remove_const_t<T>> (&fields)[N], Each& each)
{
    for (const auto& field : fields)
        each(load.*field.value);
}

template <typename T, size_t N, typename Each>
void visit_all(std::vector<T>& loads, const Field<T> (&fields)[N], Each& each)
{
    for (T& load : loads)
        visit(load, fields, each);
}

template <typename Each> void visit_numbers(HostLoad& load, Each each)
{
    visit(load, host_fields, each);
    for (double& core : load.cpu_by_core)
        each(core);
    for (const auto& field : host_pressures)
        visit(load.*field.value, pressure_fields, each);
    visit_all(load.nics, nic_fields, each);
    visit_all(load.disks, disk_fields, each);
}

template <typename Each> void visit_numbers(VmLoad& load, Each each)
{
    visit(load, vm_fields, each);
    visit_all(load.nics, vm_nic_fields, each);
    for (VmNicLoad& nic : load.nics) { // a state, but one that changes as numbers do
        double wants_more = nic.wants_more ? 1 : 0;
        each(wants_more);
        nic.wants_more = wants_more != 0;
    }
}

template <typename T> bool same_names(const std::vector<T>& a, const std::vector<T>& b)
{
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [](const T& left, const T& right) { return left.name == right.name; });
}

bool same_shape(const HostLoad& a, const HostLoad& b)
{
    return a.slice == b.slice && a.cpu_by_core.size() == b.cpu_by_core.size() &&
           a.migration_nic == b.migration_nic && same_names(a.nics, b.nics) &&
           same_names(a.disks, b.disks) && a.gaps == b.gaps;
}

bool same_shape(const VmLoad& a, const VmLoad& b)
{
    return a.name == b.name && a.vcpus == b.vcpus && a.gaps == b.gaps &&
           std::equal(a.nics.begin(), a.nics.end(), b.nics.begin(), b.nics.end(),
                      [](const auto& left, const auto& right) {
                          return left.id == right.id && left.uplink == right.uplink;
                      });
}

} // namespace

template <typename Load> void History<Load>::add(TimePoint at, const Load& load)
{
    if (samples_.size() == capacity)
        samples_.pop_front();
    Load copy = load;
    std::vector<float> numbers;
    numbers.reserve(64);
    visit_numbers(copy, [&](double& number) { numbers.push_back(static_cast<float>(number)); });
    Sample sample = {at, load.time, nullptr, std::make_unique<float[]>(numbers.size())};
    std::copy(numbers.begin(), numbers.end(), sample.numbers.get());
    if (!samples_.empty() && same_shape(*samples_.back().shape, load))
        sample.shape = samples_.back().shape;
    else
        sample.shape = std::make_shared<const Load>(std::move(copy));
    samples_.push_back(std::move(sample));
}

template <typename Load> std::vector<Load> History<Load>::last(double seconds) const
{
    std::vector<Load> loads;
    if (samples_.empty())
        return loads;
    // By the clock that does not jump.
    const auto begin = std::find_if(samples_.begin(), samples_.end(), [&](const Sample& sample) {
        return Duration(samples_.back().at - sample.at).count() <= seconds;
    });
    for (auto it = begin; it != samples_.end(); ++it) {
        Load& load = loads.emplace_back(*it->shape);
        const float* number = it->numbers.get();
        visit_numbers(load, [&](double& value) { value = *number++; });
        load.time = it->utc;
    }
    if (loads.empty()) // nonsense was asked for
        return last(0);
    return loads;
}

template class History<HostLoad>;
template class History<VmLoad>;

} // namespace drover::balancer
