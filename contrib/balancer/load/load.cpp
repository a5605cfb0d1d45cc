// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/load/load.h"

#include "contrib/balancer/load/load_fields.h"

#include <algorithm>
#include <cmath>

namespace drover::balancer {

namespace {

/// What a peer may make us keep of it.
constexpr size_t max_load_name = 256;
constexpr size_t max_gap = 512;
constexpr size_t max_gaps = 64;
constexpr size_t max_cores = 8192;
constexpr size_t max_items = 1024;
constexpr double max_vcpus = 65536;

const Json* member(const Json& object, const char* key)
{
    if (!object.is_object())
        return nullptr;
    const auto found = object.find(key);
    return found == object.end() ? nullptr : &*found;
}

double number(const Json* value)
{
    if (!value || !value->is_number())
        return 0;
    const auto it = value->get<double>();
    return std::isfinite(it) && it >= 0 ? it : 0;
}

std::string text(const Json* value, size_t limit)
{
    const auto* it = value ? value->get_ptr<const std::string*>() : nullptr;
    return it ? it->substr(0, limit) : std::string();
}

bool flag(const Json& object, const char* key)
{
    const Json* value = member(object, key);
    return value && value->is_boolean() && value->get<bool>();
}

/// Calls `each` with the first `limit` elements of the list `key`, if there is one.
template <typename Each> void elements(const Json& object, const char* key, size_t limit, Each each)
{
    const Json* list = member(object, key);
    if (!list || !list->is_array())
        return;
    for (size_t i = 0; i < std::min(list->size(), limit); ++i)
        each((*list)[i]);
}

template <typename T, size_t N> void put(Json& json, const T& load, const Field<T> (&fields)[N])
{
    for (const auto& field : fields)
        json[field.name] = load.*field.value;
}

template <typename T, size_t N> void get(const Json& json, T& load, const Field<T> (&fields)[N])
{
    for (const auto& field : fields)
        load.*field.value = number(member(json, field.name));
}

template <typename T, size_t N> Json named(const std::vector<T>& loads, const Field<T> (&fields)[N])
{
    Json list = Json::array();
    for (const T& load : loads) {
        Json item = {{"name", load.name}};
        put(item, load, fields);
        list.push_back(std::move(item));
    }
    return list;
}

template <typename T, size_t N>
std::vector<T> named_from(const Json& json, const char* key, const Field<T> (&fields)[N])
{
    std::vector<T> loads;
    elements(json, key, max_items, [&](const Json& item) {
        T load;
        load.name = text(member(item, "name"), max_load_name);
        get(item, load, fields);
        loads.push_back(std::move(load));
    });
    return loads;
}

std::vector<std::string> gaps_from(const Json& json)
{
    std::vector<std::string> gaps;
    elements(json, "gaps", max_gaps, [&](const Json& gap) { gaps.push_back(text(&gap, max_gap)); });
    return gaps;
}

VmNicLoad vm_nic_from(const Json& json)
{
    VmNicLoad nic;
    nic.id = text(member(json, "id"), max_load_name);
    get(json, nic, vm_nic_fields);
    nic.uplink = text(member(json, "uplink"), max_load_name);
    nic.wants_more = flag(json, "wants-more");
    return nic;
}

} // namespace

Json to_json(const HostLoad& load)
{
    Json json = {{"slice", load.slice}, {"cpu-by-core", load.cpu_by_core}, {"gaps", load.gaps}};
    put(json, load, host_fields);
    for (const auto& field : host_pressures)
        put(json[field.name], load.*field.value, pressure_fields);
    json["nics"] = named(load.nics, nic_fields);
    json["disks"] = named(load.disks, disk_fields);
    json["migration-nic"] = load.migration_nic;
    return json;
}

Json to_json(const VmLoad& load)
{
    Json json = {{"name", load.name}, {"vcpus", load.vcpus}, {"gaps", load.gaps}};
    put(json, load, vm_fields);
    Json nics = Json::array();
    for (const VmNicLoad& nic : load.nics) {
        Json item = {{"id", nic.id}, {"uplink", nic.uplink}, {"wants-more", nic.wants_more}};
        put(item, nic, vm_nic_fields);
        nics.push_back(std::move(item));
    }
    json["nics"] = std::move(nics);
    return json;
}

HostLoad host_load_from_json(const Json& json)
{
    HostLoad load;
    get(json, load, host_fields);
    load.slice = flag(json, "slice");
    elements(json, "cpu-by-core", max_cores,
             [&](const Json& core) { load.cpu_by_core.push_back(number(&core)); });
    for (const auto& field : host_pressures) {
        if (const Json* pressure = member(json, field.name))
            get(*pressure, load.*field.value, pressure_fields);
    }
    load.nics = named_from(json, "nics", nic_fields);
    load.disks = named_from(json, "disks", disk_fields);
    load.migration_nic = text(member(json, "migration-nic"), max_load_name);
    load.gaps = gaps_from(json);
    return load;
}

VmLoad vm_load_from_json(const Json& json)
{
    VmLoad load;
    load.name = text(member(json, "name"), max_load_name);
    load.vcpus = static_cast<unsigned>(std::min(number(member(json, "vcpus")), max_vcpus));
    get(json, load, vm_fields);
    elements(json, "nics", max_items,
             [&](const Json& item) { load.nics.push_back(vm_nic_from(item)); });
    load.gaps = gaps_from(json);
    return load;
}

} // namespace drover::balancer
