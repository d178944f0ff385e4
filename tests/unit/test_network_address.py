"""Addresses and subnets: what the standard library says of the same text, and what it does not know."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import example, given, strategies as st

from capsule.network import address as addresses

ANY = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))


@given(ANY)
@example(ipaddress.ip_address("::"))
@example(ipaddress.ip_address("1:0:0:2:0:0:0:3"))
@example(ipaddress.ip_address("1:0:2:3:4:5:6:7"))
def test_an_address_is_read_and_written_as_the_standard_library_does(address):
    assert addresses.parse(str(address)) == (address.version, int(address))
    assert addresses.parse(address.exploded) == (address.version, int(address))
    assert addresses.to_text(address.version, int(address)) == (
        str(address) if address.version == 4 or not address.ipv4_mapped else addresses.normal(str(address)))
    assert addresses.to_bytes(address.version, int(address)) == address.packed


@given(st.text(alphabet="0123456789abcdefABCDEFg:./ ", max_size=24))
def test_no_text_is_an_address_that_the_standard_library_refuses(text):
    try:
        expected = int(ipaddress.ip_address(text))
    except ValueError:
        with pytest.raises(ValueError, match="is not an IP address"):
            addresses.parse(text)
    else:
        assert addresses.parse(text)[1] == expected


@pytest.mark.parametrize("text", ["", "1", "1.2.3", "1.2.3.4.5", "01.2.3.4", "256.1.1.1", "1.2.3.-4", "1.2.3.4 ",
                                  "\u0661.2.3.4", ":", ":::", "1::2::3", "::1%eth0", "1:2:3:4:5:6:7:8:9", "12345::",
                                  "::1.2.3.4.5", "1.2.3.4::", "1:2:3:4:5:6:7::8", "fe80::1/64", "1.2.3.4\n"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(ValueError, match="is not an IP address"):
        addresses.parse(text)


@given(ANY, st.data())
def test_a_subnet_holds_what_it_holds(address, data):
    prefix = data.draw(st.integers(0, address.max_prefixlen))
    network = ipaddress.ip_network(f"{address}/{prefix}", strict=False)
    subnet = addresses.subnet_of(address.version, int(address), prefix)
    assert (subnet.base, subnet.last, subnet.size) == (
        int(network.network_address), int(network.broadcast_address), network.num_addresses)
    assert str(addresses.parse_subnet(str(network))) == f"{addresses.normal(str(network.network_address))}/{prefix}"


@given(st.ip_addresses(v=4), st.integers(0, 32), st.ip_addresses(v=4), st.integers(0, 32))
def test_overlaps_are_seen_from_both_sides(one, prefix, other, prefix_2):
    left = ipaddress.ip_network((int(one), prefix), strict=False)
    right = ipaddress.ip_network((int(other), prefix_2), strict=False)
    a, b = addresses.subnet_of(4, int(one), prefix), addresses.subnet_of(4, int(other), prefix_2)
    assert a.overlaps(b) == b.overlaps(a) == left.overlaps(right)
    assert not a.overlaps(addresses.subnet_of(6, int(other), prefix_2))


@pytest.mark.parametrize(("text", "first", "last"), [
    ("10.0.0.0/24", "10.0.0.1", "10.0.0.254"), ("10.0.0.64/26", "10.0.0.65", "10.0.0.126"),
    ("172.16.0.0/16", "172.16.0.1", "172.16.255.254"), ("10.0.0.0/30", "10.0.0.1", "10.0.0.2"),
    ("10.0.0.2/31", "10.0.0.2", "10.0.0.3"), ("10.0.0.2/32", "10.0.0.2", "10.0.0.2"),
    ("fd00::/64", "fd00::1", "fd00::ffff:ffff:ffff:ffff"), ("fd00::/127", "fd00::", "fd00::1"),
])
def test_who_can_have_an_address(text, first, last):
    subnet = addresses.parse_subnet(text)
    assert subnet.usable() == (addresses.parse(first)[1], addresses.parse(last)[1])


@pytest.mark.parametrize("text", ["10.0.0.0", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/024x", "fd00::/129",
                                  "10.0.0.0/8/9", "/24"])
def test_what_is_no_subnet_is_refused(text):
    with pytest.raises(ValueError, match="is not"):
        addresses.parse_subnet(text)


def test_an_address_inside_a_subnet_is_no_subnet():
    with pytest.raises(ValueError, match=r"'10.0.0.5/24' is an address inside the subnet 10.0.0.0/24"):
        addresses.parse_subnet("10.0.0.5/24")
