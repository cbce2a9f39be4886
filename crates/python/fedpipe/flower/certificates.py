"""Makes keys for a test federation: `python -m fedpipe.flower.certificates FOLDER NODES [HOST …]`.

SuperNodes and `flwr` trust `ca.crt`. `server.pem` and `server.key` belong to the SuperLink, and are for the named hosts
(127.0.0.1 and localhost by default). SuperNode K proves its identity with `node-K.key` and `node-K.pub`. A federation
in production uses the same files, with certificates of its own authority.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import sys
from typing import List

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

VALID = datetime.timedelta(days=365)
_PEM, _OPEN = serialization.Encoding.PEM, serialization.NoEncryption()


def make(folder: str, nodes: int, hosts: List[str]) -> None:
    """Writes all files. Only their owner can read them."""
    os.makedirs(folder, mode=0o700)
    authority, server = ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP384R1())
    issuer = _name("fedpipe test authority")
    root = _certificate(issuer, issuer, authority, authority)
    root = root.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    _write(folder, "ca.crt", root.sign(authority, hashes.SHA256()).public_bytes(_PEM))
    leaf = _certificate(_name(hosts[0]), issuer, server, authority)
    leaf = leaf.add_extension(x509.SubjectAlternativeName([_alternative(host) for host in hosts]), critical=False)
    leaf = leaf.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    _write(folder, "server.pem", leaf.sign(authority, hashes.SHA256()).public_bytes(_PEM))
    _write(folder, "server.key", server.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, _OPEN))
    for node in range(nodes):
        key = ec.generate_private_key(ec.SECP384R1())
        public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        _write(folder, f"node-{node}.key", key.private_bytes(_PEM, serialization.PrivateFormat.OpenSSH, _OPEN))
        _write(folder, f"node-{node}.pub", public)


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + VALID)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write(folder: str, name: str, contents: bytes) -> None:
    descriptor = os.open(os.path.join(folder, name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(contents)


if __name__ == "__main__":
    if len(sys.argv) < 3 or not sys.argv[2].isdigit():
        sys.exit(__doc__)
    make(sys.argv[1], int(sys.argv[2]), sys.argv[3:] or ["127.0.0.1", "localhost"])
