NETLINK_ROUTE: int
NETLINK_NETFILTER: int

def open(netns_fd: int = -1, protocol: int = 0) -> int: ...
