# SPDX-License-Identifier: GPL-2.0-or-later
"""Certificates for migrations inside TLS, in directories as QEMU's objects want them."""

import shutil
import subprocess
from pathlib import Path

from . import paths


def authority(directory: Path, name: str) -> Path:
    """An authority of its own."""
    _certs("init", directory / name)
    return directory / name


def host(authority_directory: Path, name: str, *addresses: str) -> Path:
    """The directory that the `dir` of an object tls-creds-x509 names, for either endpoint, on a host that is reached
    by these names and addresses."""
    _certs("host", authority_directory, name, *addresses)
    directory = authority_directory / f"of-{name}"
    directory.mkdir()
    shutil.copy(authority_directory / "ca.crt", directory / "ca-cert.pem")
    for end in ("client", "server"):
        shutil.copy(authority_directory / f"{name}.crt", directory / f"{end}-cert.pem")
        shutil.copy(authority_directory / f"{name}.key", directory / f"{end}-key.pem")
    return directory


def _certs(*words) -> None:
    subprocess.run([str(paths.ROOT / "scripts" / "drover-certs"), *map(str, words)], check=True, capture_output=True)


def x509(directory: Path, endpoint: str, **more) -> dict:
    """The arguments of object-add."""
    return {"qom-type": "tls-creds-x509", "id": "tls0", "dir": str(directory), "endpoint": endpoint, **more}


def psk(directory: Path, endpoint: str, **more) -> dict:
    return {"qom-type": "tls-creds-psk", "id": "tls0", "dir": str(directory), "endpoint": endpoint, **more}


def use(vm, credentials: dict, **parameters) -> None:
    """By QMP, as libvirt does it."""
    vm.qmp.execute("object-add", **credentials)
    vm.qmp.execute("migrate-set-parameters", **{"tls-creds": credentials["id"]},
                   **{f"tls-{name}": value for name, value in parameters.items()})
