from ipaddress import ip_network

import pytest

from stream2llm_rag.sources.web._addresses import may_connect


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "104.16.1.1",
        "2606:4700::1111",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
        "2002:808:808::1",
    ],
)
def test_public_addresses(address: str) -> None:
    assert may_connect(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.255.254",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.0.1",
        "198.18.0.1",
        "203.0.113.5",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "192.88.99.1",
        "169.254.169.254",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "fd00:ec2::254",
        "::",
        "::1",
        "::7f00:1",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "fc00::1",
        "ff02::1",
        "2001:db8::1",
        "3fff::1",
        "2001:0:7f00:1::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "64:ff9b:1::1",
        "2002:7f00:1::1",
        "5f00::1",
    ],
)
def test_other_addresses(address: str) -> None:
    assert not may_connect(address)


def test_networks_may_be_allowed() -> None:
    allowed = (ip_network("10.1.0.0/16"), ip_network("fd00::/8"))
    assert may_connect("10.1.2.3", allowed=allowed)
    assert may_connect("::ffff:10.1.2.3", allowed=allowed)
    assert may_connect("fd00::1", allowed=allowed)
    assert may_connect("8.8.8.8", allowed=allowed)
    assert not may_connect("10.2.0.1", allowed=allowed)
