# SPDX-License-Identifier: GPL-2.0-or-later
"""Migrations inside TLS, with the objects and parameters that QEMU has for it."""

import os

from drover_e2e import paths, tls
from drover_e2e.case import Skip
from drover_e2e.proxy import Proxy
from drover_e2e.qmp import QmpError
from drover_e2e.runner import test
from drover_e2e.vm import GuestOptions

SMALL = GuestOptions(memory="256M", working_set="64M", dirty=2000)
HANDSHAKE = b"\x16\x03"  # how each connection inside TLS begins


def free(case):
    """Destinations listen before they are told what for: an address for later."""
    return case.tcp_address(SMALL)


def pair(case, source_creds, destination_creds, uri=None, **server):
    source = case.guest(SMALL)
    destination = case.vm(SMALL, incoming="defer")
    destination.qmp.negotiate()
    if source_creds:
        tls.use(source, source_creds)
    if destination_creds:
        tls.use(destination, destination_creds, **server)
    destination.uri = case.listen(destination, uri or free(case))
    return source, destination


def refused(case, source, destination, *words):
    mark = case.start_migration(source, destination.uri)
    source.qmp.wait_migration("failed", timeout=20, after=mark)
    case.alive_on(source)
    text = source.qmp.execute("query-migrate").get("error-desc", "")
    for word in words:
        assert word.lower() in text.lower(), f"{word!r} is not in: {text}"
    return text


@test(channels=[1, 4])
def test_x509(case, channels):
    """Each connection is encrypted, and all of the guest arrives."""
    fleet = tls.authority(case.scratch, "fleet")
    here = tls.host(fleet, "here", "127.0.0.1")
    there = tls.host(fleet, "there", "127.0.0.1")
    source, destination = pair(case, tls.x509(here, "client"), tls.x509(there, "server"))
    if channels > 1:
        capability = [{"capability": "multifd", "state": True}]
        for vm in (source, destination):
            vm.qmp.execute("migrate-set-capabilities", capabilities=capability)
            vm.qmp.execute("migrate-set-parameters", **{"multifd-channels": channels})
    proxy = case.keep(Proxy(free(case), destination.uri))
    destination.uri = proxy.uri
    case.migrate(source, destination)
    case.healthy(destination)
    assert len(proxy.openings) > channels, proxy.openings
    assert all(opening.startswith(HANDSHAKE) for opening in proxy.openings), proxy.openings
    if paths.is_drover(case.emulator):
        report = source.qmp.execute("query-migrate")["drover"]
        assert report["encryption"].startswith("TLS 1.3"), report


@test()
def test_postcopy_over_a_socket_of_this_host(case):
    """Its address says no name: tls-hostname does, which is asked for first. Pages that the guest waits for come inside
    TLS, too."""
    fleet = tls.authority(case.scratch, "fleet")
    here, there = tls.host(fleet, "here"), tls.host(fleet, "there", "there.example")
    source, destination = pair(case, tls.x509(here, "client"), tls.x509(there, "server"),
                               f"unix:{case.scratch}/inside-tls")
    refused(case, source, destination)
    source.qmp.execute("migrate-set-parameters", **{"tls-hostname": "there.example", "max-bandwidth": 20_000_000})
    for vm in (source, destination):
        vm.qmp.execute("migrate-set-capabilities", capabilities=[{"capability": "postcopy-ram", "state": True}])
    mark = case.start_migration(source, destination.uri)
    source.qmp.wait_migration("active", timeout=30, after=mark)
    source.qmp.execute("migrate-start-postcopy")
    case.finish_migration(source, mark)
    report = source.qmp.execute("query-migrate")
    assert report["ram"]["postcopy-requests"] > 0, report
    case.alive_on(destination)
    case.healthy(destination)


@test()
def test_on_the_command_line(case):
    """Nothing is said by QMP."""
    fleet = tls.authority(case.scratch, "fleet")
    here = tls.host(fleet, "here", "127.0.0.1")
    uri = free(case)

    def words(endpoint):
        return ("-object", f"tls-creds-x509,id=tls0,dir={here},endpoint={endpoint}",
                "-global", "migration.tls-creds=tls0")

    source = case.guest(SMALL.but(extra=words("client")))
    destination = case.vm(SMALL.but(extra=words("server")), incoming=uri)
    destination.qmp.negotiate()
    destination.uri = uri
    case.migrate(source, destination)
    case.healthy(destination)


@test()
def test_shared_key(case):
    keys = case.scratch / "keys"
    keys.mkdir()
    (keys / "keys.psk").write_text(f"qemu:{os.urandom(32).hex()}\n", encoding="ascii")
    source, destination = pair(case, tls.psk(keys, "client"), tls.psk(keys, "server"))
    case.migrate(source, destination)
    case.healthy(destination)


@test()
def test_who_is_kept_out(case):
    """One guest that knocks in all wrong ways, and is let in at last."""
    fleet = tls.authority(case.scratch, "fleet")
    here, there = tls.host(fleet, "here", "127.0.0.1"), tls.host(fleet, "there", "127.0.0.1")
    elsewhere = tls.host(fleet, "elsewhere", "192.0.2.7")
    stranger = tls.host(tls.authority(case.scratch, "other"), "here", "127.0.0.1")
    source, destination = pair(case, None, tls.x509(there, "server"))
    refused(case, source, destination)  # in the clear

    def creds(directory):
        source.qmp.execute("object-add", **tls.x509(directory, "client"))
        source.qmp.execute("migrate-set-parameters", **{"tls-creds": "tls0"})

    def no_creds():
        source.qmp.execute("migrate-set-parameters", **{"tls-creds": ""})
        source.qmp.execute("object-del", id="tls0")

    creds(stranger)  # of another authority, which does not believe this destination either
    refused(case, source, destination, "certificate")
    no_creds()
    wrong = case.vm(SMALL, incoming="defer")  # not the one that is called
    wrong.qmp.negotiate()
    tls.use(wrong, tls.x509(elsewhere, "server"))
    wrong.uri = case.listen(wrong, free(case))
    creds(here)
    refused(case, source, wrong, "certificate")
    plain = case.destination(SMALL, free(case))  # one without TLS gets nothing either
    refused(case, source, plain)
    case.migrate(source, destination)
    case.healthy(destination)


@test()
def test_who_may_come(case):
    """tls-authz."""
    fleet = tls.authority(case.scratch, "fleet")
    names = {name: tls.host(fleet, name, "127.0.0.1") for name in ("here", "there", "other")}
    source = case.guest(SMALL)
    tls.use(source, tls.x509(names["here"], "client"))
    rules = {"other": [{"match": "CN=other", "policy": "allow", "format": "exact"}],
             "here": [{"match": "CN=h*", "policy": "allow", "format": "glob"}]}
    destinations = {}
    for name, list_of in rules.items():
        destination = destinations[name] = case.vm(SMALL, incoming="defer")
        destination.qmp.negotiate()
        destination.qmp.execute("object-add", **{"qom-type": "authz-list", "id": "who", "policy": "deny",
                                                 "rules": list_of})
        tls.use(destination, tls.x509(names["there"], "server"), authz="who")
        destination.uri = case.listen(destination, free(case))
    refused(case, source, destinations["other"])
    case.migrate(source, destinations["here"])
    case.healthy(destinations["here"])


@test()
def test_what_is_lacking_is_named(case):
    if not paths.is_drover(case.emulator):
        raise Skip("Drover's own words")
    vm = case.bare("vm", paused=False)
    vm.qmp.execute("migrate-set-parameters", **{"tls-creds": "tls0"})

    def says(*words):
        try:
            vm.qmp.execute("migrate", uri=free(case))
        except QmpError as error:
            assert all(word in str(error) for word in words), error
            return
        raise AssertionError("it began")

    says("tls0", "object-add")
    fleet = tls.authority(case.scratch, "fleet")
    here = tls.host(fleet, "here", "127.0.0.1")
    vm.qmp.execute("object-add", **tls.x509(here, "server"))
    says("client")
    vm.qmp.execute("object-del", id="tls0")
    vm.qmp.execute("object-add", **tls.x509(here, "client"))
    (here / "ca-cert.pem").unlink()
    says("ca-cert.pem")
