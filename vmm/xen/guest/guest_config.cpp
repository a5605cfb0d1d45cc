// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/xen/guest/guest_config.h"

#include "vmm/qemu/opts.h"
#include "vmm/xen/guest/disk_permission.h"

#include <algorithm>
#include <cstdio>

namespace drover::xen {

namespace {

std::string text_value(const std::string& text)
{
    std::string value = "\"";
    for (const char c : text)
        value += c == '"' || c == '\\' ? std::string("\\") + c : std::string(1, c);
    return value + '"';
}

std::string list_value(const std::vector<std::string>& words)
{
    std::string list;
    for (const std::string& word : words)
        list += (list.empty() ? "" : ", ") + text_value(word);
    return "[" + list + "]";
}

/// The device model numbers devices that have no id as they come.
bool comes_before(const AnnouncedDevice& a, const AnnouncedDevice& b)
{
    return a.name.size() != b.name.size() ? a.name.size() < b.name.size() : a.name < b.name;
}

class ConfigWriter {
public:
    ConfigWriter(const AnnouncedGuest& guest, const LocalParts& local)
        : guest_(guest), local_(local), devices_(guest.devices)
    {
        std::ranges::sort(devices_, comes_before);
    }

    GuestConfig write()
    {
        for (const AnnouncedDrive& drive : guest_.drives)
            add_drive(drive);
        for (const AnnouncedDevice& device : devices_)
            add_device(device);
        write_machine();
        line("device_model_args_hvm", list_value(words_));
        return std::move(config_);
    }

private:
    void line(const std::string& key, const std::string& value)
    {
        config_.text += key + " = " + value + "\n";
    }

    void write_machine()
    {
        const std::string& name = local_.name.empty() ? guest_.name : local_.name;
        if (name.empty())
            config_.open.push_back({ErrorKind::Refused, "the guest has no name",
                                    "give it one at the destination: -name NAME"});
        line("name", text_value(name.empty() ? "NAME" : name));
        if (!guest_.uuid.empty())
            line("uuid", text_value(guest_.uuid));
        line("type", text_value("hvm"));
        line("memory", std::to_string(guest_.memory >> 20));
        if (guest_.hole != 0)
            line("mmio_hole", std::to_string(guest_.hole));
        line("vcpus", std::to_string(guest_.vcpus));
        if (const auto words = xl_cpuid_words(guest_.hidden_features); !words.empty())
            line("cpuid", list_value(words));
        line("vga", text_value("none"));
        for (const char* off : {"vnc", "sdl", "usb", "hpet", "xen_platform_pci"})
            line(off, "0");
        line("nographic", "1");
        std::vector<std::string> ports;
        for (size_t i = 0; i < guest_.serial_ports; ++i)
            ports.push_back(i < local_.serial_ports.size() ? local_.serial_ports[i] : "pty");
        if (!ports.empty())
            line("serial", list_value(ports));
    }

    void add_device(const AnnouncedDevice& device)
    {
        char place[16];
        snprintf(place, sizeof place, "%02x.%x", device.slot, device.function);
        std::string words = device.type;
        if (!device.name.starts_with("unnamed"))
            words += ",id=" + device.name;
        words += std::string(",addr=") + place;
        for (const std::string& property : device.properties)
            words += "," + property;
        words += back_end_words(device);
        words_.insert(words_.end(), {"-device", words});
    }

    std::string back_end_words(const AnnouncedDevice& device)
    {
        // A boot ROM was used at a boot, and is memory that is nobody's here.
        switch (device.back_end) {
        case BackEnd::Disk: return ",drive=" + add_disk(device);
        case BackEnd::Network:
            return (device.network.empty() ? "" : ",netdev=" + add_network(device)) + ",romfile=";
        case BackEnd::Entropy: return ",rng=" + add_entropy();
        case BackEnd::Nothing: check_balloon(device); break;
        }
        return "";
    }

    /// The only kind that needs nothing of the host.
    void check_balloon(const AnnouncedDevice& device)
    {
        if (!local_.balloon)
            config_.open.push_back(
                {ErrorKind::Refused,
                 "the guest's balloon " + device.name +
                     " would let it end its own device model there, by putting a page into it",
                 "detach it at the source (device_del), or take that into account: -balloon idle "
                 "at the destination"});
    }

    /// This host's own, wherever the guest had it from.
    std::string add_entropy()
    {
        std::string id = "drover-rng" + std::to_string(sources_++);
        words_.insert(words_.end(), {"-object", "rng-builtin,id=" + id});
        return id;
    }

    /// Through the page cache: the guest's memory is mapped, and cannot be read by a disk.
    std::string image_words(const std::string& disk, bool read_only)
    {
        auto file = permitted_disk(disk, local_.disks);
        if (!file)
            config_.open.push_back(file.error());
        return ",format=raw,cache=writeback,file=" + qemu::escape_commas(file ? *file : disk) +
               (read_only ? ",readonly=on" : "");
    }

    std::string add_disk(const AnnouncedDevice& device)
    {
        std::string id = "drover-disk" + std::to_string(disks_++);
        words_.insert(words_.end(),
                      {"-drive", "if=none,id=" + id + image_words(*device.disk, device.read_only)});
        return id;
    }

    void add_drive(const AnnouncedDrive& drive)
    {
        words_.insert(words_.end(),
                      {"-drive", "if=ide,index=" + std::to_string(drive.index) +
                                     ",media=" + (drive.is_cd ? "cdrom" : "disk") +
                                     (drive.disk ? image_words(*drive.disk, drive.read_only)
                                                 : std::string())});
    }

    std::string add_network(const AnnouncedDevice& device)
    {
        for (const std::string& network : local_.networks)
            if (const auto opts = qemu::Opts::parse(network, "type");
                opts && opts->get("id") == device.network) {
                words_.insert(words_.end(), {"-netdev", network});
                return device.network;
            }
        const std::string back_end =
            "tap,id=" + device.network + ",ifname=TAP,script=no,downscript=no";
        config_.open.push_back(
            {ErrorKind::Refused,
             "the guest's network card " + device.name + " has no network at the destination",
             "give it one there: -netdev " + back_end});
        words_.insert(words_.end(), {"-netdev", back_end});
        return device.network;
    }

    const AnnouncedGuest& guest_;
    const LocalParts& local_;
    std::vector<AnnouncedDevice> devices_;
    std::vector<std::string> words_;
    GuestConfig config_;
    unsigned disks_ = 0;
    unsigned sources_ = 0; ///< of entropy
};

} // namespace

GuestConfig guest_config(const AnnouncedGuest& guest, const LocalParts& local)
{
    return ConfigWriter(guest, local).write();
}

} // namespace drover::xen
