"""Who has which address of a network (original: IPAM).

A lease is an entry of a dict, address to owner: one address has one owner because a key has one value. The dict is
read, changed and replaced under the lock of the networks (store.py); nothing here touches the file system.

A subnet is a dict of a network's record: {"subnet", "gateway" ("" for none), "range" ("" for all), "reserved"}.
"""

from __future__ import annotations

from capsule.errors import NetworkError
from capsule.network import address as addresses
from capsule.network.address import Subnet


class IPAM:
    """The addresses of one network. `leases` maps each address in use, in its normal spelling, to its owner."""

    __slots__ = ("name", "subnets", "leases")

    def __init__(self, name: str, subnets: list[dict], leases: dict[str, str]) -> None:
        self.name = name
        self.subnets = subnets
        self.leases = leases

    def allocate(self, owner: str, wanted: list[str] | tuple[str, ...] = ()) -> list[str]:
        """Lease one address of each subnet, those `wanted` where they lie in one; returns them as address/prefix.

        The lowest that is free is taken. Raises NetworkError; nothing has been leased then.
        """
        chosen: list[str] = []
        left = [self._wanted(text) for text in wanted]
        for entry in self.subnets:
            subnet = addresses.parse_subnet(entry["subnet"])
            asked = [number for family, number in left if family == subnet.family and subnet.holds(number)]
            if len(asked) > 1:
                raise NetworkError("lease address of network", self.name, f"two addresses of {subnet} are wanted")
            if asked:
                self._check(entry, subnet, asked[0])
                left.remove((subnet.family, asked[0]))
            number = asked[0] if asked else self._lowest_free(entry, subnet)
            chosen.append(f"{addresses.to_text(subnet.family, number)}/{subnet.prefix}")
        if left:
            subnets = ", ".join([entry["subnet"] for entry in self.subnets]) or "it has none"
            text = addresses.to_text(*left[0])
            raise NetworkError("lease address", text, f"it is in no subnet of network {self.name} ({subnets})")
        for text in chosen:
            self.leases[text.partition("/")[0]] = owner
        return chosen

    def release(self, owner: str) -> list[str]:
        """Give back every address of an owner, and no other's; returns them."""
        gone = [text for text, holder in self.leases.items() if holder == owner]
        for text in gone:
            del self.leases[text]
        return gone

    def allocatable(self) -> int:
        """How many containers can still be given an address of every subnet."""
        return min([self._free(entry) for entry in self.subnets], default=0)

    def _free(self, entry: dict) -> int:
        subnet = addresses.parse_subnet(entry["subnet"])
        first, last = _bounds(entry, subnet)
        taken = _excluded(entry)
        for text in self.leases:
            family, number = addresses.parse(text)
            if family == subnet.family:
                taken.add(number)
        return last - first + 1 - len([number for number in taken if first <= number <= last])

    def _wanted(self, text: str) -> tuple[int, int]:
        try:
            return addresses.parse(text)
        except ValueError as err:
            raise NetworkError("lease address of network", self.name, str(err)) from err

    def _check(self, entry: dict, subnet: Subnet, number: int) -> None:
        text = addresses.to_text(subnet.family, number)
        first, last = subnet.usable()
        cause = ""
        if not first <= number <= last:
            cause = f"it is the network's own or the broadcast address of {subnet}"
        elif number in _excluded(entry):
            cause = "it is the gateway's" if _is_gateway(entry, number) else "it is reserved"
        elif text in self.leases:
            cause = "it is in use"
        if cause:
            raise NetworkError("lease address", text, f"{cause} (network {self.name})")

    def _lowest_free(self, entry: dict, subnet: Subnet) -> int:
        first, last = _bounds(entry, subnet)
        excluded = _excluded(entry)
        number = first
        while number <= last:
            if number not in excluded and addresses.to_text(subnet.family, number) not in self.leases:
                return number
            number += 1
        where = f"the range {entry['range']} of {subnet}" if entry.get("range") else str(subnet)
        raise NetworkError("lease address of network", self.name, f"no address of {where} is free")


def _bounds(entry: dict, subnet: Subnet) -> tuple[int, int]:
    """Return the lowest and the highest address that may be given without being asked for."""
    first, last = subnet.usable()
    if entry.get("range"):
        part = addresses.parse_subnet(entry["range"])
        first, last = max(first, part.base), min(last, part.last)
    return first, last


def _excluded(entry: dict) -> set[int]:
    texts = [*entry.get("reserved", []), *([entry["gateway"]] if entry.get("gateway") else [])]
    return {addresses.parse(text)[1] for text in texts}


def _is_gateway(entry: dict, number: int) -> bool:
    return bool(entry.get("gateway")) and addresses.parse(entry["gateway"])[1] == number
