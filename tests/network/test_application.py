"""The original README's example: a web application, a database and a cache in three containers on one network."""

from __future__ import annotations

import json
import sys

import pytest
from helpers.images import bring, busybox_root
from helpers.packages import add_packages
from helpers.requires import requires
from helpers.runtime import DEADLINE
from helpers.wait import wait_until

pytestmark = requires("root", "runtime", "busybox", "ip", "nft", "mariadb", "redis", "pymysql")

DATABASE = """#!/bin/sh
if [ ! -d /var/lib/mysql/mysql ]; then
    mkdir -p /var/lib/mysql/mysql
    { echo "USE mysql;"
      cat /usr/share/mysql/mysql_system_tables.sql /usr/share/mysql/mysql_performance_tables.sql \\
          /usr/share/mysql/mysql_system_tables_data.sql
    } | mariadbd --no-defaults --bootstrap --user=root --datadir=/var/lib/mysql --innodb-use-native-aio=0 || exit 1
fi
exec mariadbd --no-defaults --user=root --datadir=/var/lib/mysql --socket=/tmp/db.sock --skip-name-resolve \\
    --bind-address=0.0.0.0 --innodb-use-native-aio=0 --init-file=/etc/start.sql
"""
START = """CREATE DATABASE IF NOT EXISTS shop;
CREATE TABLE IF NOT EXISTS shop.visits (id INT AUTO_INCREMENT PRIMARY KEY, visitor VARCHAR(64));
CREATE USER IF NOT EXISTS 'shop'@'%' IDENTIFIED BY 'secret';
GRANT ALL ON shop.* TO 'shop'@'%';
"""
WEB = """
import json, socket, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
import pymysql

def count():
    with socket.create_connection(("cache", 6379), 10) as cache:
        cache.sendall(b"INCR hits\\r\\n")
        return int(cache.recv(64).strip(b":\\r\\n"))

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            hits = count()
            database = pymysql.connect(host="database", user="shop", password="secret", database="shop",
                                       autocommit=True, connect_timeout=10)
            with database, database.cursor() as cursor:
                cursor.execute("INSERT INTO visits (visitor) VALUES (%s)", (self.path,))
                cursor.execute("SELECT visitor FROM visits ORDER BY id")
                visits = [row[0] for row in cursor.fetchall()]
            status, answer = 200, {"hits": hits, "visits": visits}
        except Exception as error:
            status, answer = 503, {"error": repr(error)}
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

print("serving", flush=True)
HTTPServer(("0.0.0.0", 80), Handler).serve_forever()
"""
GET = """
import sys, urllib.request
try:
    print(urllib.request.urlopen("http://127.0.0.1:8080" + sys.argv[1], timeout=15).read().decode())
except OSError as error:
    print("null")
"""


@pytest.fixture
def shop(world, tmp_path):
    """A host with the three images and a network; its containers are removed at the end."""
    for name in ("database", "cache", "web"):
        busybox_root(tmp_path / name, "mkdir", "cat")
    root = tmp_path / "database" / "root"
    add_packages(root, "mariadb-server-core")
    (root / "start").write_text(DATABASE)
    (root / "start").chmod(0o755)
    (root / "etc" / "start.sql").write_text(START)
    bring(world, root, "shop/database", 'ENTRYPOINT ["/start"]', "VOLUME /var/lib/mysql", "EXPOSE 3306/tcp")
    root = tmp_path / "cache" / "root"
    add_packages(root, "redis-tools")
    (root / "usr" / "bin" / "redis-server").symlink_to("redis-check-rdb")
    (root / "data").mkdir()
    bring(world, root, "shop/cache", "WORKDIR /data", 'ENTRYPOINT ["redis-server","--bind","0.0.0.0"]',
          'CMD ["--protected-mode","no","--appendonly","yes","--appendfsync","always"]')
    root = tmp_path / "web" / "root"
    add_packages(root, "python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib", "python3-pymysql")
    (root / "app.py").write_text(WEB)
    bring(world, root, "shop/web", 'ENTRYPOINT ["/usr/bin/python3.11","-B","/app.py"]', "EXPOSE 80/tcp")
    world.network("create", "shop", "--subnet", "10.78.0.0/24")
    yield world
    for name in ("web", "cache", "database"):
        world.call("rm", "--force", "--volumes", name, rc=None)
    for name in ("mysql", "redis"):
        world.call("volume", "rm", name, rc=None)


def visit(shop, path):
    """Fetch a page as a client on the host; None while the application has none to give."""
    return json.loads(shop.on_host(sys.executable, "-S", "-c", GET, path))


def await_visit(shop, path):
    found: list = []
    wait_until(lambda: found.append(visit(shop, path)) or found[-1] is not None, 2 * DEADLINE, f"an answer to {path}")
    return found[-1]


def test_three_containers_keep_their_data(shop):
    run = ("image", "run", "-d", "--network", "shop", "--name")
    shop.call(*run, "database", "-v", "mysql:/var/lib/mysql", "shop/database")
    shop.call(*run, "store", "-v", "redis:/data", "--network-alias", "redis", "shop/cache")
    shop.call(*run, "web", "-p", "8080:80", "--link", "store:cache", "--init", "shop/web")
    first = await_visit(shop, "/first")
    assert first["visits"] == ["/first"] and first["hits"] >= 1  # a visit that failed may have been counted
    assert visit(shop, "/second") == {"hits": first["hits"] + 1, "visits": ["/first", "/second"]}
    assert "GET /second" in shop.call("logs", "web").out + shop.call("logs", "web").err
    assert "0.0.0.0:8080->80/tcp" in shop.call("ps").out

    # Stopped and started again: addresses may change, names and data must not.
    for name in ("web", "store", "database"):
        shop.call("stop", name)
    assert shop.call("ps", "--quiet").out == "" and visit(shop, "/nobody") is None
    for name in ("database", "store", "web"):
        shop.call("start", name)
    third = await_visit(shop, "/third")
    assert third["visits"] == ["/first", "/second", "/third"] and third["hits"] > first["hits"] + 1

    # Removed and made anew upon the volumes: nothing else is needed.
    for name in ("web", "store", "database"):
        shop.call("rm", "--force", name)
    shop.call(*run, "database", "-v", "mysql:/var/lib/mysql", "shop/database")
    shop.call(*run, "cache", "-v", "redis:/data", "shop/cache")
    shop.call(*run, "web", "-p", "8080:80", "shop/web")
    last = await_visit(shop, "/last")
    assert last["visits"] == ["/first", "/second", "/third", "/last"] and last["hits"] > third["hits"]
