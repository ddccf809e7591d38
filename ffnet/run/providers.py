"""Finds the server of an object store in the same settings as the tools of Amazon and Google.

PyArrow reads only a few of their environment variables, and no endpoint from a profile. So results
that are meant for a private store would go to Amazon. ffnet follows these settings or refuses them.
It writes the server into the run's URI, so that every worker uses the same server as the driver.
"""

import configparser
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from ffnet.errors import InputError

Options = dict[str, str]

ROLE = {"role_arn", "source_profile", "credential_source", "web_identity_token_file"}
"""Keys of a profile that get credentials from Amazon's STS. PyArrow cannot use them."""
RETRIES = ("legacy", "standard")
GOOGLE_REFUSED = (
    "CLOUDSDK_AUTH_ACCESS_TOKEN", "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE",
    "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE", "CLOUDSDK_AUTH_IMPERSONATE_SERVICE_ACCOUNT",
    "CLOUDSDK_CORE_ACCOUNT", "CLOUDSDK_CORE_UNIVERSE_DOMAIN", "GOOGLE_CLOUD_UNIVERSE_DOMAIN",
    "CLOUDSDK_PROXY_ADDRESS", "GOOGLE_API_USE_MTLS_ENDPOINT", "GOOGLE_API_USE_CLIENT_CERTIFICATE",
    "GOOGLE_CLOUD_CPP_STORAGE_TEST_CONFIG",
)  # fmt: skip
"""Variables that change server, account or key for Google's tools, but not for PyArrow."""
GOOGLE_PLACES = (
    "STORAGE_EMULATOR_HOST", "CLOUD_STORAGE_EMULATOR_ENDPOINT",
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE",
)  # fmt: skip


def resolved(scheme: str, given: Options) -> Options:
    """A URI's options, completed from the environment and the configuration files.

    Args:
        scheme: s3 or gs.
        given: the options in the URI; they win over other settings.

    Raises:
        InputError: PyArrow cannot follow a setting.
    """
    return _amazon(given) if scheme == "s3" else _google(given)


# --- Amazon --------------------------------------------------------------------------------------


def _amazon(given: Options) -> Options:
    profile = _profile()
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    found = {"region": region or profile.get("region") or ""}
    endpoint, source = _endpoint(profile)
    if endpoint and "endpoint_override" not in given:
        found |= _server(endpoint, source)
    options = {name: value for name, value in found.items() if value} | given
    _refuse_amazon(profile, options)
    return options


def _profile() -> dict[str, Any]:
    """The keys of the profile in use. The keys `s3` and `services` have dicts as values."""
    name = os.environ.get("AWS_PROFILE") or "default"
    other = os.environ.get("AWS_DEFAULT_PROFILE") or name
    if other != name:
        raise InputError(
            f"PyArrow does not use AWS_DEFAULT_PROFILE. Given: {other}; set AWS_PROFILE"
        )
    config = _read("AWS_CONFIG_FILE", "~/.aws/config")
    keys = _read("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")
    sections = [f"profile {name}", *(["default"] if name == "default" else [])]
    found = [config[section] for section in sections if section in config]
    found += [keys[name]] if name in keys else []
    if not found and name != "default":
        raise InputError(f"AWS_PROFILE must name a profile of ~/.aws. Given: {name}")
    profile: dict[str, Any] = {key: value for section in found for key, value in section.items()}
    services = f"services {profile.get('services', '')}"
    profile["services"] = dict(config[services]) if services in config else {}
    return profile | {name: _inner(profile.get(name)) for name in ("s3",)}


def _read(variable: str, default: str) -> configparser.RawConfigParser:
    path = Path(os.environ.get(variable) or default).expanduser()
    parser = configparser.RawConfigParser(default_section="")
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError, OSError) as error:
        raise InputError(f"{path}: not a readable configuration file ({error})") from None
    return parser


def _inner(text: str | None) -> dict[str, str]:
    """The keys in a value of several lines, such as `s3 =` in a profile, a key in each line."""
    pairs = (line.partition("=") for line in (text or "").splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def _endpoint(profile: Mapping[str, Any]) -> tuple[str | None, str]:
    """(URL of the server, the setting that names it); None for Amazon's own server."""
    if _true(os.environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")) or _true(
        profile.get("ignore_configured_endpoint_urls")
    ):
        return None, ""
    service = _inner(profile["services"].get("s3"))
    for value, source in (
        (os.environ.get("AWS_ENDPOINT_URL_S3"), "AWS_ENDPOINT_URL_S3"),
        (os.environ.get("AWS_ENDPOINT_URL"), "AWS_ENDPOINT_URL"),
        (service.get("endpoint_url"), "endpoint_url of the profile's services"),
        (profile.get("endpoint_url"), "endpoint_url of the profile"),
    ):
        if value:
            return value, source
    return None, ""


def _server(url: str, source: str) -> Options:
    """PyArrow's options for a server's URL."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        shown = url if "@" not in url else f"{parts.scheme}://…@…"
        raise InputError(f"{source} must be http://HOST:PORT or https://HOST:PORT. Given: {shown}")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise InputError(f"{source} must have no path, which PyArrow cannot send. Given: {url}")
    return {"endpoint_override": parts.netloc, "scheme": parts.scheme}


def _refuse_amazon(profile: Mapping[str, Any], options: Options) -> None:
    """Refuse settings with which Amazon's tools use another server or other credentials."""
    own = "endpoint_override" in options
    for variable, key in (
        ("AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint"),
        ("AWS_USE_DUALSTACK_ENDPOINT", "use_dualstack_endpoint"),
        ("", "use_accelerate_endpoint"),
    ):
        set_ = (os.environ.get(variable), profile.get(key), profile["s3"].get(key))
        if not own and any(map(_true, set_)):
            raise InputError(
                f"PyArrow does not use {variable or key}. Given: true; name the server in the URI, "
                f"…?endpoint_override=HOST"
            )
    style = profile["s3"].get("addressing_style", "auto")
    if style not in ("auto", "path" if own else "virtual"):
        raise InputError(f"PyArrow does not use the profile's s3.addressing_style. Given: {style}")
    if os.environ.get("AWS_ACCESS_KEY_ID"):
        return
    role = sorted(ROLE & profile.keys())
    if role and (own or "web_identity_token_file" not in role):
        raise InputError(
            f"PyArrow does not use the profile's {role[0]}. Given: {profile[role[0]]}; put that "
            f"role's credentials into the environment"
        )
    if own and os.environ.get("AWS_ROLE_ARN"):  # PyArrow would ask Amazon's STS for credentials
        raise InputError(
            "AWS_ROLE_ARN works only with Amazon's servers. Given: another S3 server; put that "
            "server's credentials into the environment"
        )


def amazon_client(options: Options) -> dict[str, Any]:
    """PyArrow's options for certificates and proxy, which differ from machine to machine.

    Raises:
        InputError: the file of certificates does not exist.
    """
    profile = _profile()
    client: dict[str, Any] = {}
    if bundle := os.environ.get("AWS_CA_BUNDLE") or profile.get("ca_bundle"):
        if not Path(bundle).exists():
            raise InputError(f"AWS_CA_BUNDLE must be a file of certificates. Given: {bundle}")
        client["tls_ca_file_path"] = bundle
    host = urlsplit("//" + options.get("endpoint_override", "s3.amazonaws.com")).hostname or ""
    proxy = getproxies().get(options.get("scheme", "https"))
    if proxy and not proxy_bypass(host):
        client["proxy_options"] = proxy
    return client


def amazon_retries(default: int) -> tuple[str, int]:
    """How failed requests are repeated: (mode, maximum number of times a request is sent)."""
    profile = _profile()
    mode = os.environ.get("AWS_RETRY_MODE") or profile.get("retry_mode") or "standard"
    most = os.environ.get("AWS_MAX_ATTEMPTS") or profile.get("max_attempts") or str(default)
    if mode not in RETRIES:
        raise InputError(f"AWS_RETRY_MODE must be {' or '.join(RETRIES)}. Given: {mode}")
    if not (most.isdecimal() and 0 < int(most) < 1000):
        raise InputError(f"AWS_MAX_ATTEMPTS must be a number from 1. Given: {most}")
    return mode, int(most)


def _true(value: str | None) -> bool:
    return (value or "").strip().lower() == "true"


# --- Google --------------------------------------------------------------------------------------


def _google(given: Options) -> Options:
    for name in GOOGLE_REFUSED:
        if os.environ.get(name):
            raise InputError(
                f"PyArrow does not use {name}. Given: {name} is set; unset it, and name the "
                f"account by GOOGLE_APPLICATION_CREDENTIALS, or the server in the URI"
            )
    folder = os.environ.get("CLOUDSDK_CONFIG")
    keys = Path(folder or "") / "application_default_credentials.json"
    if folder and keys.exists() and not os.environ.get("GOOGLE_APPLICATION_CREDENTIALS"):
        raise InputError(
            f"PyArrow does not use CLOUDSDK_CONFIG. Given: {folder}; set "
            f"GOOGLE_APPLICATION_CREDENTIALS={keys}"
        )
    if "endpoint_override" in given:
        return given
    for name in GOOGLE_PLACES:
        if url := os.environ.get(name):
            return _google_server(url, name) | given
    if url := _property(folder):
        return _google_server(url, "gcloud's api_endpoint_overrides/storage") | given
    return given


def _google_server(url: str, source: str) -> Options:
    url = url if "://" in url else f"http://{url}"  # Google's libraries do the same
    path = urlsplit(url).path
    if path.strip("/") in ("", "storage/v1"):
        url = url[: len(url) - len(path)] if path else url
    return _server(url, source)


def _property(folder: str | None) -> str | None:
    """The storage server in gcloud's active configuration."""
    home = Path(folder or "~/.config/gcloud").expanduser()
    name = os.environ.get("CLOUDSDK_ACTIVE_CONFIG_NAME")
    try:
        name = name or (home / "active_config").read_text("utf-8").strip()
        parser = configparser.RawConfigParser()
        parser.read(home / "configurations" / f"config_{name}", encoding="utf-8")
    except (OSError, UnicodeDecodeError, configparser.Error):
        return None
    return parser.get("api_endpoint_overrides", "storage", fallback=None)
