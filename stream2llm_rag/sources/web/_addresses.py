"""Which addresses are public."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

__all__ = ["may_connect"]

_Address = IPv4Address | IPv6Address
_Network = IPv4Network | IPv6Network

# Beyond what the standard library takes for not public, which depends on its version.
_SPECIAL = tuple(
    ip_network(network)
    for network in (
        "168.63.129.16/32",  # a cloud's metadata, in public space
        "192.0.0.0/24",  # protocol assignments; another cloud's metadata
        "192.88.99.0/24",  # relays into 6to4
        "3fff::/20",  # documentation
    )
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")


def may_connect(address: str, *, allowed: Iterable[_Network] = ()) -> bool:
    """Whether ``address`` is public or within an allowed network.

    An IPv6 address that stands for an IPv4 address is judged by that.
    """
    parsed = _effective(ip_address(address))
    return _is_public(parsed) or any(parsed in network for network in allowed)


def _effective(address: _Address) -> _Address:
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _is_public(address: _Address) -> bool:
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return False
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and not any(address in network for network in _SPECIAL)
    )
