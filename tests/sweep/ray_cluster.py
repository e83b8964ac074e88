"""A Ray cluster of two nodes on this machine, each of one processor."""

import os
import socket
import time
from contextlib import contextmanager

from commands import PATIENCE
from ray import _raylet
from ray._private import node as ray_node
from ray._private import ray_constants, services
from ray.cluster_utils import Cluster

PORTS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")
_REGISTER = "RAY_agent_register_timeout_ms"
_NAMES = ("METRICS_AGENT_PORT_NAME", "METRICS_EXPORT_PORT_NAME", "DASHBOARD_AGENT_LISTEN_PORT_NAME")


def free_ports():
    sockets = [socket.socket() for _ in PORTS]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    found = {name: one.getsockname()[1] for name, one in zip(PORTS, sockets, strict=True)}
    for one in sockets:
        one.close()
    return found


@contextmanager
def patient():
    """Let a node take as long to start as it takes, where Ray gives up after 15 s; and let it start on 127.0.0.1."""
    start_raylet, get_node, many = ray_node.Node.start_raylet, services.get_node, ray_constants.ENABLE_RAY_CLUSTER

    def start(self, *arguments, **named):
        for port, number in free_ports().items():
            setattr(self._ray_params, port, getattr(self._ray_params, port) or number)
        # A raylet waits for these files, which its agents write, but need not.
        for name, port in zip(_NAMES, PORTS, strict=False):
            number = getattr(self._ray_params, port)
            _raylet.persist_port(self.get_session_dir_path(), self.node_id, getattr(_raylet, name), number)
        return start_raylet(self, *arguments, **named)

    def find(*arguments, **named):
        end = time.monotonic() + PATIENCE
        while True:
            try:
                return get_node(*arguments, **named)
            except RuntimeError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.5)

    ray_node.Node.start_raylet, services.get_node, ray_constants.ENABLE_RAY_CLUSTER = start, find, False
    os.environ[_REGISTER] = str(int(1000 * PATIENCE))
    try:
        yield
    finally:
        ray_node.Node.start_raylet, services.get_node, ray_constants.ENABLE_RAY_CLUSTER = start_raylet, get_node, many
        del os.environ[_REGISTER]


def started():
    with patient():
        cluster = Cluster(initialize_head=True, head_node_args={**_node(), "include_dashboard": False})
        cluster.add_node(**_node())
    return cluster


def add_node(cluster):
    with patient():
        return cluster.add_node(**_node())


def _node():
    return {"num_cpus": 1, "node_ip_address": "127.0.0.1"}
